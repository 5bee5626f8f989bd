"""The perceptual distance of images by the layers of a pretrained network (LPIPS, arXiv 1801.03924)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["compute_layer_distances", "compute_perceptual_distances"]

_TINY = 1e-10  # as in LPIPS


def compute_perceptual_distances(
    one: Sequence[Tensor], other: Sequence[Tensor], weights: Sequence[Tensor] | None = None
) -> Tensor:
    """Return the perceptual distance of each image: the mean over the layers, or with learned weights the sum (LPIPS).

    Args:
        one: Outputs of the layers, (B, C_i, h_i, w_i).
        other: Those of other images.
        weights: Learned weights (C_i,) of the channels of each layer, or None.

    Returns:
        (B,).
    """
    if weights is None:
        return torch.stack([compute_layer_distances(*pair) for pair in zip(one, other, strict=True)]).mean(0)
    return torch.stack([compute_layer_distances(*each) for each in zip(one, other, weights, strict=True)]).sum(0)


def compute_layer_distances(one: Tensor, other: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mean squared distance of features that have length 1 at each position.

    Args:
        one: Output of a layer, (B, C, h, w).
        other: That of other images.
        weights: Weights (C,) of the channels; None: 1 for each.

    Returns:
        A value for each image, (B,): 0 for equal and 2 for unrelated features; at most 4 without weights.
    """
    one, other = (values / (values.norm(dim=1, keepdim=True) + _TINY) for values in (one, other))
    squares = (one - other).square()
    weighted = squares if weights is None else squares * weights.to(squares)[:, None, None]
    return weighted.sum(1).mean((1, 2))
