"""Nearest colours, against a search through all distances in whole numbers."""

import numpy as np
import pytest
from hypothesis import strategies as st

from pix2pix_lightning.data.sides.palette import find_nearest_colours

pytestmark = pytest.mark.fuzz

CHANNEL = st.integers(0, 255) | st.sampled_from([0, 1, 127, 128, 254, 255])
COLOUR = st.tuples(CHANNEL, CHANNEL, CHANNEL)


def test_the_nearest_colour(search):
    def attempt(drawn):
        palette, (height, width), seed, near = drawn
        rng = np.random.default_rng(seed)
        if near:  # pixels around the colours, where two of them are often equally far
            base = np.array(palette)[rng.integers(0, len(palette), (height, width))]
            image = np.clip(base + rng.integers(-2, 3, base.shape), 0, 255).astype(np.uint8)
        else:
            image = rng.integers(0, 256, (height, width, 3), np.uint8)
        found = find_nearest_colours(image, palette)
        distances = ((image[..., None, :].astype(int) - np.array(palette)) ** 2).sum(-1)
        assert (found == distances.argmin(-1)).all()
        assert np.iinfo(found.dtype).max >= len(palette) - 1

    palettes = st.lists(COLOUR, min_size=1, max_size=256, unique=True).map(tuple)
    sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))
    search(st.tuples(palettes, sizes, st.integers(0, 2**32 - 1), st.booleans()), attempt)
