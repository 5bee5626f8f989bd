"""Pad images by reflection to sides that a network takes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def pad_to_multiple(images: Tensor, multiple: int, least: int = 1) -> Tensor:
    """Reflect images at their lower and right edge until both sides are multiples and long enough.

    Args:
        images: Images (B, C, H, W) of any type; a short side is reflected repeatedly.
        multiple: Divisor of both sides of the result, in pixels.
        least: Smallest side of the result, in pixels; itself a multiple.

    Returns:
        (B, C, H', W'), with the images in its upper left corner.
    """
    for dim in (-2, -1):
        side = images.shape[dim]
        padded = compute_padded_side(side, multiple, least)
        if padded > side:
            images = images.index_select(dim, reflect_indices(side, padded).to(images.device))
    return images


def pad_for(images: Tensor, *networks: nn.Module | None) -> Tensor:
    """Pad images until all of some networks take them.

    Args:
        images: Images (B, C, H, W) of any type.
        *networks: Networks with ``side_multiple`` and ``min_side``, by default 1; None is left out.

    Returns:
        (B, C, H', W'), with the images in its upper left corner; the images themselves where they fit.
    """
    multiple = math.lcm(*(int(getattr(network, "side_multiple", 1)) for network in networks))
    least = max(int(getattr(network, "min_side", 1)) for network in networks)
    return pad_to_multiple(images, multiple, compute_padded_side(least, multiple))


def compute_padded_side(side: int, multiple: int, least: int = 0) -> int:
    """Compute the side to which ``pad_to_multiple`` brings ``side``, in pixels.

    Args:
        side: Side of the image in pixels.
        multiple: Divisor of the result.
        least: Smallest result; itself a multiple.

    Returns:
        The smallest multiple that is not below ``side`` and ``least``.
    """
    return max(-(-side // multiple) * multiple, least)


def reflect_indices(side: int, padded: int) -> Tensor:
    """Compute the source index of each padded pixel: 0, 1, ..., side - 1, side - 2, ..., 0, 1, ...

    The edge itself is not repeated.

    Args:
        side: Length before padding.
        padded: Length after padding.

    Returns:
        (padded,) int64.
    """
    period = max(2 * (side - 1), 1)
    position = torch.arange(padded) % period
    return torch.where(position < side, position, period - position)
