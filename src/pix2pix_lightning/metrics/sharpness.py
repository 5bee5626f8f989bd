"""How sharp an image is."""

import torch
from torch import Tensor

from pix2pix_lightning.utils.errors import UserError

__all__ = ["gradient_magnitude"]


def gradient_magnitude(images: Tensor) -> Tensor:
    """Return each image's mean gradient magnitude: blurred images, such as a plain L1 loss's, have less.

    The magnitude is `sqrt(dx^2 + dy^2)` of forward differences, where both exist: on (H - 1, W - 1) pixels of
    each channel.

    Args:
        images: Images (B, C, H, W), sides of 2 or more.

    Returns:
        Means over channels and pixels, (B,), in the images' unit a pixel, in float32 at least.

    Raises:
        ValueError: If the images are not (B, C, H, W), or have a side of less than 2.
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
