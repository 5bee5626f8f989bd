"""Sharpness of images."""

import torch
from torch import Tensor

from pix2pix_lightning.metrics.base import ImageMetric
from pix2pix_lightning.utils.errors import UserError

__all__ = ["GradientRatio", "compute_gradient_magnitude"]


class GradientRatio(ImageMetric):
    """Mean gradient magnitude of outputs as a share of the targets': 1 is as sharp, less is blurred.

    Over many images it is the ratio of the two means. It is NaN where the targets are flat. `higher_is_better` is None:
    neither a higher nor a lower value is better, but one that is nearer to 1.

    Example:
        >>> images = torch.rand(2, 3, 8, 8)
        >>> round(GradientRatio()(images / 2, images).item(), 4)
        0.5
    """

    least_side = 2

    def __init__(self) -> None:
        super().__init__(num_statistics=2)

    def compute_statistics(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the mean gradient magnitude of each output and of its target, (B, 2)."""
        return torch.stack([compute_gradient_magnitude(preds), compute_gradient_magnitude(target)], 1)

    def compute_value(self, means: Tensor) -> Tensor:
        """Return the ratio of two means, NaN where the second is zero: (..., 2) to (...)."""
        output, target = means.unbind(-1)
        return torch.where(target > 0, output / target, torch.nan)


def compute_gradient_magnitude(images: Tensor) -> Tensor:
    """Return the mean gradient magnitude of each image. Blurred images (a plain L1 loss gives such) have less.

    The magnitude is `sqrt(dx^2 + dy^2)` of forward differences, where both exist: on (H - 1, W - 1) pixels of
    each channel.

    Args:
        images: (B, C, H, W), sides of 2 or more.

    Returns:
        Means over channels and pixels, (B,), in the images' unit per pixel, at least in float32.

    Raises:
        UserError: The images are not (B, C, H, W), or have a side of less than 2.
    """
    if images.ndim != 4 or min(images.shape[-2:]) < 2:
        raise UserError(
            f"gradient magnitude needs images (B, C, H, W) of at least 2 x 2, got {tuple(images.shape)}: "
            "add the missing dimensions, or leave such images out"
        )
    images = images.to(torch.promote_types(images.dtype, torch.float32))
    corner = images[..., :-1, :-1]
    dx = images[..., :-1, 1:] - corner
    dy = images[..., 1:, :-1] - corner
    return torch.hypot(dx, dy).flatten(1).mean(1)
