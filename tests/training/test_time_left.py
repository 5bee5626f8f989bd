"""The time left, against times that are worked out by hand."""

import math

import pytest

from pix2pix_lightning.training.time_left import TimeLeft, format_duration


def test_whole_epochs_are_averaged_without_the_first():
    left = TimeLeft(window=2)
    assert left.estimate(0.0, 5, 10) is None
    for start in (0.0, 100.0):
        left.start_epoch(start)
    assert left.estimate(100.0, 4, 10) == 400  # the only one so far
    left.start_epoch(110.0)
    assert left.estimate(110.0, 3, 10) == 30  # the first, with what is done once, is left out
    assert left.estimate(114.0, 3, 10) == 26  # within the epoch it counts down
    left.start_epoch(130.0)
    assert left.estimate(130.0, 2, math.inf) == 2 * (10 + 20) / 2
    left.start_epoch(160.0)
    assert left.estimate(160.0, 1, 10) == (20 + 30) / 2  # of the last two
    assert left.estimate(200.0, 1, 10) == 0  # it takes longer than expected
    assert left.num_epochs == 4


def test_batches_are_counted_until_the_first_epoch_is_over():
    left = TimeLeft()
    left.start_epoch(0.0)
    left.end_batch(50.0)  # it was compiled
    assert left.estimate(50.0, 3, 10) is None
    left.end_batch(52.0)
    left.end_batch(54.0)
    assert left.estimate(54.0, 3, 10) == (30 - 3) * 2
    assert left.estimate(54.0, 3, math.inf) is None


def test_the_rest_of_an_epoch_is_not_measured():
    left = TimeLeft()
    left.start_epoch(0.0, is_whole=False)
    left.end_batch(1.0)
    left.end_batch(2.0)
    assert left.estimate(2.0, 1.5, 4) == (6 - 2) * 1.0
    left.start_epoch(5.0)
    assert left.num_epochs == 0
    assert left.estimate(5.0, 1, 4) is None
    left.start_epoch(12.0)
    assert left.estimate(12.0, 1, 4) == 7


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (12 * 60 + 29, "12 min"),
        (3599, "1 h 0 min"),
        (12_000, "3 h 20 min"),
        (86_399, "1 d 0 h"),
        (187_000, "2 d 4 h"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds, text):
    assert format_duration(seconds) == text
