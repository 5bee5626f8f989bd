"""Conversions between sRGB and CIE Lab in floating point: 8-bit Lab would lose up to 24 levels there and back."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pix2pix_lightning.utils.errors import UserError

_RGB_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_XYZ_TO_RGB = np.linalg.inv(np.asarray(_RGB_TO_XYZ)).tolist()  # as numbers, since ONNX has no inverse
_WHITE = (0.95047, 1.0, 1.08883)  # D65, 2 degrees
_LINEAR_BELOW = 0.008856  # of X, Y, Z relative to white
_SLOPE, _INTERCEPT = 7.787, 16 / 116


def convert_to_lab(images: Tensor) -> Tensor:
    """Convert sRGB to CIE Lab.

    Args:
        images: (B, 3, H, W) sRGB, or (B, 1, H, W) gray levels, from 0 to 1.

    Returns:
        (B, 3, H, W): L from 0 to 100, a and b from about -110 to 110.

    Raises:
        UserError: The images are neither.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise UserError(f"Lab needs RGB images (B, 3, H, W), got {tuple(images.shape)}: leave such images out")
    linear = torch.where(images > 0.04045, ((images + 0.055) / 1.055) ** 2.4, images / 12.92)
    to_xyz = _to_device(_RGB_TO_XYZ, linear) / _to_device(_WHITE, linear)[:, None]
    xyz = torch.einsum("ij,bjhw->bihw", to_xyz, linear)
    x, y, z = torch.where(xyz > _LINEAR_BELOW, xyz.clamp_min(0) ** (1 / 3), _SLOPE * xyz + _INTERCEPT).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def convert_from_lab(images: Tensor) -> Tensor:
    """Convert CIE Lab to sRGB; colours that sRGB lacks are clamped.

    Args:
        images: (B, 3, H, W): L, a and b, as ``convert_to_lab`` returns them.

    Returns:
        (B, 3, H, W) sRGB from 0 to 1.
    """
    light, green_red, blue_yellow = images.unbind(1)
    y = (light + 16) / 116
    roots = torch.stack([y + green_red / 500, y, y - blue_yellow / 200], 1)
    is_linear = roots <= _SLOPE * _LINEAR_BELOW + _INTERCEPT
    xyz = torch.where(is_linear, (roots - _INTERCEPT) / _SLOPE, roots**3)
    to_rgb = _to_device(_XYZ_TO_RGB, xyz) * _to_device(_WHITE, xyz)
    linear = torch.einsum("ij,bjhw->bihw", to_rgb, xyz).clamp(0, 1)
    srgb = torch.where(linear > 0.0031308, 1.055 * linear.clamp_min(1e-8) ** (1 / 2.4) - 0.055, 12.92 * linear)
    return srgb.clamp(0, 1)


def _to_device(numbers: Sequence[Any], like: Tensor) -> Tensor:
    """Return numbers in the type and on the device of a tensor, without waiting for the device."""
    return torch.tensor(numbers, dtype=like.dtype).to(like.device, non_blocking=True)
