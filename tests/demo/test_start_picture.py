"""The first picture on the canvas."""

import numpy as np
import pytest

from pix2pix_lightning.data.sides import build_side
from pix2pix_lightning.data.sizes import get_sides
from pix2pix_lightning.demo.brushes import KNOWN, Brushes, build_brushes
from pix2pix_lightning.demo.start_picture import draw_start_picture


@pytest.mark.parametrize("size", [32, 256, (128, 256)])
def test_rgb_source_shows_black_lines_on_white(size):
    picture = draw_start_picture(build_brushes(build_side()), size)
    assert picture.shape == (*get_sides(size), 3)
    assert set(np.unique(picture)) == {0, 255}
    assert 0.01 < (picture == 0).mean() < 0.3
    rows, columns = np.nonzero(picture[..., 0] == 0)
    for found, side in zip((rows, columns), get_sides(size), strict=True):
        assert found.min() > 0
        assert np.ptp(found) > 0.7 * side


@pytest.mark.parametrize("name", list(KNOWN))
def test_known_palette_shows_a_facade(name):
    colours = KNOWN[name]
    picture = draw_start_picture(Brushes(colours), 128)
    shares = {part: (picture == colour).all(-1).mean() for part, colour in colours.items()}
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["wall"] > 0.2
    assert all(shares[part] > 0.01 for part in ("window", "door", "balcony"))


@pytest.mark.parametrize("count", [1, 7, 34])
def test_other_palettes_show_an_area_in_each_colour(count):
    colours = {f"class {number}": (number, 7 * number % 256, 0) for number in range(count)}
    picture = draw_start_picture(Brushes(colours), 96)
    assert {tuple(colour) for colour in picture.reshape(-1, 3).tolist()} == set(colours.values())
