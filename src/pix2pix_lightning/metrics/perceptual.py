"""Perceptual distance of outputs from targets, by the layers of a pretrained network."""

from __future__ import annotations

from torch import Tensor

from pix2pix_lightning.metrics.base import MeanImageMetric
from pix2pix_lightning.metrics.feature_extractor import DEFAULT_FEATURES, FeatureSpec, get_extractor
from pix2pix_lightning.networks.features import compute_perceptual_distances
from pix2pix_lightning.utils.errors import UserError

__all__ = ["ImagePerceptual"]


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
