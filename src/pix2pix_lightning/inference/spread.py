"""Measure how much the samples of an image differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.sides import Side

Image = npt.NDArray[Any]


class Spread:
    """The spread of the samples of one image, pixel by pixel, updated with one sample at a time.

    Its picture is grayscale: the standard deviation over the samples (Welford's sums), averaged over the channels,
    white from an eighth of its range. For a label side it is the share of samples whose class is not the most frequent
    one, white for a share of one.

    Args:
        side: Meaning of the samples' pixels.
    """

    def __init__(self, side: Side) -> None:
        self._side = side
        self._samples: list[Image] = []
        self._count = 0
        self._mean: npt.NDArray[np.floating[Any]] = np.zeros(1, np.float32)
        self._squares: npt.NDArray[np.floating[Any]] = np.zeros(1, np.float32)

    def add(self, sample: Image) -> None:
        """Update with a sample, (H, W, C)."""
        self._count += 1
        if self._side.kind == "label":
            self._samples.append(sample)
            return
        difference = sample - self._mean
        self._mean = self._mean + difference / self._count
        self._squares = self._squares + difference * (sample - self._mean)

    def to_image(self) -> Image:
        """Render the spread of the samples so far, (H, W, 1) uint8."""
        share: npt.NDArray[np.float32]
        if self._side.kind == "label":
            share = _compute_minority_share(self._samples)
        else:
            white = np.array([(high - low) / 8 for low, high in self._side.ranges])
            share = (np.sqrt(self._squares / self._count) / white).mean(2, keepdims=True).astype(np.float32)
        levels: Image = (np.nan_to_num(share).clip(0, 1) * 255).round().astype(np.uint8)  # NaN: no value in any sample
        return levels


def _compute_minority_share(samples: Sequence[Image]) -> npt.NDArray[np.float32]:
    equal = [sum(((one == other).all(2, keepdims=True)).astype(np.float32) for other in samples) for one in samples]
    share: npt.NDArray[np.float32] = 1 - np.maximum.reduce(equal) / len(samples)
    return share
