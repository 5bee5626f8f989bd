"""The one rule of resizing, for training, validation and inference."""

from __future__ import annotations

from typing import Any, Literal, TypeVar, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

Interpolation = Literal["bicubic", "bilinear", "nearest"]
INTERPOLATIONS: tuple[str, ...] = get_args(Interpolation)

Array = npt.NDArray[Any]
_Indices = TypeVar("_Indices", npt.NDArray[np.intp], Tensor)
_ROUNDING_DEVICES = ("cpu",)  # on which torch resizes 8 bits itself, in fixed point


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
        rows = _find_nearest(np.arange(height), image.shape[0], height)
        return image.take(rows, 0).take(_find_nearest(np.arange(width), image.shape[1], width), 1)
    # channels-last strides take torch's faster path, with the same values
    array = np.require(image, requirements=("C", "W"))  # torch warns about read-only arrays
    images = torch.from_numpy(array)[None].permute(0, 3, 1, 2)
    missing = has_missing_values(image, nodata)
    resized = resize_batch(images, height, width, interpolation, nodata=nodata, has_missing=missing)
    result: Array = resized[0].permute(1, 2, 0).numpy()
    return result


def resize_batch(
    images: Tensor,
    height: int,
    width: int,
    interpolation: str,
    *,
    nodata: float | None = None,
    has_missing: bool = False,
) -> Tensor:
    """Resize images on their device by the rule of ``resize``, without waiting for it.

    On a CPU the result is that of ``resize``. Other devices compute 8 bits in floating point, as they do all other
    types: of noise one value in 40 differs by a level, of photos one in 300, and a few in a million by two levels.

    Args:
        images: (B, C, H, W), uint8, uint16, int16, float16 or float32.
        height: Height of the result in pixels.
        width: Width of the result in pixels.
        interpolation: ``bicubic`` or ``bilinear``.
        nodata: Value of pixels without a value.
        has_missing: Whether each image has such pixels (``has_missing_values``).

    Returns:
        (B, C, height, width) in the type of ``images``; these themselves if they have that size.
    """
    size, dtype = (height, width), images.dtype
    if images.shape[2:] == size:
        return images
    is_exact = dtype == torch.float32 or (dtype == torch.uint8 and images.device.type in _ROUNDING_DEVICES)
    if is_exact and not has_missing:
        return _interpolate(images, size, interpolation)
    floats = images.to(torch.float32)
    if has_missing:
        missing = floats.isnan()
        if nodata is not None:
            missing |= floats == torch.tensor(nodata, dtype=dtype).float()
        values = _resize_around(floats, missing, size, interpolation)
    else:
        if dtype == torch.uint8:  # on a CPU torch rounds and clamps between the passes: else hard edges differ by 30
            floats = _round(_interpolate(floats, (images.shape[2], width), interpolation), dtype)
        values = _interpolate(floats, size, interpolation)
    return _round(values, dtype).to(dtype)


def has_missing_values(image: Array, nodata: float | None) -> bool:
    """Return whether an image has a value that is NaN or ``nodata``."""
    if image.dtype.kind == "f" and np.isnan(image).any():
        return True
    return nodata is not None and bool((image == image.dtype.type(nodata)).any())


def _resize_around(floats: Tensor, missing: Tensor, size: tuple[int, int], interpolation: str) -> Tensor:
    """Resize the values that there are; see ``resize``."""
    gone = _pick(missing, size)
    weights = _interpolate((~missing).to(torch.float32), size, interpolation)
    sums = _interpolate(floats.masked_fill(missing, 0), size, interpolation)
    return torch.where(gone, _pick(floats, size), sums / weights.masked_fill(gone, 1))


def _interpolate(images: Tensor, size: tuple[int, int], interpolation: str) -> Tensor:
    return F.interpolate(images, size, mode=interpolation, antialias=True)


def _round(values: Tensor, dtype: torch.dtype) -> Tensor:
    if dtype.is_floating_point:
        return values
    limits = torch.iinfo(dtype)
    return values.round().clamp(limits.min, limits.max)


def _pick(images: Tensor, size: tuple[int, int]) -> Tensor:
    for axis, (length, resized) in enumerate(zip(images.shape[2:], size, strict=True), 2):
        places = torch.arange(resized, device=images.device)
        images = images.index_select(axis, _find_nearest(places, length, resized))
    return images


def _find_nearest(places: _Indices, length: int, resized: int) -> _Indices:
    """Return which of ``length`` pixels lies under the centre of the ``places`` among ``resized`` ones."""
    return (2 * places + 1) * length // (2 * resized)
