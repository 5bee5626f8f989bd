"""Infer a network from the state dict names of junyanz/pytorch-CycleGAN-and-pix2pix, and map names to them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.instantiate import TARGET

if TYPE_CHECKING:
    from torch import nn

Shapes = Mapping[str, tuple[int, ...]]

_MIN_LEVELS = 5  # junyanz builds five levels, and inserts further ones between them
_LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def infer_network(shapes: Shapes) -> dict[str, Any]:
    """Infer a network from a state dict of junyanz.

    Dropout in a ResNet is visible: it shifts the numbers of the layers, and junyanz has one rate. Dropout in a U-Net
    leaves no trace: the description has junyanz's default, which does nothing at test time.

    Args:
        shapes: Shapes of the tensors by junyanz's names.

    Returns:
        Class and arguments of the network here, for `utils.instantiate.build`.

    Raises:
        UserError: This is none of junyanz's networks for pix2pix, or it has no equivalent here.
    """
    for first, infer in _INFER_BY_FIRST_KEY.items():
        if first in shapes:
            return infer(shapes)
    raise UserError(f"it begins with {next(iter(shapes))!r}, as none of its networks does")


def map_keys(network: nn.Module) -> dict[str, str]:
    """Map the keys of a network's state dict to junyanz's keys, in junyanz's order.

    Args:
        network: A generator or discriminator of `networks`.

    Returns:
        For each key of the state dict here its key in a junyanz file.

    Raises:
        UserError: junyanz has no such network.
    """
    own = network.state_dict()
    layers = map_layers(network)
    keys = {
        f"{ours}.{leaf}": f"{theirs}.{leaf}"
        for ours, theirs in layers.items()
        for leaf in _LEAVES
        if f"{ours}.{leaf}" in own
    }
    other = [key for key in own if key not in keys]
    if other:
        raise UserError(f"its {type(network).__name__} has no {other[0]}")
    return keys


def map_layers(network: nn.Module) -> dict[str, str]:
    """Map the names of a network's layers to junyanz's names, in junyanz's order.

    Args:
        network: A generator or discriminator of `networks`.

    Returns:
        Names of all convolutions and norms, possibly of further layers without tensors.

    Raises:
        UserError: junyanz has no such network.
    """
    import pix2pix_lightning.networks as networks
    from pix2pix_lightning.networks.layers import ResizeConv2d

    for module in network.modules():
        if isinstance(module, networks.NoisePlanes):
            raise UserError("noise_channels has no form there, which has dropout as its noise alone")
        if isinstance(module, ResizeConv2d):
            raise UserError("upsample=resize has no form there, which has transposed convolutions alone")
    if _has_bias_without_norm(network):
        raise UserError("norm=none is another network there, without biases: train with norm=none_no_bias")
    # exact types: a subclass may compute something else with the same layers
    if type(network) is networks.UNetGenerator:
        return _map_unet(len(network.down))
    if type(network) is networks.ResNetGenerator:
        return {f"layers.{name}": f"model.{name}" for name, _ in network.layers.named_modules() if name}
    if type(network) is networks.PatchDiscriminator:
        return _map_discriminator(network.stages, "model")
    if type(network) is networks.PixelDiscriminator:
        return _map_discriminator(network.stages, "net")
    raise UserError(f"{type(network).__name__} has no form there, which has U-Net, ResNet, PatchGAN and PixelGAN")


def _has_bias_without_norm(network: nn.Module) -> bool:
    """Return whether a convolution that no norm follows has a bias, where junyanz puts a norm."""
    from torch import nn

    layers = [layer for layer in network.modules() if not list(layer.children())]
    return any(
        isinstance(norm, nn.Identity) and getattr(convolution, "bias", None) is not None
        for convolution, norm in itertools.pairwise(layers)
    )


def _map_unet(num_downs: int) -> dict[str, str]:
    if num_downs < _MIN_LEVELS:
        raise UserError(f"a U-Net of {num_downs} levels has no form there, which has at least {_MIN_LEVELS}")
    blocks = ["model", "model.model.1"]  # nested: each contains the next, between its own down and up layers
    while len(blocks) < num_downs:
        blocks.append(f"{blocks[-1]}.model.3")
    down, up = {"down.0.conv": "model.model.0"}, {"up.0.conv": "model.model.3"}
    for depth, block in enumerate(blocks[1:-1], 1):
        down |= {f"down.{depth}.conv": f"{block}.model.1", f"down.{depth}.norm": f"{block}.model.2"}
        up = {f"up.{depth}.conv": f"{block}.model.5", f"up.{depth}.norm": f"{block}.model.6"} | up
    inner, block = num_downs - 1, blocks[-1]
    down[f"down.{inner}.conv"] = f"{block}.model.1"
    return down | {f"up.{inner}.conv": f"{block}.model.3", f"up.{inner}.norm": f"{block}.model.4"} | up


def _map_discriminator(stages: nn.ModuleList, sequence: str) -> dict[str, str]:
    """Map a flat sequence of convolution, norm and activation. The first and the last stage have no norm."""
    last = len(stages) - 1
    names = {}
    for number in range(len(stages)):
        names[f"stages.{number}.conv"] = f"{sequence}.{max(3 * number - 1, 0)}"
        if 0 < number < last:
            names[f"stages.{number}.norm"] = f"{sequence}.{3 * number}"
    return names


def _infer_unet(shapes: Shapes) -> dict[str, Any]:
    num_downs, block = 1, "model.model.1"
    while f"{block}.model.1.weight" in shapes:
        num_downs, block = num_downs + 1, f"{block}.model.3"
    base_channels, in_channels = _read_channels(shapes, "model.model.0.weight")
    return {
        TARGET: "pix2pix_lightning.networks.UNetGenerator",
        "in_channels": in_channels,
        "out_channels": _read_channels(shapes, "model.model.3.weight")[1],
        "num_downs": num_downs,
        "base_channels": base_channels,
        "norm": _infer_norm(shapes, conv="model.model.1.model.1", norm="model.model.1.model.2"),
        "dropout": 0.5,
        "dropout_at": "junyanz",
    }


def _infer_resnet(shapes: Shapes) -> dict[str, Any]:
    num_blocks = 0
    while f"model.{10 + num_blocks}.conv_block.1.weight" in shapes:
        num_blocks += 1
    base_channels, in_channels = _read_channels(shapes, "model.1.weight")
    return {
        TARGET: "pix2pix_lightning.networks.ResNetGenerator",
        "in_channels": in_channels,
        "out_channels": _read_channels(shapes, f"model.{num_blocks + 17}.weight")[0],
        "num_blocks": num_blocks,
        "base_channels": base_channels,
        "norm": _infer_norm(shapes, conv="model.1", norm="model.2"),
        "dropout": 0.0 if "model.10.conv_block.5.weight" in shapes else 0.5,
    }


def _infer_patch(shapes: Shapes) -> dict[str, Any]:
    num_stages = 1
    while f"model.{3 * num_stages - 1}.weight" in shapes:
        num_stages += 1
    base_channels, in_channels = _read_channels(shapes, "model.0.weight")
    return {
        TARGET: "pix2pix_lightning.networks.PatchDiscriminator",
        "in_channels": in_channels,
        "num_layers": num_stages - 2,
        "base_channels": base_channels,
        "norm": _infer_norm(shapes, conv="model.2", norm="model.3"),
    }


def _infer_pixel(shapes: Shapes) -> dict[str, Any]:
    base_channels, in_channels = _read_channels(shapes, "net.0.weight")
    return {
        TARGET: "pix2pix_lightning.networks.PixelDiscriminator",
        "in_channels": in_channels,
        "base_channels": base_channels,
        "norm": _infer_norm(shapes, conv="net.2", norm="net.3"),
    }


# For each network the key of its first convolution, which those above do not have.
_INFER_BY_FIRST_KEY = {
    "model.model.0.weight": _infer_unet,
    "model.1.weight": _infer_resnet,
    "model.0.weight": _infer_patch,
    "net.0.weight": _infer_pixel,
}


def _read_channels(shapes: Shapes, key: str) -> tuple[int, int]:
    """Return a convolution's output and input channels, or input and output channels if it is transposed."""
    shape = shapes.get(key)
    if shape is None:
        raise UserError(f"{key} is missing")
    if len(shape) != 4:
        raise UserError(f"{key} has the shape {shape}, which is no convolution's")
    return shape[0], shape[1]


def _infer_norm(shapes: Shapes, *, conv: str, norm: str) -> str:
    """Infer the kind of a norm after a convolution, which has a bias in junyanz before an instance norm alone."""
    if f"{norm}.weight" in shapes:
        return "batch"
    return "instance" if f"{conv}.bias" in shapes else "none_no_bias"
