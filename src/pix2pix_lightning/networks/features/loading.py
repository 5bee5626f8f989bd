"""Load pretrained networks by name, once for each device and type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial

import torch
from torch import Tensor

from pix2pix_lightning.networks.features.efficientnet_lite import EfficientNetLite, find_weights
from pix2pix_lightning.networks.features.feature_network import FeatureNetwork
from pix2pix_lightning.utils.errors import UserError

__all__ = ["FEATURES", "check_features", "load_features", "to_rgb"]


def _load_efficientnet(version: str) -> FeatureNetwork:
    weights = torch.load(find_weights(version), weights_only=True, map_location="cpu")
    return EfficientNetLite(version, weights)


FEATURES: Mapping[str, Callable[[], FeatureNetwork]] = {
    version: partial(_load_efficientnet, version) for version in ("lite0", "lite1", "lite2")
}
"""Functions that load a pretrained network, by the name that `features=` has in configurations."""


def load_features(name: str, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> FeatureNetwork:
    """Load a pretrained network; the same one is returned when it is asked for again.

    The network belongs to no module, so that no checkpoint holds its weights and no optimizer changes them.

    Args:
        name: A name of `FEATURES`.
        device: Device of the weights.
        dtype: Type of the weights.

    Returns:
        The network in eval mode, whose weights take no gradient.

    Raises:
        UserError: The name is unknown, or the weights are not installed.
    """
    if name not in FEATURES:
        raise UserError(f"features={name}: choose {', '.join(FEATURES)}")
    return _load(name, torch.device(device), dtype)


@lru_cache(maxsize=8)
def _load(name: str, device: torch.device, dtype: torch.dtype) -> FeatureNetwork:
    # first weights are drawn, which must not change what a run draws next; a loss needs other tensors than inference
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
        return FEATURES[name]().to(device, dtype).eval().requires_grad_(False)


def check_features(name: str) -> None:
    """Check that a pretrained network can be loaded, before it is needed.

    Args:
        name: As for `load_features`.

    Raises:
        UserError: The name is unknown, or the weights are not installed.
    """
    load_features(name)


def to_rgb(images: Tensor, what: str = "features") -> Tensor:
    """Return images as a pretrained network takes them: gray ones with three equal channels.

    Args:
        images: (B, 1, H, W) or (B, 3, H, W).
        what: What needs them, for the error.

    Returns:
        (B, 3, H, W).

    Raises:
        UserError: The images have another number of channels.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise UserError(f"{what}: a pretrained network takes images of 1 or 3 channels, these are {images.shape[1]}")
    return images.expand(-1, 3, -1, -1)
