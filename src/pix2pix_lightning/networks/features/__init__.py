"""Pretrained networks that compare images: never trained, in no checkpoint, loaded when first used."""

from pix2pix_lightning.networks.features.distance import compute_perceptual_distances
from pix2pix_lightning.networks.features.efficientnet_lite import EfficientNetLite
from pix2pix_lightning.networks.features.embedding_module import EmbeddingModule
from pix2pix_lightning.networks.features.feature_network import FeatureNetwork, Features
from pix2pix_lightning.networks.features.inception import FidInception
from pix2pix_lightning.networks.features.loading import (
    FEATURES,
    Description,
    check_features,
    get_layer_channels,
    load_features,
    to_rgb,
)
from pix2pix_lightning.networks.features.lpips import Lpips
from pix2pix_lightning.networks.features.onnx_features import OnnxFeatures

__all__ = [
    "FEATURES",
    "Description",
    "EfficientNetLite",
    "EmbeddingModule",
    "FeatureNetwork",
    "Features",
    "FidInception",
    "Lpips",
    "OnnxFeatures",
    "check_features",
    "compute_perceptual_distances",
    "get_layer_channels",
    "load_features",
    "to_rgb",
]
