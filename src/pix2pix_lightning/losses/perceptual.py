"""Perceptual distance: the distance of two images in the layers of a pretrained network."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from pix2pix_lightning.losses.feature_matching import feature_matching
from pix2pix_lightning.utils.errors import UserError

__all__ = ["PerceptualDistance"]


class PerceptualDistance(nn.Module):
    """Mean L1 distance between layers' outputs of a fixed network (Johnson et al., arXiv 1603.08155).

    The network is the user's and has its weights loaded. It is never trained, stays in eval mode, and is saved with the
    checkpoint. Use it as a reconstruction loss: ``reconstruction={"perceptual": PerceptualDistance(...)}``.

    Args:
        network: Takes images (B, C, H, W) in [-1, 1]. Further preprocessing, such as the normalization by ImageNet's
            mean and standard deviation, has to be its first layer.
        layers: Names of the layers to compare, as in ``network.named_modules()``; each returns one tensor.

    Raises:
        UserError: ``layers`` is empty or has a name that is not in the network.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
        >>> distance = PerceptualDistance(network, ["1", "2"])
        >>> images = torch.rand(2, 3, 16, 16)
        >>> distance(images, images).item()
        0.0
    """

    def __init__(self, network: nn.Module, layers: Sequence[str]) -> None:
        super().__init__()
        known = dict(network.named_modules())
        unknown = [name for name in layers if not name or name not in known]
        if unknown or not layers:
            some = ", ".join(list(known)[1:6])
            raise UserError(f"layers={list(layers)}: give names of layers, such as {some}")
        self.network = network.eval().requires_grad_(False)
        self.layers = list(layers)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean over the layers of the mean absolute difference, a scalar.

        Args:
            output: Generated images (B, C, H, W) in [-1, 1], which the gradient reaches.
            target: Real images (B, C, H, W) in [-1, 1], which no gradient reaches.
        """
        with torch.no_grad():
            real = self._features(target)
        return feature_matching(real, self._features(output))

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode for any ``mode``: training must not change the statistics of the network."""
        return super().train(False)

    def _features(self, images: Tensor) -> list[Tensor]:
        seen: dict[str, Tensor] = {}

        def keep(name: str, layer: nn.Module) -> torch.utils.hooks.RemovableHandle:
            # cloned, since the next layer may work in place
            return layer.register_forward_hook(lambda _, __, output: seen.__setitem__(name, output.clone()))

        modules = dict(self.network.named_modules())
        handles = [keep(name, modules[name]) for name in self.layers]
        try:
            self.network(images)
        finally:
            for handle in handles:
                handle.remove()
        return [seen[name] for name in self.layers]
