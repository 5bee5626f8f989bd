"""The reference's networks: U-Net and PatchGAN in plain ``torch.nn``, and nothing of the project's own layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pix2pix_lightning.utils.instantiate import TARGET, build

_UNET = {"norm": "batch", "dropout": 0.5, "dropout_at": "junyanz", "upsample": "transposed"}
_PATCH = {"norm": "batch"}


class PlainUNet(nn.Module):
    """The U-Net with batch norm and transposed convolutions, as the common implementations write it.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        num_downs: How often the side is halved.
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
        """Translates images in [-1, 1]: (B, in, H, W) to (B, out, H, W)."""
        skips = []
        for down in self.down:
            x = down(x)
            skips.append(x)
        x = self.up[-1](skips.pop())
        for up, skip in zip(reversed(self.up[:-1]), reversed(skips), strict=True):
            x = up(torch.cat([skip, x], 1))
        return x


def plain_patch(in_channels: int = 6, *, num_layers: int = 3, base_channels: int = 64) -> nn.Sequential:
    """The PatchGAN with batch norm: (B, in, H, W) to logits (B, 1, h, w).

    Args:
        in_channels: Channels of source and target together.
        num_layers: Layers of stride 2; 3 is the 70x70 PatchGAN.
        base_channels: Channels of the first layer.
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


def plain_networks(
    generator: Mapping[str, Any], discriminator: Mapping[str, Any] | None
) -> tuple[nn.Module, nn.Module | None]:
    """The reference's generator and discriminator for those that a module describes; both sides are RGB.

    A U-Net and a PatchGAN with batch norm are written out here. What there is no plain form of, a ResNet say, is the
    project's own network, as it is built without settings for speed.

    Args:
        generator: Description, as the module's hyperparameters have it.
        discriminator: Likewise; None is plain regression.
    """
    plain_g = _plain(generator, "UNetGenerator", _UNET, PlainUNet, {"in_channels": 3, "out_channels": 3})
    if discriminator is None:
        return plain_g, None
    return plain_g, _plain(discriminator, "PatchDiscriminator", _PATCH, plain_patch, {"in_channels": 6})


def _plain(described: Mapping[str, Any], name: str, usual: Mapping[str, Any], plain: Any, sides: dict[str, int]) -> Any:
    options = {key: value for key, value in described.items() if key != TARGET} | sides
    is_usual = all(options.pop(key, value) == value for key, value in usual.items())
    if is_usual and described[TARGET] == f"pix2pix_lightning.networks.{name}":
        return plain(**options)
    return build({**described, **sides})


def _initialize(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
