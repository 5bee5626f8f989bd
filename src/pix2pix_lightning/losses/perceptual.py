"""Perceptual losses: the distance of two images in the layers of a fixed network."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from pix2pix_lightning.losses.feature_matching import feature_matching
from pix2pix_lightning.losses.precision import widen_to_float32
from pix2pix_lightning.networks.features import FEATURES, compute_perceptual_distances, load_features, to_rgb
from pix2pix_lightning.utils.checks import check_choice
from pix2pix_lightning.utils.errors import UserError

__all__ = ["PerceptualDistance", "PretrainedPerceptual"]

_NAME = "a perceptual loss"  # in errors


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


class PretrainedPerceptual(nn.Module):
    """Distance in the layers of a pretrained network that the program knows by name.

    At each position of a layer it is the squared distance of the two vectors of features, after each was brought to
    length 1: LPIPS (Zhang et al., arXiv 1801.03924) without learned weights. Layers weigh equally, whatever their scale
    is. It is 0 for equal images, 2 where features are unrelated, and at most 4. The metric ``perceptual`` is the same
    by another network.

    The network is never trained and belongs to no module: a checkpoint holds its name alone, and is used without it. It
    computes in float32 at least, also under autocast, since bfloat16 turns the gradient.

    Args:
        pretrained: Name of the network, one of ``networks.features.FEATURES``. Choose another one than the metrics
            have, which would else measure what the loss was trained on.

    Raises:
        UserError: There is no network of that name.
    """

    def __init__(self, pretrained: str = "lite0") -> None:
        super().__init__()
        check_choice("pretrained", pretrained, FEATURES)
        self.pretrained = pretrained

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean over the images and layers of the distance, a scalar in float32 at least.

        Args:
            output: Generated images (B, C, H, W) in [-1, 1], C is 1 or 3, which the gradient reaches.
            target: Real images (B, C, H, W) in [-1, 1], which no gradient reaches.

        Raises:
            UserError: The images have another number of channels, or the network is not installed.
        """
        output = widen_to_float32(output)
        network = load_features(self.pretrained, output.device, output.dtype)
        with torch.autocast(output.device.type, enabled=False):
            with torch.no_grad():
                real = network.compute_layers(to_rgb(target.to(output.dtype), _NAME))
            fake = network.compute_layers(to_rgb(output, _NAME))
            return compute_perceptual_distances(fake, real).mean()
