"""The one rule of resizing, for training, validation and inference."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

Interpolation = Literal["bicubic", "bilinear", "nearest"]
INTERPOLATIONS: tuple[str, ...] = get_args(Interpolation)


Array = npt.NDArray[Any]
_EXACT = ("uint8", "float32")  # types that torch resizes itself; it rounds and clamps those of 8 bits


def resize(image: Array, height: int, width: int, interpolation: str, *, nodata: float | None = None) -> Array:
    """Resize an image.

    ``bicubic`` and ``bilinear`` widen their kernel when they shrink (antialiasing), as Pillow does. The result equals
    the bicubic resizing of junyanz within two levels if Pillow resizes rows before columns (Pillow 13 does the reverse
    where the height shrinks more than the width). ``nearest`` picks pixels and never mixes values.

    A channel without a value at a pixel, NaN or ``nodata``, adds nothing to others: the weights of those around it are
    raised, and the result has no value where ``nearest`` would pick one without.

    Args:
        image: (H, W, C), uint8, uint16, int16, float16 or float32. Values of integers are rounded.
        height: Height of the result in pixels.
        width: Width of the result in pixels.
        interpolation: ``bicubic``, ``bilinear`` or ``nearest``.
        nodata: Value of pixels without a value.

    Returns:
        (height, width, C) in the type of ``image``; the image itself if it has that size.
    """
    if image.shape[:2] == (height, width):
        return image
    if interpolation == "nearest":
        return image.take(_compute_nearest_indices(image.shape[0], height), 0).take(
            _compute_nearest_indices(image.shape[1], width), 1
        )
    missing = _find_missing(image, nodata)
    if missing is not None:
        return _resize_around(image, missing, height, width, interpolation)
    if image.dtype.name in _EXACT:
        return _interpolate(image, height, width, interpolation)
    return _convert(_interpolate(image.astype(np.float32), height, width, interpolation), image.dtype)


def _find_missing(image: Array, nodata: float | None) -> npt.NDArray[np.bool_] | None:
    """Return where an image has no value, or None where it has one everywhere."""
    missing = np.isnan(image) if image.dtype.kind == "f" else None
    if nodata is not None:
        equal = image == image.dtype.type(nodata)
        missing = equal if missing is None else missing | equal
    return missing if missing is not None and missing.any() else None


def _resize_around(image: Array, missing: npt.NDArray[np.bool_], height: int, width: int, interpolation: str) -> Array:
    """Resize the values that there are; see ``resize``."""
    picked = resize(image, height, width, "nearest")
    gone = resize(missing, height, width, "nearest")
    weights = _interpolate((~missing).astype(np.float32), height, width, interpolation)
    sums = _interpolate(np.where(missing, np.float32(0), image).astype(np.float32), height, width, interpolation)
    values = sums / np.where(gone, np.float32(1), weights)
    return np.where(gone, picked, _convert(values, image.dtype))


def _interpolate(image: Array, height: int, width: int, interpolation: str) -> Array:
    # channels-last strides take torch's faster path, with the same values
    image = np.require(image, requirements=("C", "W"))  # torch warns about read-only arrays
    tensor = torch.from_numpy(image).view(1, *image.shape).permute(0, 3, 1, 2)
    resized = F.interpolate(tensor, (height, width), mode=interpolation, antialias=True)
    result: Array = resized[0].permute(1, 2, 0).numpy()
    return result


def _convert(values: Array, dtype: np.dtype[Any]) -> Array:
    if dtype.kind != "f":
        limits = np.iinfo(dtype)
        values = values.round().clip(limits.min, limits.max)
    return values.astype(dtype)


def _compute_nearest_indices(length: int, resized: int) -> npt.NDArray[np.intp]:
    """Return which of ``length`` pixels lies under the centre of each of ``resized`` pixels."""
    return (2 * np.arange(resized) + 1) * length // (2 * resized)
