"""The reference's networks: U-Net and PatchGAN in plain ``torch.nn``, without layers of this package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pix2pix_lightning.utils.instantiate import TARGET, build

_UNET = {"norm": "batch", "dropout": 0.5, "dropout_at": "junyanz", "upsample": "transposed", "noise_channels": 0}
_PATCH = {"norm": "batch", "spectral_norm": False}


class PlainUNet(nn.Module):
    """The U-Net with batch norm and transposed convolutions, as it is commonly written.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        num_downs: Number of times that the side is halved.
        base_channels: Channels of the outermost level; they double with depth, up to eight times as many.
    """

    def __init__(
        self, in_channels: int = 3, out_channels: int = 3, *, num_downs: int = 8, base_channels: int = 64
    ) -> None:
        super().__init__()
        widths = [base_channels * min(2**depth, 8) for depth in range(num_downs)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for depth, width in enumerate(widths):
            outermost, innermost = depth == 0, depth == num_downs - 1
            down: list[nn.Module] = [] if outermost else [nn.LeakyReLU(0.2, inplace=True)]
            down += [nn.Conv2d(in_channels if outermost else widths[depth - 1], width, 4, 2, 1, bias=False)]
            if not outermost and not innermost:
                down += [nn.BatchNorm2d(width)]
            above = out_channels if outermost else widths[depth - 1]
            up: list[nn.Module] = [
                nn.ReLU(inplace=True),
                nn.ConvTranspose2d(width if innermost else 2 * width, above, 4, 2, 1, bias=outermost),
                nn.Tanh() if outermost else nn.BatchNorm2d(above),
            ]
            if 4 <= depth < num_downs - 1:
                up += [nn.Dropout(0.5)]
            self.down.append(nn.Sequential(*down))
            self.up.append(nn.Sequential(*up))
        _initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images in [-1, 1]: (B, in, H, W) to (B, out, H, W)."""
        skips = []
        for down in self.down:
            x = down(x)
            skips.append(x)
        x = self.up[-1](skips.pop())
        for up, skip in zip(reversed(self.up[:-1]), reversed(skips), strict=True):
            x = up(torch.cat([skip, x], 1))
        return x


def build_plain_patch(in_channels: int = 6, *, num_layers: int = 3, base_channels: int = 64) -> nn.Sequential:
    """Build the PatchGAN with batch norm.

    Args:
        in_channels: Channels of source and target together.
        num_layers: Layers of stride 2; 3 is the 70x70 PatchGAN.
        base_channels: Channels of the first layer.

    Returns:
        A network from (B, in, H, W) to logits (B, 1, h, w).
    """
    layers: list[nn.Module] = [nn.Conv2d(in_channels, base_channels, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
    width = base_channels
    for depth in range(1, num_layers + 1):
        before, width = width, base_channels * min(2**depth, 8)
        stride = 2 if depth < num_layers else 1
        layers += [nn.Conv2d(before, width, 4, stride, 1, bias=False), nn.BatchNorm2d(width)]
        layers += [nn.LeakyReLU(0.2, inplace=True)]
    network = nn.Sequential(*layers, nn.Conv2d(width, 1, 4, 1, 1))
    _initialize(network)
    return network


def build_plain_networks(
    generator: Mapping[str, Any], discriminator: Mapping[str, Any] | None
) -> tuple[nn.Module, nn.Module | None]:
    """Build the reference's versions of the networks that a module describes, for RGB on both sides.

    A U-Net and a PatchGAN with batch norm are those of this file. Other networks, such as a ResNet, are the package's
    own, without any performance options.

    Args:
        generator: Description of the generator, as in the module's hyperparameters.
        discriminator: Description of the discriminator, or None.

    Returns:
        Generator and discriminator; None for the discriminator if none is described.
    """
    plain_g = _build_plain(generator, "UNetGenerator", _UNET, PlainUNet, {"in_channels": 3, "out_channels": 3})
    if discriminator is None:
        return plain_g, None
    return plain_g, _build_plain(discriminator, "PatchDiscriminator", _PATCH, build_plain_patch, {"in_channels": 6})


def _build_plain(
    hparams: Mapping[str, Any], name: str, usual: Mapping[str, Any], plain: Any, sides: dict[str, int]
) -> Any:
    options = {key: value for key, value in hparams.items() if key != TARGET} | sides
    is_usual = all(options.pop(key, value) == value for key, value in usual.items())
    if is_usual and hparams[TARGET] == f"pix2pix_lightning.networks.{name}":
        return plain(**options)
    return build({**hparams, **sides})


def _initialize(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
