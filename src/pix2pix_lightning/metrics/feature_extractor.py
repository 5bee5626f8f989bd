"""Features of images by a pretrained network, for metrics that compare them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pix2pix_lightning.networks.features import FeatureNetwork, Features, check_features, load_features, to_rgb
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.instantiate import build, is_description

__all__ = ["DEFAULT_FEATURES", "LEAST_SIDE", "FeatureExtractor", "FeatureSpec", "get_extractor"]

DEFAULT_FEATURES = "lite1"
LEAST_SIDE = 32
"""Pixels below which an image is less than one cell of a network, whose embedding is then near 0 for any image."""
_MAX_SEEN = 2  # outputs and targets of one batch


class FeatureExtractor:
    """Compute features of images. Metrics that share an extractor share its pass over the network.

    It is no ``nn.Module``, so that no metric, and no checkpoint, holds the weights of the network.

    Args:
        features: A name that ``networks.features.load_features`` takes; or a module that maps images (B, 3, H, W) to
            embeddings (B, D), or its description. As in torchmetrics such a module gets uint8, and floats in [0, 1]
            where it has an attribute ``normalize`` that is true.

    Attributes:
        name: The name, or the class of the module.
        has_layers: Whether the network has layers to compare, and not an embedding alone.
        wants_layers: Whether a metric compares layers.
        wants_embeddings: Whether a metric compares embeddings.

    Raises:
        UserError: The name is unknown, the weights are not installed, or the description builds no module.
    """

    def __init__(self, features: str | nn.Module | Mapping[str, Any] = DEFAULT_FEATURES) -> None:
        self.wants_layers = False
        self.wants_embeddings = False
        self._module: nn.Module | None = None
        self._seen: list[tuple[Tensor, Features]] = []
        if isinstance(features, str):
            self.name = features
            with torch.random.fork_rng(devices=[]):  # building layers draws first weights
                check_features(features)
                self.has_layers = len(load_features(features).layer_channels) > 0
            return
        module = _build_module(features) if is_description(features) else features
        if not isinstance(module, nn.Module):
            raise UserError(f"features={features}: give {DEFAULT_FEATURES} or another name, or {{_target_: ...}}")
        self.name = type(module).__name__
        self.has_layers = isinstance(module, FeatureNetwork) and len(module.layer_channels) > 0
        self._module = module.eval().requires_grad_(False)

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
        network: Any = self._module
        if network is None:
            with torch.random.fork_rng(devices=[]):
                network = load_features(self.name, images.device)
        if isinstance(network, FeatureNetwork):
            network.to(images.device)
            signed = images * 2 - 1
            if not self.wants_embeddings:
                return Features(network.compute_layers(signed), images.new_empty(len(images), 0))
            features: Features = network(signed)
            return features if self.wants_layers else features._replace(layers=[])
        given = images if getattr(network, "normalize", False) else (images * 255).round().clamp(0, 255).byte()
        embedding = network.to(images.device)(given)
        if not isinstance(embedding, Tensor) or embedding.ndim != 2 or len(embedding) != len(images):
            raise UserError(f"features={self.name} gives no embeddings (B, D): choose another layer of the network")
        return Features([], embedding)


FeatureSpec = str | Mapping[str, Any] | nn.Module | FeatureExtractor
"""What `get_extractor` takes: a name, a description or a module of a network, or an extractor that is shared."""


def get_extractor(features: FeatureSpec) -> FeatureExtractor:
    """Return an extractor itself, or build one as `FeatureExtractor` does."""
    return features if isinstance(features, FeatureExtractor) else FeatureExtractor(features)


def _build_module(description: Any) -> Any:
    try:
        return build(description)
    except (ImportError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"features: {error}") from None
