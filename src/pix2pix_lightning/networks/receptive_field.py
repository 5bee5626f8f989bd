"""The receptive field of any network, measured by how far NaN spreads from a stripe of the input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pix2pix_lightning.networks.eval_mode import NORMS
from pix2pix_lightning.networks.patching import Forward, patch_forwards
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.memory import is_out_of_memory

__all__ = ["ReceptiveField", "measure_receptive_field"]

_FIRST_MARGIN = 64
_LAST_MARGIN = 4096
_ARGUMENTS = {
    torch.conv2d: ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    torch.conv_transpose2d: (
        *("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation"),
    ),
}


@dataclass(frozen=True)
class ReceptiveField:
    """How far a network sees beyond a rectangle of the image.

    Attributes:
        margin: Pixels of the input on each side of a rectangle that can change the output inside of it. The rectangle's
            edges are multiples of the network's ``side_multiple``, and the margin is rounded up to one.
        norms: The same for the input of each batch or instance norm, by name, in the order of execution.
    """

    margin: int
    norms: dict[str, int]


@torch.no_grad()
def measure_receptive_field(network: nn.Module, channels: int) -> ReceptiveField:
    """Measure how far ``network`` sees while its norms have fixed statistics.

    A stripe of the input is set to NaN, which no weight hides, not even zero. Convolutions spread it as far as their
    kernel, stride and padding reach. Their own kernels are not used, since some spread NaN further. Both axes and both
    directions are measured, on images that grow until the NaN ends inside of the image.

    Args:
        network: A generator, (B, channels, H, W) to (B, C', H, W). Its attribute ``side_multiple`` says of what the
            sides are multiples (by default 1), and ``min_side`` the smallest side (by default 1).
        channels: Channels of the input.

    Returns:
        How far the output, and the input of each norm, depend on the image, in pixels rounded up to ``side_multiple``.

    Raises:
        UserError: The network sees the whole image, changes the size, has smaller maps than its ``side_multiple``
            explains, removes NaN, or runs a norm layer twice.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 5, padding=2), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))
        >>> measure_receptive_field(network, channels=3)
        ReceptiveField(margin=3, norms={})
    """
    stride = int(getattr(network, "side_multiple", 1))
    across = _round_up(max(int(getattr(network, "min_side", 1)), _FIRST_MARGIN), stride)
    margin = across
    while margin <= max(_LAST_MARGIN, 8 * stride):
        reaches = [_probe(network, channels, dim, across=across, margin=margin, stride=stride) for dim in (-2, -1)]
        if all(None not in reach.values() for reach in reaches):
            found = {name: _round_up(max(cast(int, reach[name]) for reach in reaches), stride) for name in reaches[0]}
            return ReceptiveField(found.pop(""), found)
        margin *= 2
    raise UserError(
        f"{type(network).__name__} sees further than {margin // 2} pixels, or all of the image: it cannot work in tiles"
    )


def _probe(
    network: nn.Module, channels: int, dim: int, *, across: int, margin: int, stride: int
) -> dict[str, int | None]:
    """Return how far each norm's input, by name, and the output, by "", sees along ``dim``; None if beyond the rim."""
    length = 2 * margin + stride
    parameter = next(network.parameters(), torch.empty(0))
    size = (length, across) if dim == -2 else (across, length)
    image = torch.zeros(1, channels, *size, dtype=parameter.dtype, device=parameter.device)
    image.narrow(dim, margin, stride).fill_(torch.nan)
    reaches: dict[str, int | None] = {}

    def measure(name: str, maps: Tensor) -> None:
        if name in reaches:
            raise UserError(f"the norm layer {name} runs twice in one forward: use one layer for each run")
        affected = maps.isnan().movedim(dim, -1).flatten(0, -2).any(0).nonzero().flatten().tolist()
        if not affected:
            reaches[name] = 0
        elif affected[0] == 0 or affected[-1] == maps.shape[dim] - 1:
            reaches[name] = None
        else:
            before = margin - affected[0] * length // maps.shape[dim]
            after = -(-(affected[-1] + 1) * length // maps.shape[dim]) - (margin + stride)
            reaches[name] = max(before, after, 0)

    def choose_forward(index: int, name: str, module: nn.Module) -> Forward | None:
        return partial(_measure_input, measure, name) if isinstance(module, NORMS) else None

    spread = _SpreadNaN(dim)
    kind = type(network).__name__
    try:
        with patch_forwards(network, choose_forward), spread:
            output = network.forward(image)  # the call itself may be compiled, for training
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).splitlines()[0]
        raise UserError(f"{kind} of side_multiple {stride} does not take an image of {size}: {reason}") from error
    if 3 * stride * spread.min_side < 2 * length:
        ratio = round(length / spread.min_side)
        raise UserError(f"{kind} has maps of 1/{ratio} of the side, but its side_multiple is {stride}: set it")
    if output.shape[2:] != image.shape[2:]:
        raise UserError(f"{kind} makes {tuple(output.shape[2:])} of {size}: it cannot work in tiles")
    if not output.isnan().any():
        raise UserError(f"{kind} removes NaN: its receptive field cannot be measured")
    measure("", output)
    return reaches


def _measure_input(measure: Callable[[str, Tensor], None], name: str, maps: Tensor) -> Tensor:
    measure(name, maps)
    return torch.where(maps.isnan(), maps, 0)


class _SpreadNaN(TorchFunctionMode):
    """Mode in which convolutions return NaN where their kernel reaches one, and zero elsewhere.

    Attributes:
        min_side: Smallest side of the convolutions' outputs along ``dim``.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.min_side = 2**62

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
        reached = func(**given) > 0.5  # a kernel of ones over an indicator of NaN
        self.min_side = min(self.min_side, reached.shape[self.dim])
        return maps.new_zeros(()).masked_fill(reached, torch.nan).repeat(1, channels, 1, 1)


def _round_up(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple
