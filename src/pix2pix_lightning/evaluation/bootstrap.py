"""How much a figure over images owes to which images they happen to be."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_MOST_DRAWN = 2**21  # numbers in memory at once


class Interval(NamedTuple):
    """A figure over all images and the 95 % interval around it."""

    mean: float
    low: float
    high: float


def mean(statistics: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The figure of one number for each image."""
    return statistics[..., 0]


def bootstrap(
    statistics: npt.NDArray[np.float64],
    figure: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]] = mean,
    *,
    samples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """The percentile interval of a figure, over images drawn anew with replacement.

    Args:
        statistics: (N, k), or (N,): what the figure is made of, for each image.
        figure: Takes means of the statistics over images, (S, k), and gives (S,).
        samples: How often N images are drawn.
        seed: Of the draws: figures over the same images are drawn alike.

    Example:
        >>> bootstrap(np.array([1.0, 1.0, 1.0]))
        Interval(mean=1.0, low=1.0, high=1.0)
    """
    statistics = statistics.reshape(len(statistics), -1)
    num_images = len(statistics)
    generator = np.random.default_rng(seed)
    at_once = max(1, _MOST_DRAWN // num_images)
    drawn = np.empty(samples)
    for first in range(0, samples, at_once):
        num = min(at_once, samples - first)
        images = generator.integers(0, num_images, (num, num_images))
        places = images + np.arange(num)[:, None] * num_images
        counts = np.bincount(places.ravel(), minlength=num * num_images).reshape(num, num_images)
        drawn[first : first + num] = figure(counts @ statistics / num_images)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(float(figure(statistics.mean(0, keepdims=True))[0]), float(low), float(high))
