"""Pretrained networks that compare images: never trained, in no checkpoint, loaded when first used."""

from pix2pix_lightning.networks.features.efficientnet_lite import EfficientNetLite
from pix2pix_lightning.networks.features.feature_network import FeatureNetwork, Features
from pix2pix_lightning.networks.features.loading import (
    FEATURES,
    check_features,
    get_layer_channels,
    load_features,
    to_rgb,
)

__all__ = [
    "FEATURES",
    "EfficientNetLite",
    "FeatureNetwork",
    "Features",
    "check_features",
    "get_layer_channels",
    "load_features",
    "to_rgb",
]
