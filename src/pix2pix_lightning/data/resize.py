"""The one rule of resizing, for training, validation and inference."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

Interpolation = Literal["bicubic", "bilinear", "nearest"]
INTERPOLATIONS: tuple[str, ...] = get_args(Interpolation)


def resize(image: npt.NDArray[np.uint8], height: int, width: int, interpolation: str) -> npt.NDArray[np.uint8]:
    """Resize an image.

    ``bicubic`` and ``bilinear`` widen their kernel when they shrink (antialiasing), as Pillow does. The result equals
    the bicubic resizing of junyanz within two levels if Pillow resizes rows before columns (Pillow 13 does the reverse
    where the height shrinks more than the width). ``nearest`` picks pixels and never mixes values.

    Args:
        image: (H, W, C) uint8.
        height: Height of the result in pixels.
        width: Width of the result in pixels.
        interpolation: ``bicubic``, ``bilinear`` or ``nearest``.

    Returns:
        (height, width, C) uint8; the image itself if it has that size.
    """
    if image.shape[:2] == (height, width):
        return image
    if interpolation == "nearest":
        return image.take(_compute_nearest_indices(image.shape[0], height), 0).take(
            _compute_nearest_indices(image.shape[1], width), 1
        )
    # channels-last strides take torch's faster path, with the same values
    image = np.require(image, requirements=("C", "W"))  # torch warns about read-only arrays
    tensor = torch.from_numpy(image).view(1, *image.shape).permute(0, 3, 1, 2)
    resized = F.interpolate(tensor, (height, width), mode=interpolation, antialias=True)
    result: npt.NDArray[np.uint8] = resized[0].permute(1, 2, 0).numpy()
    return result


def _compute_nearest_indices(length: int, resized: int) -> npt.NDArray[np.intp]:
    """Return which of ``length`` pixels lies under the centre of each of ``resized`` pixels."""
    return (2 * np.arange(resized) + 1) * length // (2 * resized)
