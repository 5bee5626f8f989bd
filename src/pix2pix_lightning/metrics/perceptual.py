"""Perceptual distance of outputs from targets, by the layers of a pretrained network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pix2pix_lightning.metrics.base import MeanImageMetric
from pix2pix_lightning.metrics.feature_extractor import DEFAULT_FEATURES, FeatureSpec, get_extractor
from pix2pix_lightning.utils.errors import UserError

__all__ = ["ImagePerceptual", "compute_layer_distances", "compute_perceptual_distances"]

_TINY = 1e-10  # as in LPIPS


class ImagePerceptual(MeanImageMetric):
    """Distance of features that are normalized over channels, averaged over positions and layers.

    It is LPIPS (Zhang et al., arXiv 1801.03924) without the learned weights of channels. At each position it is the
    squared distance of two vectors of length 1: 0 for equal images, 2 for unrelated features. A network that has
    learned weights, ``{lpips: alex, backbone: <file>}``, gives LPIPS itself, which is a sum over the layers.

    Args:
        features: A pretrained network with layers, as for `FeatureExtractor`.

    Raises:
        UserError: The network has no layers, or cannot be loaded.
    """

    higher_is_better = False

    def __init__(self, features: FeatureSpec = DEFAULT_FEATURES) -> None:
        super().__init__()
        self.extractor = get_extractor(features)
        if not self.extractor.has_layers:
            raise UserError(f"features={self.extractor.name} has no layers that perceptual could compare: choose lite1")
        self.extractor.wants_layers = True

    def compute_scores(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the distance of each image (B, 1 or 3, H, W) in [0, 1] from its target, (B,)."""
        one, other = (self.extractor.compute_layers(images) for images in (preds, target))
        return compute_perceptual_distances(one, other, self.extractor.layer_weights)


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
    """Return the mean squared distance of normalized features of each image.

    Args:
        one: Output of a layer, (B, C, h, w).
        other: That of other images.
        weights: Weights (C,) of the channels; None: 1 for each.

    Returns:
        (B,), from 0 to 4 without weights.
    """
    one, other = (values / (values.norm(dim=1, keepdim=True) + _TINY) for values in (one, other))
    squares = (one - other).square()
    weighted = squares if weights is None else squares * weights.to(squares)[:, None, None]
    return weighted.sum(1).mean((1, 2))
