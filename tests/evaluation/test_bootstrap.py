import numpy as np
import pytest
from scipy import stats

from pix2pix_lightning.evaluation import bootstrap


def ratio(statistics):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(statistics[..., 1] > 0, statistics[..., 0] / statistics[..., 1], np.nan)


def test_the_mean_s_interval_against_scipy():
    scores = np.random.default_rng(0).gamma(1.0, 2.0, 60)  # skewed, unlike a normal distribution
    expected = stats.bootstrap(
        (scores,), np.mean, n_resamples=20_000, method="percentile", random_state=1
    ).confidence_interval
    mean, low, high = bootstrap(scores)
    assert mean == pytest.approx(scores.mean(), rel=1e-12)
    assert [low, high] == pytest.approx([expected.low, expected.high], rel=0.02)
    assert bootstrap(scores) == (mean, low, high)
    assert bootstrap(scores, seed=1) != (mean, low, high)


def test_a_ratio_of_means_is_drawn_as_a_ratio():
    rng = np.random.default_rng(1)
    parts, wholes = rng.uniform(0, 1, 80), rng.uniform(1, 9, 80)
    expected = stats.bootstrap(
        (parts, wholes),
        lambda a, b, axis: a.mean(axis) / b.mean(axis),
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        method="percentile",
        random_state=1,
    ).confidence_interval
    mean, low, high = bootstrap(np.stack([parts, wholes], 1), ratio)
    assert mean == pytest.approx(parts.mean() / wholes.mean())
    assert abs(mean - (parts / wholes).mean()) > 0.01
    assert [low, high] == pytest.approx([expected.low, expected.high], rel=0.02)


def test_many_images_are_drawn_piece_by_piece_with_the_same_result():
    scores = np.random.default_rng(2).normal(size=5000)
    draws = np.random.default_rng(3).choice(scores, (900, 5000)).mean(1)
    expected = (scores.mean(), *np.percentile(draws, [2.5, 97.5]))
    assert bootstrap(scores, samples=900, seed=3) == pytest.approx(expected, rel=1e-9)


def test_one_image_is_its_own_interval():
    assert bootstrap(np.array([0.25])) == (0.25, 0.25, 0.25)


def test_a_value_that_is_not_defined_has_no_interval():
    assert np.isnan(bootstrap(np.array([[1.0, 0.0], [2.0, 0.0]]), ratio)).all()
