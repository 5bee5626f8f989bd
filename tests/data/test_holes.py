"""Holes for inpainting."""

import numpy as np
import pytest

from pix2pix_lightning.data.holes import draw_hole, fill_hole
from pix2pix_lightning.utils.errors import UserError


def test_the_box_in_the_middle():
    hole = draw_hole(8, 12, "centre")
    expected = np.zeros((8, 12), bool)
    expected[2:6, 3:9] = True
    assert (hole == expected).all()
    assert draw_hole(1, 1, "centre").all()


@pytest.mark.parametrize(("height", "width"), [(64, 64), (40, 100), (3, 5)])
def test_random_boxes_cover_at_most_a_quarter_and_depend_on_the_seed(height, width):
    holes = [draw_hole(height, width, "random", seed) for seed in range(60)]
    shares = np.array([hole.mean() for hole in holes])
    assert (shares > 0).all()
    assert (shares <= 0.25).all()
    assert (draw_hole(height, width, "random", 7) == holes[7]).all()
    assert len({hole.tobytes() for hole in holes}) > (55 if height > 3 else 5)
    if height > 3:
        assert np.mean(holes, axis=0).min() >= 0
        assert (np.sum(holes, axis=0) > 0).mean() > 0.95  # they lie everywhere
        sequence = np.random.SeedSequence([1, 2])
        assert (draw_hole(height, width, "random", sequence) == draw_hole(height, width, "random", sequence)).all()


def test_the_same_seed_draws_the_same_boxes_at_another_size():
    small, large = draw_hole(64, 64, "random", 5), draw_hole(256, 256, "random", 5)
    assert (small != large[2::4, 2::4]).mean() < 0.03


def test_filling():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    hole = draw_hole(8, 8, "centre")
    mean = np.rint(image[~hole].astype(float).mean(0))
    for fill, colour in (("mean", mean), ("gray", [128] * 3), ((1, 2, 3), [1, 2, 3])):
        filled = fill_hole(image, hole, fill)
        assert (filled[hole] == colour).all()
        assert (filled[~hole] == image[~hole]).all()
    assert (fill_hole(image, np.ones((8, 8), bool)) == 128).all()
    for wrong in ("white", [1, 2], [300, 0, 0], 5):
        with pytest.raises(UserError, match="fill"):
            fill_hole(image, hole, wrong)
