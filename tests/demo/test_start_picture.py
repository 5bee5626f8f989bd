"""What stands on the canvas at first."""

import numpy as np
import pytest

from pix2pix_lightning.data.sides import SideSpec
from pix2pix_lightning.demo.brushes import KNOWN, Brushes, brushes_of
from pix2pix_lightning.demo.start import start_picture


@pytest.mark.parametrize("size", [32, 64, 256])
def test_black_lines_on_white(size):
    picture = start_picture(brushes_of(SideSpec()), size)
    assert picture.shape == (size, size, 3)
    assert set(np.unique(picture)) == {0, 255}
    assert 0.01 < (picture == 0).mean() < 0.3
    rows, columns = np.nonzero(picture[..., 0] == 0)
    for found in (rows, columns):
        assert found.min() > 0
        assert np.ptp(found) > 0.7 * size


@pytest.mark.parametrize("name", list(KNOWN))
def test_a_facade_in_the_colours_of_its_parts(name):
    colours = KNOWN[name]
    picture = start_picture(Brushes(colours), 128)
    shares = {part: (picture == colour).all(-1).mean() for part, colour in colours.items()}
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["wall"] > 0.2
    assert all(shares[part] > 0.01 for part in ("window", "door", "balcony"))


@pytest.mark.parametrize("count", [1, 2, 7, 34])
def test_an_area_in_each_colour(count):
    colours = {f"class {number}": (number, 7 * number % 256, 0) for number in range(count)}
    picture = start_picture(Brushes(colours), 96)
    assert {tuple(colour) for colour in picture.reshape(-1, 3).tolist()} == set(colours.values())
