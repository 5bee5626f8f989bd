"""LPIPS (arXiv 1801.03924): AlexNet or VGG16 with learned weights of their channels, from files that the user has."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from pix2pix_lightning.networks.features.feature_network import FeatureNetwork, Features
from pix2pix_lightning.utils.checks import check_choice
from pix2pix_lightning.utils.errors import UserError

__all__ = ["TORCHVISION_NAMES", "Lpips", "find_linear_weights"]

TORCHVISION_NAMES = {"alex": "alexnet", "vgg": "vgg16"}
"""What torchvision calls the networks."""
_POOL_SIDE = {"alex": 3, "vgg": 2}
_BLOCKS = {
    "alex": [[(64, 11, 4, 2)], [(192, 5, 1, 2)], [(384, 3, 1, 1)], [(256, 3, 1, 1)], [(256, 3, 1, 1)]],
    "vgg": [[(channels, 3, 1, 1)] * count for channels, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))],
}
"""Channels, kernel, stride and padding of convolutions, each with a ReLU; the last one of a block is a layer."""
_POOLED_BLOCKS = {"alex": (1, 2), "vgg": (1, 2, 3, 4)}
"""Blocks that a pooling comes before."""
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""ImageNet's mean and deviation for images in [-1, 1], with which the learned weights were found."""


class Lpips(FeatureNetwork):
    """AlexNet or VGG16 up to the last ReLU of its convolutions, with weights of the channels of five layers.

    The embedding is the mean of the last layer.

    Args:
        kind: ``alex`` or ``vgg``.
        backbone: State dict of torchvision's ``alexnet`` or ``vgg16``, whose classifier is not used; None: random
            weights.
        linear: State dict of LPIPS 0.1; None: all weights of the channels are 1.

    Raises:
        UserError: The kind is unknown, or the weights are those of another network.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self, kind: str, backbone: Mapping[str, Tensor] | None = None, linear: Mapping[str, Tensor] | None = None
    ) -> None:
        check_choice("features.lpips", kind, _BLOCKS)
        super().__init__()
        self.features = nn.ModuleList()  # numbered as in torchvision
        self._layer_numbers: list[int] = []
        channels = 3
        for number, block in enumerate(_BLOCKS[kind]):
            if number in _POOLED_BLOCKS[kind]:
                self.features.append(nn.MaxPool2d(_POOL_SIDE[kind], 2))
            for out_channels, kernel, stride, padding in block:
                self.features.append(nn.Conv2d(channels, out_channels, kernel, stride, padding))
                self.features.append(nn.ReLU())
                channels = out_channels
            self._layer_numbers.append(len(self.features) - 1)
        self.layer_channels = [block[-1][0] for block in _BLOCKS[kind]]
        self.linear = nn.ParameterList([torch.ones(width) for width in self.layer_channels])
        self.register_buffer("shift", torch.tensor(_SHIFT, dtype=torch.float64)[:, None, None])
        self.register_buffer("scale", torch.tensor(_SCALE, dtype=torch.float64)[:, None, None])
        self.requires_grad_(False)
        self.eval()
        if backbone is not None:
            own = {f"features.{name}": value for name, value in self.features.state_dict().items()}
            _copy(own, backbone, f"the weights of torchvision's {TORCHVISION_NAMES[kind]}")
        if linear is not None:
            views = [value.data[None, :, None, None] for value in self.linear]
            own = {f"lin{number}.model.1.weight": view for number, view in enumerate(views)}
            _copy(own, linear, f"the weights that LPIPS 0.1 has learned for {kind}")

    @property
    def layer_weights(self) -> list[Tensor]:
        """Weights (C_i,) of the channels of each layer."""
        return list(self.linear)

    def compute_layers(self, images: Tensor) -> list[Tensor]:
        """Return the last ReLU of each of the five blocks.

        Args:
            images: (B, 3, H, W) in [-1, 1].

        Returns:
            (B, C_i, h_i, w_i).
        """
        values = (images - self.shift.to(images.dtype)) / self.scale.to(images.dtype)
        layers = []
        for number, layer in enumerate(self.features):
            values = layer(values)
            if number in self._layer_numbers:
                layers.append(values)
        return layers

    def forward(self, images: Tensor) -> Features:
        """Return layers and embedding of images (B, 3, H, W) in [-1, 1]."""
        layers = self.compute_layers(images)
        return Features(layers, layers[-1].mean((2, 3)))


def find_linear_weights(kind: str) -> Path | None:
    """Return the file of LPIPS 0.1 that torchmetrics has for ``alex`` or ``vgg``, or None."""
    spec = find_spec("torchmetrics")
    path = Path(spec.origin or "").parent / "functional/image/lpips_models" / f"{kind}.pth" if spec else None
    return path if path is not None and path.is_file() else None


def _copy(own: Mapping[str, Tensor], saved: Mapping[str, Tensor], what: str) -> None:
    """Copy values of the file to the network's own, which must have the same names and shapes."""
    for name, value in own.items():
        found = saved.get(name)
        if found is None or found.shape != value.shape:
            has = "no values" if found is None else f"the shape {list(found.shape)}"
            raise UserError(f"the file has {has} for {name}: give {what}")
        value.copy_(found)
