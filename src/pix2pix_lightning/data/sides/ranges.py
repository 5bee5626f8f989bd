"""Ranges of values, and the value of pixels without one, for sides of any type."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pix2pix_lightning.utils.errors import UserError

DTYPES = ("uint8", "uint16", "int16", "float16", "float32")
"""Types of the values of files, names of NumPy's."""


def compute_type_limits(dtype: str) -> tuple[float, float]:
    """Return the least and the greatest finite value of a type of ``DTYPES``."""
    limits: Any = np.finfo(dtype) if dtype.startswith("float") else np.iinfo(dtype)
    return float(limits.min), float(limits.max)


def parse_raw_range(value_range: Any, dtype: str) -> tuple[float, float]:
    """Return a range of values of a type as a tuple.

    Args:
        value_range: Two numbers; or None or ``auto`` for all values of a type of integers.
        dtype: One of ``DTYPES``.

    Returns:
        The values that become -1 and 1.

    Raises:
        UserError: It is no range within the type, or not known.
    """
    limits = compute_type_limits(dtype)
    is_float = dtype.startswith("float")
    if value_range is None or value_range == "auto":
        if is_float:
            raise UserError(
                f"value_range=auto of {dtype}, which tells no range: set value_range=[low,high]; a data module takes "
                "the least and the greatest value of its training pairs"
            )
        return limits
    bounds = tuple(value_range) if isinstance(value_range, list | tuple) else ()
    if len(bounds) == 2 and all(isinstance(b, int | float) and not isinstance(b, bool) for b in bounds):
        low, high = (float(bound) for bound in bounds)
        # float32 has 24 bits, of which some are left within the range
        least = max(abs(low), abs(high)) * 2**-16 if is_float else 1.0
        if limits[0] <= low < high <= limits[1] and least <= high - low < math.inf:
            return low, high
    given = list(value_range) if isinstance(value_range, tuple) else value_range
    raise UserError(
        f"value_range={given}: two numbers from {limits[0]:g} to {limits[1]:g} are expected, the second clearly "
        "higher, or auto"
    )


def parse_bounds(value_range: Any) -> tuple[float | str, float | str]:
    """Return the bounds of a range that may be percentiles of the training pairs.

    Args:
        value_range: Two bounds, each a number, or a percentile such as ``p99.5``.

    Returns:
        The bounds, numbers or texts.

    Raises:
        UserError: There are not two bounds, or one is neither.
    """
    bounds = tuple(value_range) if isinstance(value_range, Sequence) and not isinstance(value_range, str) else ()
    if len(bounds) != 2 or not all(_is_bound(bound) for bound in bounds):
        raise UserError(
            f"value_range={value_range}: auto, [low,high] or percentiles of the training pairs, [p0.5,p99.5], are "
            "expected"
        )
    return bounds


def is_finite_number(value: Any) -> bool:
    """Return whether a value is a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


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
        if is_float and math.isnan(nodata):
            return None
        stored = float(np.dtype(dtype).type(nodata)) if low <= nodata <= high else math.nan
        if is_float and math.isinf(nodata):
            return float(nodata)
        if not math.isnan(stored) and (is_float or stored == nodata):
            return stored
    raise UserError(f"nodata={nodata}: a value of {dtype} is expected, from {low:g} to {high:g}, or null for none")
