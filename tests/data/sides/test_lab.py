"""Photos as channels of CIE Lab, against published colours and the formula in NumPy."""

import numpy as np
import pytest
import torch

from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.sides import build_side

LIGHTNESS, COLOUR = build_side("lab", part="l"), build_side("lab", part="ab")
# sRGB, and L, a, b of D65 (Lindbloom's calculator, rounded)
PUBLISHED = [
    ((255, 255, 255), (100.0, 0.0, 0.0)),
    ((0, 0, 0), (0.0, 0.0, 0.0)),
    ((255, 0, 0), (53.24, 80.09, 67.20)),
    ((0, 255, 0), (87.73, -86.18, 83.18)),
    ((0, 0, 255), (32.30, 79.19, -107.86)),
]


@pytest.mark.parametrize(("colour", "lab"), PUBLISHED)
def test_published_colours(colour, lab):
    image = torch.tensor(colour, dtype=torch.uint8).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(50 * (LIGHTNESS.encode(image).flatten() + 1), lab[:1], atol=0.02)
    np.testing.assert_allclose(110 * COLOUR.encode(image).flatten(), lab[1:], atol=0.03)
    all_channels = build_side("lab").encode(image)
    assert torch.equal(all_channels, torch.cat([LIGHTNESS.encode(image), COLOUR.encode(image)], 1))


def test_the_photo_comes_back_from_the_sources_lightness_and_the_targets_colour():
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    photo = torch.from_numpy(np.stack(np.meshgrid(levels, levels, levels)).reshape(1, 3, 18, -1))
    source = LIGHTNESS.encode(photo)
    assert torch.equal(COLOUR.decode(COLOUR.encode(photo), source), photo)
    spec = PairSpec(source=LIGHTNESS, target=COLOUR)
    assert torch.equal(spec.decode(spec.encode(photo, "target"), source), photo)
    assert spec == PairSpec.from_dict(spec.to_dict())
    gray = LIGHTNESS.decode(source).int()
    assert (gray - gray[:, :1]).abs().max() <= 1  # the matrix and its white are rounded
    is_gray = (photo == photo[:, :1]).all(1)[0]
    assert (gray - photo)[:, :, is_gray].abs().max() <= 1


def test_an_output_keeps_the_lightness_of_the_source():
    rng = np.random.default_rng(0)
    source = torch.from_numpy(rng.uniform(-0.6, 0.6, (1, 1, 6, 5)).astype(np.float32))
    output = torch.from_numpy(rng.uniform(-0.1, 0.1, (1, 2, 6, 5)).astype(np.float32))
    photo = COLOUR.decode(output, source)
    assert photo.dtype == torch.uint8
    np.testing.assert_allclose(LIGHTNESS.encode(photo), source, atol=0.01)  # half a level of 255
    np.testing.assert_allclose(COLOUR.encode(photo), output, atol=0.02)


def test_files_of_gray_levels_are_taken():
    level = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    np.testing.assert_array_equal(LIGHTNESS.prepare(level), np.repeat(level, 3, 2))


def test_colours_need_the_lightness_of_the_source():
    with pytest.raises(ValueError, match=r"part=ab.*'rgb'.*part=l"):
        PairSpec(target=COLOUR)
    with pytest.raises(ValueError, match=r"part=ab.*'lab'"):
        PairSpec(source=COLOUR, target=COLOUR)
    with pytest.raises(ValueError, match=r"part='Lab'.*l, ab, lab"):
        build_side("lab", part="Lab")
