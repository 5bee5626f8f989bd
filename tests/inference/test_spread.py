"""The spread of samples, compared with NumPy."""

import numpy as np
import pytest

from pix2pix_lightning.data.sides import build_side
from pix2pix_lightning.inference.spread import Spread


@pytest.mark.parametrize("channels", [1, 3])
def test_standard_deviation(channels):
    rng = np.random.default_rng(0)
    middle = rng.integers(60, 190, (5, 7, channels))
    samples = (middle + rng.integers(-25, 26, (6, 5, 7, channels))).astype(np.uint8)
    spread = Spread(build_side(kind="rgb" if channels == 3 else "grayscale"))
    for sample in samples:
        spread.add(sample)
    expected = samples.astype(float).std(0).mean(2) / (255 / 8) * 255
    assert spread.to_image().shape == (5, 7, 1)
    assert np.abs(spread.to_image()[..., 0] - expected.clip(0, 255)).max() <= 1


def test_black_and_white():
    spread = Spread(build_side())
    for level in (0, 255, 0, 255):
        spread.add(np.full((2, 2, 3), level, np.uint8))
    assert (spread.to_image() == 255).all()
    still = Spread(build_side())
    for _ in range(3):
        still.add(np.full((2, 2, 3), 77, np.uint8))
    assert (still.to_image() == 0).all()


def test_share_of_other_classes():
    side = build_side(kind="label", palette=((255, 0, 0), (0, 255, 0), (0, 0, 255)))
    classes = np.array([[0, 0], [0, 1], [0, 1], [0, 2]])  # four samples of two pixels
    spread = Spread(side)
    for row in classes:
        spread.add(np.array(side.palette, np.uint8)[row][None])
    assert spread.to_image()[0, :, 0].tolist() == [0, round(0.5 * 255)]
