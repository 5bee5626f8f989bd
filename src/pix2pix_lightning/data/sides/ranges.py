"""Ranges of values, and the value of pixels without one, for sides of any type."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pix2pix_lightning.utils.errors import UserError

Range = tuple[float, float]
Bounds = tuple[float | str, float | str]
"""The bounds of a range: each a number, or a percentile such as ``p99.5``."""
DTYPES = ("uint8", "uint16", "int16", "float16", "float32")
"""Types of the values of files, names of NumPy's."""


def compute_type_limits(dtype: str) -> tuple[float, float]:
    """Return the least and the greatest finite value of a type of ``DTYPES``."""
    limits: Any = np.finfo(dtype) if dtype.startswith("float") else np.iinfo(dtype)
    return float(limits.min), float(limits.max)


def parse_raw_range(value_range: Any, dtype: str, num_channels: int) -> Range | tuple[Range, ...]:
    """Return the range of values of a side, or those of its channels, as tuples.

    Args:
        value_range: Two numbers; a list of them, one for each channel or a single one for each; or None or ``auto`` for
            all values of a type of integers.
        dtype: One of ``DTYPES``.
        num_channels: Number of channels.

    Returns:
        The values that become -1 and 1: a pair, or one for each channel where these differ.

    Raises:
        UserError: It is no range within the type, or not known, or there are not as many ranges as channels.
    """
    limits = compute_type_limits(dtype)
    if value_range is None or value_range == "auto":
        if dtype.startswith("float"):
            raise UserError(
                f"value_range=auto of {dtype}, which tells no range: set value_range=[low,high]; a data module takes "
                "the least and the greatest value of its training pairs"
            )
        return limits
    if not has_channel_ranges(value_range):
        return _parse_numbers(value_range, dtype)
    check_num_ranges(value_range, num_channels)
    ranges = tuple(_parse_numbers(one, dtype) for one in value_range)
    return ranges[0] if len(set(ranges)) == 1 else ranges


def has_channel_ranges(value_range: Any) -> bool:
    """Return whether a range, as a configuration has it, is a list of ranges of channels."""
    return _is_list(value_range) and len(value_range) > 0 and _is_list(value_range[0])


def check_num_ranges(ranges: Sequence[Any], num_channels: int, name: str = "value_range") -> None:
    """Check that there are as many ranges as channels, or a single one, which stands for each.

    Args:
        ranges: The ranges.
        num_channels: Number of channels.
        name: The key, for the message.

    Raises:
        UserError: There are not.
    """
    if len(ranges) not in (1, num_channels):
        raise UserError(
            f"{name} has {len(ranges)} ranges for {num_channels} channels: give one for each channel, "
            "[[low,high],[low,high],...], or a single one for each, [[p0.5,p99.5]]"
        )


def is_wide(low: float, high: float, dtype: str) -> bool:
    """Return whether a range is wide enough for its values to be told apart in float32.

    Args:
        low: Its least value.
        high: Its greatest value; NaN makes no range.
        dtype: One of ``DTYPES``.
    """
    # float32 has 24 bits, of which some are left within the range
    least = max(abs(low), abs(high)) * 2**-16 if dtype.startswith("float") else 1.0
    return low < high and least <= high - low < math.inf


def has_percentiles(value_range: Any) -> bool:
    """Return whether a range, as a configuration has it, depends on the values of training pairs."""
    if not _is_list(value_range):
        return False
    return any(has_percentiles(bound) or isinstance(bound, str) for bound in value_range)


def format_range(value_range: Range | tuple[Range, ...], most: int = 12) -> str:
    """Return ranges as a configuration has them, with three channels of more than ``most``.

    Args:
        value_range: What ``parse_raw_range`` returned.
        most: Number of channels that are all listed.

    Returns:
        Such as ``[0,1]`` or ``[[0,1],[-25,3]]``.
    """
    texts = [f"[{low:g},{high:g}]" for low, high in list_ranges(value_range)]
    if not has_channel_ranges(value_range):
        return texts[0]
    return f"[{','.join(texts if len(texts) <= most else [*texts[:3], '...'])}]"


def list_ranges(value_range: Range | tuple[Range, ...]) -> tuple[Range, ...]:
    """Return what ``parse_raw_range`` returned as ranges: one of all channels, or one of each."""
    ranges: Any = value_range if has_channel_ranges(value_range) else (value_range,)
    return tuple(ranges)


def to_channels(numbers: Sequence[float], like: Tensor) -> Any:
    """Return numbers in a form that images (B, C, H, W) are computed with, without waiting for the device.

    Args:
        numbers: One number for all channels, or one for each.
        like: A tensor of the type and on the device that is wanted.

    Returns:
        A float, or a tensor (C, 1, 1).
    """
    if len(numbers) == 1:
        return numbers[0]
    return torch.tensor(numbers, dtype=like.dtype).to(like.device, non_blocking=True)[:, None, None]


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _parse_numbers(value_range: Any, dtype: str) -> Range:
    limits = compute_type_limits(dtype)
    bounds = tuple(value_range) if isinstance(value_range, list | tuple) else ()
    if len(bounds) == 2 and all(map(is_finite_number, bounds)):
        low, high = (float(bound) for bound in bounds)
        if limits[0] <= low and high <= limits[1] and is_wide(low, high, dtype):
            return low, high
    given = list(value_range) if isinstance(value_range, tuple) else value_range
    raise UserError(
        f"value_range={given}: two numbers from {limits[0]:g} to {limits[1]:g} are expected, the second clearly "
        "higher, or auto"
    )


def parse_bounds(value_range: Any) -> list[Bounds]:
    """Return the bounds of ranges that may be percentiles of the training pairs.

    Args:
        value_range: Two bounds, each a number, or a percentile such as ``p99.5``; or a list of them, one for each
            channel or a single one for each.

    Returns:
        The bounds of each range that is given, numbers or texts.

    Raises:
        UserError: There are not two bounds of a range, or one is neither.
    """
    if has_channel_ranges(value_range):
        return [_parse_pair(one) for one in value_range]
    return [_parse_pair(value_range)]


def _parse_pair(value_range: Any) -> Bounds:
    bounds = tuple(value_range) if _is_list(value_range) else ()
    if len(bounds) != 2 or not all(_is_bound(bound) for bound in bounds):
        raise UserError(
            f"value_range={value_range}: auto, [low,high], percentiles of the training pairs, [p0.5,p99.5], or those "
            "of each channel, [[p0.5,p99.5]], are expected"
        )
    return bounds


def is_finite_number(value: Any) -> bool:
    """Return whether a value is a finite number; true and false are none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) <= sys.float_info.max  # an int may be greater


def _is_bound(bound: Any) -> bool:
    if not isinstance(bound, str):
        return isinstance(bound, int | float) and not isinstance(bound, bool)
    try:
        return bound.startswith("p") and 0 <= float(bound[1:]) <= 100
    except ValueError:
        return False


def parse_nodata(nodata: Any, dtype: str) -> float | None:
    """Return the value of pixels without a value, as a type holds it.

    Args:
        nodata: A number, or None. NaN stands for None in a type of floats.
        dtype: One of ``DTYPES``.

    Returns:
        The number, or None.

    Raises:
        UserError: The type does not hold it.
    """
    if nodata is None:
        return None
    low, high = compute_type_limits(dtype)
    is_float = dtype.startswith("float")
    if isinstance(nodata, int | float) and not isinstance(nodata, bool):
        if is_float and nodata != nodata:
            return None
        stored = float(np.dtype(dtype).type(nodata)) if low <= nodata <= high else math.nan
        if is_float and nodata in (math.inf, -math.inf):
            return float(nodata)
        if not math.isnan(stored) and (is_float or stored == nodata):
            return stored
    raise UserError(f"nodata={nodata}: a value of {dtype} is expected, from {low:g} to {high:g}, or null for none")
