"""Sides that a network cannot take, made longer by reflection."""

from __future__ import annotations

import torch
from torch import Tensor


def pad_to_multiple(images: Tensor, multiple: int, least: int = 1) -> Tensor:
    """Reflect images at their lower and right edge until both sides are multiples, and not too short.

    Args:
        images: (B, C, H, W) of any type; a short side is reflected as often as it takes.
        multiple: Of both sides of the result.
        least: Of both sides of the result; itself a multiple.

    Returns:
        (B, C, H', W'); the images are its upper left corner.
    """
    for dim in (-2, -1):
        side = images.shape[dim]
        padded = max(-(-side // multiple) * multiple, least)
        if padded > side:
            images = images.index_select(dim, reflected(side, padded).to(images.device))
    return images


def reflected(side: int, padded: int) -> Tensor:
    """Which pixel of ``side`` each of ``padded`` is: 0, 1, ..., side - 1, side - 2, ..., 0, 1, ...

    The edge itself is not repeated.
    """
    period = max(2 * (side - 1), 1)
    position = torch.arange(padded) % period
    return torch.where(position < side, position, period - position)
