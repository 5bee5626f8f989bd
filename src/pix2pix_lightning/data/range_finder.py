"""Find the range of a raw side, or those of its channels, in the values of training images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.sides import RawSide
from pix2pix_lightning.data.sides.ranges import Bounds, check_num_ranges, has_channel_ranges, is_wide, parse_bounds
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.text import format_names

Array = npt.NDArray[Any]
_NUM_VALUES = 2**24  # that are kept of a side, for percentiles
_MAX_VALUES = 2**16  # of an image


class RangeFinder:
    """Look at training images one after the other, and compute the range of a side.

    Args:
        key: ``a`` or ``b``, for messages.
        side: What the images are.
        value_range: What a configuration gives: None for the least and the greatest value, or bounds of which some are
            percentiles, of all channels or of each.
        num_images: How many images there will be at most.

    Raises:
        UserError: The bounds are none, or there are not as many ranges as channels.
    """

    def __init__(self, key: str, side: RawSide, value_range: Any, num_images: int) -> None:
        self._name, self._side, self._given = f"data.{key}.value_range", side, value_range
        self._bounds = [("p0", "p100")] if value_range is None else parse_bounds(value_range)
        self._is_by_channel = has_channel_ranges(value_range)
        if self._is_by_channel:
            check_num_ranges(self._bounds, side.num_channels, self._name)
            self._bounds *= side.num_channels // len(self._bounds)
        most = _NUM_VALUES // (num_images * len(self._bounds))
        self._samples = [_Sample(min(max(most, 1), _MAX_VALUES)) for _ in self._bounds]

    @property
    def is_constant(self) -> bool:
        """Whether all values of a range are one."""
        return any(sample.low == sample.high for sample in self._samples)

    def add(self, image: Array) -> None:
        """Look at an image, (H, W, num_channels)."""
        parts = np.moveaxis(image, 2, 0).copy() if self._is_by_channel else [image]
        for part, sample in zip(parts, self._samples, strict=True):
            values = part[np.isfinite(part)] if self._side.is_float else part.ravel()
            sample.add(values if self._side.nodata is None else values[values != self._side.nodata])

    def compute(self) -> list[Any]:
        """Compute the range, or those of the channels.

        Returns:
            Two numbers, or a list of them for each channel.

        Raises:
            UserError: There is no value, or a single one, so that no range follows.
        """
        ranges = [sample.compute_range(pair) for sample, pair in zip(self._samples, self._bounds, strict=True)]
        narrow = [number for number, (low, high) in enumerate(ranges) if not self._is_wide(low, high)]
        if narrow and self._is_by_channel:
            raise UserError(self._format_narrow(ranges, narrow))
        if narrow and not self._samples[0].kept:
            raise UserError(f"{self._name}: no training file has a value: set {self._name}=[low,high]")
        if narrow:
            low, high = ranges[0]
            given = "auto" if self._given is None else self._given
            raise UserError(
                f"{self._name}={given} is from {low:g} to {high:g} in the training files: set {self._name}=[low,high]"
            )
        return [list(one) for one in ranges] if self._is_by_channel else list(ranges[0])

    def _format_narrow(self, ranges: list[tuple[float, float]], narrow: list[int]) -> str:
        """Say which channels have no range, with one that could be set."""
        found, texts = [], [f"[{low},{high}]" for low, high in self._bounds]
        for number in narrow:
            low, high = ranges[number]
            found.append(f"{number + 1} ({f'{low:g} to {high:g}' if self._samples[number].kept else 'no value'})")
            texts[number] = self._suggest_range(self._samples[number])
        return (
            f"{self._name}: of channels {format_names(found)} the training files tell no range: leave them out of the "
            f"files, or give ranges of their own, such as {self._name}=[{','.join(texts)}]"
        )

    def _suggest_range(self, sample: _Sample) -> str:
        """Return a range for values whose percentiles are none, as a configuration has it."""
        if self._is_wide(sample.low, sample.high):
            return "[p0,p100]"
        value = sample.low if sample.kept and not 0 <= sample.low <= 1 else 1
        return f"[{min(value, 0):g},{max(value, 0):g}]"

    def _is_wide(self, low: float, high: float) -> bool:
        return is_wide(low, high, self._side.dtype)


class _Sample:
    """The least and the greatest of the values of images, and some of all."""

    def __init__(self, most: int) -> None:
        self.low, self.high = math.inf, -math.inf
        self.kept: list[Array] = []
        self._most = most  # about how many of an image are kept

    def add(self, values: Array) -> None:
        if values.size:
            self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
            self.kept.append(values[:: max(1, values.size // self._most)].copy())  # not a view, which keeps all values

    def compute_range(self, bounds: Bounds) -> tuple[float, float]:
        """Return a range: numbers stay, percentiles become values, NaN where there are none."""
        low, high = (self._compute_bound(bound) if isinstance(bound, str) else bound for bound in bounds)
        return low, high

    def _compute_bound(self, bound: str) -> float:
        percent = float(bound[1:])
        if not self.kept:
            return math.nan
        if percent in (0, 100):
            return self.high if percent else self.low
        return float(np.percentile(np.concatenate(self.kept).astype(np.float64), percent))
