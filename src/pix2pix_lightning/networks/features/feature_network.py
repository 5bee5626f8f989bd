"""FeatureNetwork: what a pretrained network must be able to do so that images can be compared by it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn


class Features(NamedTuple):
    """What a pretrained network sees in images.

    Attributes:
        layers: Outputs of its layers, (B, C_i, h_i, w_i), fine ones first; empty where it has an embedding alone.
        embedding: One vector for each image, (B, D).
    """

    layers: list[Tensor]
    embedding: Tensor


class FeatureNetwork(nn.Module, ABC):
    """A pretrained network, whose weights do not change.

    Attributes:
        layer_channels: Channels of each of the layers; empty where the network has an embedding alone.
        is_differentiable: Whether a gradient reaches the images, without which the network is of no use in a loss.
    """

    layer_channels: Sequence[int]
    is_differentiable = True

    @property
    def layer_weights(self) -> list[Tensor] | None:
        """Weights (C_i,) of the channels of each layer that a distance of people's judgements has learned, or None.

        A distance with them is the sum over the layers of the mean over the positions of the weighted sum over the
        channels of the squared differences, of features that have length 1 at each position.
        """
        return None

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
