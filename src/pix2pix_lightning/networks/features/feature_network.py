"""FeatureNetwork: what a pretrained network must be able to do so that images can be compared by it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn


class Features(NamedTuple):
    """What a pretrained network sees in images.

    Attributes:
        layers: Outputs of its layers, (B, C_i, h_i, w_i), fine ones first.
        embedding: One vector for each image, (B, D).
    """

    layers: list[Tensor]
    embedding: Tensor


class FeatureNetwork(nn.Module, ABC):
    """A pretrained network, whose weights do not change.

    Attributes:
        layer_channels: Channels of each of the layers; empty where the network has an embedding alone.
    """

    layer_channels: Sequence[int]

    @abstractmethod
    def compute_layers(self, images: Tensor) -> list[Tensor]:
        """Return the outputs of the layers, and compute no more than they need.

        Args:
            images: (B, 3, H, W) in [-1, 1].

        Returns:
            (B, C_i, h_i, w_i), fine ones first.
        """

    @abstractmethod
    def forward(self, images: Tensor) -> Features:
        """Return layers and embedding of images (B, 3, H, W) in [-1, 1]."""
