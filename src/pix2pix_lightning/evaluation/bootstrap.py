"""Bootstrap intervals of values over images."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.utils.resampling import draw_counts


class Interval(NamedTuple):
    """A value over all images and its 95 % interval."""

    mean: float
    low: float
    high: float


def take_first(statistics: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the first of the mean statistics: (S, k) to (S,)."""
    return statistics[..., 0]


def bootstrap(
    statistics: npt.NDArray[np.float64],
    figure: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]] = take_first,
    *,
    samples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Compute the percentile interval of a value over images, which are drawn again with replacement.

    Args:
        statistics: (N, k) or (N,): the statistics of each image.
        figure: Function from mean statistics over images, (S, k), to the value, (S,); by default the first statistic.
        samples: Number of times that N images are drawn.
        seed: Seed of the draws: values over the same images are drawn in the same way.

    Returns:
        The value over all images, and the ends of its 95 % interval.

    Example:
        >>> bootstrap(np.array([1.0, 1.0, 1.0]))
        Interval(mean=1.0, low=1.0, high=1.0)
    """
    statistics = statistics.reshape(len(statistics), -1)
    num_images = len(statistics)
    drawn = []
    for counts in draw_counts(num_images, samples=samples, seed=seed):
        with np.errstate(invalid="ignore"):  # 0 times an infinite value
            drawn.append(figure(counts @ statistics / num_images))
    low, high = np.percentile(np.concatenate(drawn), [2.5, 97.5])
    return Interval(float(figure(statistics.mean(0, keepdims=True))[0]), float(low), float(high))
