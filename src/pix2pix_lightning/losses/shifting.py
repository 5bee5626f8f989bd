"""Whole-pixel shifts of images, a shift of its own for each image of a batch."""

import torch
from torch import Tensor

__all__ = ["shift_images"]


def shift_images(images: Tensor, down: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Shift each image by whole pixels. It is differentiable, and does not wait for the device.

    Args:
        images: (B, C, H, W).
        down: Pixels by which each image moves down, (B,) int64; negative moves up.
        right: Pixels by which each image moves to the right, (B,) int64.

    Returns:
        The shifted images, (B, C, H, W), 0 where nothing came to lie; and where something did, (B, 1, H, W) bool.

    Example:
        >>> image = torch.arange(1.0, 5.0).reshape(1, 1, 2, 2)
        >>> shift_images(image, torch.tensor([1]), torch.tensor([0]))[0].flatten().tolist()
        [0.0, 0.0, 1.0, 2.0]
    """
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device) - down[:, None]
    columns = torch.arange(width, device=images.device) - right[:, None]
    is_row, is_column = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    is_inside = is_row[:, None, :, None] & is_column[:, None, None, :]
    index = rows.clamp(0, height - 1)[:, None, :, None].expand_as(images)
    shifted = images.gather(2, index)
    index = columns.clamp(0, width - 1)[:, None, None, :].expand_as(images)
    return torch.where(is_inside, shifted.gather(3, index), 0.0), is_inside
