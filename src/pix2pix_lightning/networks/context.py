"""How far a network sees, measured on any network: where what is not a number arrives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pix2pix_lightning.networks.replacing import Forward, replacing_forwards
from pix2pix_lightning.networks.test_time import NORMS

_FIRST_MARGIN = 64
_LAST_MARGIN = 4096
_ARGUMENTS = {
    torch.conv2d: ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    torch.conv_transpose2d: (
        *("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation"),
    ),
}


@dataclass(frozen=True)
class Context:
    """How far a network sees.

    Attributes:
        pixels: A rectangle of the output, whose edges are multiples of the network's ``side_multiple``, does not
            depend on what lies further than this outside of it; the next multiple itself.
        norms: The same for what comes into each batch or instance norm, by name, in the order of execution.
    """

    pixels: int
    norms: dict[str, int]


@torch.no_grad()
def measure_context(network: nn.Module, channels: int) -> Context:
    """Measures how far ``network`` sees while its norms have fixed statistics.

    A stripe of the input is set to NaN, which no weight, be it zero, hides. Convolutions pass it on as their kernel,
    stride and padding say, whatever the device's kernels do, some of which spread it further. Both axes and both
    directions are tried, with images that grow until the stripe's traces end inside.

    Args:
        network: A generator, (B, channels, H, W) to (B, C', H, W); an attribute ``side_multiple`` says which sides it
            takes (1 by default), and ``least_side`` the smallest.
        channels: Of its input.

    Raises:
        ValueError: The network sees everything, gives another size, has maps that are smaller than its
            ``side_multiple`` explains, hides NaN, or runs a norm layer twice.

    Example:
        >>> measure_context(nn.Sequential(nn.Conv2d(3, 4, 5, padding=2), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1)), 3)
        Context(pixels=3, norms={})
    """
    stride = int(getattr(network, "side_multiple", 1))
    across = _up(max(int(getattr(network, "least_side", 1)), _FIRST_MARGIN), stride)
    margin = across
    while margin <= max(_LAST_MARGIN, 8 * stride):
        reaches = [_probe(network, channels, dim, across=across, margin=margin, stride=stride) for dim in (-2, -1)]
        if all(None not in reach.values() for reach in reaches):
            found = {name: _up(max(cast(int, reach[name]) for reach in reaches), stride) for name in reaches[0]}
            return Context(found.pop(""), found)
        margin *= 2
    raise ValueError(
        f"{type(network).__name__} sees further than {margin // 2} pixels, or all of the image: it cannot work in tiles"
    )


def _probe(
    network: nn.Module, channels: int, dim: int, *, across: int, margin: int, stride: int
) -> dict[str, int | None]:
    """How far each norm's input, and the output (its name is empty), sees along ``dim``; None if beyond the rim."""
    length = 2 * margin + stride
    parameter = next(network.parameters(), torch.empty(0))
    size = (length, across) if dim == -2 else (across, length)
    image = torch.zeros(1, channels, *size, dtype=parameter.dtype, device=parameter.device)
    image.narrow(dim, margin, stride).fill_(torch.nan)
    reaches: dict[str, int | None] = {}

    def measure(name: str, maps: Tensor) -> None:
        if name in reaches:
            raise ValueError(f"the norm layer {name} runs twice in a forward: tiles need a layer for each place")
        seen = maps.isnan().movedim(dim, -1).flatten(0, -2).any(0).nonzero().flatten().tolist()
        if not seen:
            reaches[name] = 0
        elif seen[0] == 0 or seen[-1] == maps.shape[dim] - 1:
            reaches[name] = None
        else:
            before = margin - seen[0] * length // maps.shape[dim]
            after = -(-(seen[-1] + 1) * length // maps.shape[dim]) - (margin + stride)
            reaches[name] = max(before, after, 0)

    def forward_of(place: int, name: str, module: nn.Module) -> Forward | None:
        return partial(_measured, measure, name) if isinstance(module, NORMS) else None

    geometry = _Geometry(dim)
    what = type(network).__name__
    try:
        with replacing_forwards(network, forward_of), geometry:
            output = network.forward(image)  # not what was compiled for training
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{what} of side_multiple {stride} does not take an image of {size}: {reason}") from error
    if 3 * stride * geometry.least_side < 2 * length:
        ratio = round(length / geometry.least_side)
        raise ValueError(f"{what} has maps of 1/{ratio} of the side, but its side_multiple is {stride}: set it")
    if output.shape[2:] != image.shape[2:]:
        raise ValueError(f"{what} makes {tuple(output.shape[2:])} of {size}: it cannot work in tiles")
    if not output.isnan().any():
        raise ValueError(f"{what} hides what is not a number: its context cannot be measured")
    measure("", output)
    return reaches


def _measured(measure: Callable[[str, Tensor], None], name: str, maps: Tensor) -> Tensor:
    measure(name, maps)
    return torch.where(maps.isnan(), maps, 0)


class _Geometry(TorchFunctionMode):
    """Convolutions give NaN where they see one, and zero elsewhere.

    Attributes:
        least_side: Of their outputs along ``dim``.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.least_side = 2**62

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func not in _ARGUMENTS:
            return func(*args, **(kwargs or {}))
        given = dict(zip(_ARGUMENTS[func], args, strict=False), **(kwargs or {}))
        maps, weight = given["input"], given["weight"]
        channels = weight.shape[0] if func is torch.conv2d else weight.shape[1] * given.get("groups", 1)
        kernel = torch.ones(1, 1, *weight.shape[2:], device=maps.device)
        given.update(input=maps.isnan().any(1, keepdim=True).float(), weight=kernel, bias=None, groups=1)
        sees = func(**given) > 0.5
        self.least_side = min(self.least_side, sees.shape[self.dim])
        return maps.new_zeros(()).masked_fill(sees, torch.nan).repeat(1, channels, 1, 1)


def _up(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple
