"""How the colours of images are distributed."""

import torch
from torch import Tensor

__all__ = ["lab", "lab_histograms"]

_RGB_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_WHITE = (0.95047, 1.0, 1.08883)  # D65, 2 degrees
_RANGES = ((0, 100), (-110, 110), (-110, 110))  # all of sRGB lies in these


def lab(images: Tensor) -> Tensor:
    """Convert sRGB to CIE Lab, in floats throughout: bytes would lose up to 24 levels there and back.

    Args:
        images: (B, 3, H, W), from 0 to 1.

    Returns:
        (B, 3, H, W): L from 0 to 100, a and b from about -110 to 110.
    """
    linear = torch.where(images > 0.04045, ((images + 0.055) / 1.055) ** 2.4, images / 12.92)
    to_xyz = linear.new_tensor(_RGB_TO_XYZ) / linear.new_tensor(_WHITE)[:, None]
    xyz = torch.einsum("ij,bjhw->bihw", to_xyz, linear)
    x, y, z = torch.where(xyz > 0.008856, xyz.clamp_min(0) ** (1 / 3), 7.787 * xyz + 16 / 116).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def lab_histograms(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count each image's pixels by L, by a and by b, each rounded to a whole number.

    Bins lie around whole numbers, so that greys, whose a and b are zero but for rounding, share one.

    Args:
        images: (B, 3, H, W) sRGB, from 0 to 1.

    Returns:
        Counts (B, 101) of L from 0 to 100, and (B, 221) each of a and b from -110 to 110.
    """
    levels = lab(images).round().long()
    light, green_red, blue_yellow = (
        _counted(levels[:, channel].flatten(1), *_RANGES[channel]) for channel in range(len(_RANGES))
    )
    return light, green_red, blue_yellow


def _counted(levels: Tensor, low: int, high: int) -> Tensor:
    num_bins = high - low + 1
    first_bins = torch.arange(len(levels), device=levels.device)[:, None] * num_bins
    places = levels.clamp(low, high) - low + first_bins
    return torch.bincount(places.flatten(), minlength=len(levels) * num_bins).reshape(-1, num_bins)
