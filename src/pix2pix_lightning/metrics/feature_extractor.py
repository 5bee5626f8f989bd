"""Features of images by a pretrained network, for metrics that compare them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pix2pix_lightning.networks.features import EmbeddingModule, FeatureNetwork, Features, load_features, to_rgb
from pix2pix_lightning.networks.features.input_values import InputValues
from pix2pix_lightning.utils.instantiate import TARGET, is_description

__all__ = ["DEFAULT_FEATURES", "LEAST_SIDE", "FeatureExtractor", "FeatureSpec", "get_extractor"]

DEFAULT_FEATURES = "lite1"
LEAST_SIDE = 32
"""Pixels below which an image is less than one cell of a network, whose embedding is then near 0 for any image."""
_MAX_SEEN = 2  # outputs and targets of one batch


class FeatureExtractor:
    """Compute features of images. Metrics that share an extractor share its pass over the network.

    It is no ``nn.Module``, so that no metric, and no checkpoint, holds the weights of the network.

    Args:
        features: What ``networks.features.load_features`` takes: a name, a file or a mapping; or a module that maps
            images (B, 3, H, W) to embeddings (B, D). As in torchmetrics a module gets uint8, and floats in [0, 1] where
            it has an attribute ``normalize`` that is true.

    Attributes:
        name: The name or the file, or the class of the module.
        has_layers: Whether the network has layers to compare, and not an embedding alone.
        layer_weights: Learned weights (C_i,) of the channels of each layer, or None.
        wants_layers: Whether a metric compares layers.
        wants_embeddings: Whether a metric compares embeddings.

    Raises:
        UserError: The description is of no kind that is known, or the weights are not installed.
    """

    def __init__(self, features: str | nn.Module | Mapping[str, Any] = DEFAULT_FEATURES) -> None:
        self.wants_layers = False
        self.wants_embeddings = False
        self._seen: list[tuple[Tensor, Features]] = []
        self._load = partial(_load, features)
        network = self._load("cpu")
        self.name = _format_name(features)
        self.has_layers = len(network.layer_channels) > 0
        self.layer_weights = network.layer_weights

    def compute_layers(self, images: Tensor) -> list[Tensor]:
        """Return outputs of layers, (B, C_i, h_i, w_i), of images (B, 1 or 3, H, W) in [0, 1]."""
        return self._compute(images).layers

    def compute_embeddings(self, images: Tensor) -> Tensor:
        """Return embeddings (B, D) of images (B, 1 or 3, H, W) in [0, 1]."""
        return self._compute(images).embedding

    @torch.no_grad()
    def _compute(self, images: Tensor) -> Features:
        images = to_rgb(images.detach().float(), f"features={self.name}")
        for number, (seen, found) in enumerate(self._seen):
            if seen.shape == images.shape and seen.device == images.device and torch.equal(seen, images):
                self._seen.append(self._seen.pop(number))
                return found
        with torch.autocast(images.device.type, enabled=False):
            features = self._run(images)
        if self.wants_layers and self.wants_embeddings:
            self._seen = [*self._seen, (images, features)][-_MAX_SEEN:]
        return features

    def _run(self, images: Tensor) -> Features:
        network = self._load(images.device)
        signed = images * 2 - 1
        if not self.wants_embeddings:
            return Features(network.compute_layers(signed), images.new_empty(len(images), 0))
        features: Features = network(signed)
        return features if self.wants_layers else features._replace(layers=[])


FeatureSpec = str | Mapping[str, Any] | nn.Module | FeatureExtractor
"""What `get_extractor` takes: a name, a description or a module of a network, or an extractor that is shared."""


def get_extractor(features: FeatureSpec) -> FeatureExtractor:
    """Return an extractor itself, or build one as `FeatureExtractor` does."""
    return features if isinstance(features, FeatureExtractor) else FeatureExtractor(features)


def _load(features: str | nn.Module | Mapping[str, Any], device: torch.device | str) -> FeatureNetwork:
    """Load what is described, or prepare a live module; it keeps its weights on the device that was asked for last."""
    if not isinstance(features, nn.Module):
        return load_features(features, device)
    network = features
    if not isinstance(network, FeatureNetwork):
        takes_floats = getattr(features, "normalize", False)
        network = EmbeddingModule(features, InputValues(range=(0, 1)) if takes_floats else None)
    return network.to(device).eval().requires_grad_(False)


def _format_name(features: str | nn.Module | Mapping[str, Any]) -> str:
    if isinstance(features, Mapping):
        return str(features[TARGET]).rpartition(".")[2] if is_description(features) else str(dict(features))
    return type(features).__name__ if isinstance(features, nn.Module) else str(features)
