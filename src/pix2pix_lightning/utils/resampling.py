"""Draw images again with replacement: how often each one is drawn."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

_MAX_DRAWN = 2**21  # numbers in memory at once


def draw_counts(num_images: int, *, samples: int = 10_000, seed: int = 0) -> Iterator[npt.NDArray[np.int64]]:
    """Draw ``num_images`` images with replacement, many times.

    Args:
        num_images: Number N of images.
        samples: Number of times that N images are drawn.
        seed: Seed of the draws: values over the same images are drawn in the same way.

    Yields:
        (S, N), how often each image was drawn in each of S samples; in all there are ``samples`` rows.
    """
    generator = np.random.default_rng(seed)
    chunk = max(1, _MAX_DRAWN // num_images)
    for first in range(0, samples, chunk):
        num = min(chunk, samples - first)
        images = generator.integers(0, num_images, (num, num_images))
        bins = images + np.arange(num)[:, None] * num_images
        yield np.bincount(bins.ravel(), minlength=num * num_images).reshape(num, num_images)
