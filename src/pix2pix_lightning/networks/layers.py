"""The pieces that the networks share: norms, upsampling, initialisation, levels of an hourglass, checks."""

from collections import OrderedDict
from collections.abc import Collection
from numbers import Integral
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAK = 0.2
MAX_CHANNELS_FACTOR = 8

_NORMS: dict[str, type[nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "instance": nn.InstanceNorm2d,
    "none": nn.Identity,
}


class ResizeConv2d(nn.Conv2d):
    """Doubles the side by nearest neighbour, then a 3x3 convolution: (B, C, H, W) to (B, out, 2H, 2W).

    Every output pixel is covered by equally many taps, which transposed convolutions do not promise: the
    remedy for checkerboards of Odena et al. (2016).
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3, padding=1, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """Upsamples and convolves ``input``."""
        return super().forward(F.interpolate(input, scale_factor=2.0, mode="nearest"))


class Dropout(nn.Dropout):
    """Dropout whose noise is the same however the maps lie in memory; `nn.Dropout` draws in memory's order."""

    def forward(self, input: Tensor) -> Tensor:
        """Drops elements of ``input``, (B, C, H, W), in training mode."""
        if not self.training or self.p == 0:
            return input
        kept = torch.empty(input.shape, dtype=input.dtype, device=input.device).bernoulli_(1 - self.p)
        return input * torch.empty_like(input).copy_(kept) * (1 / (1 - self.p))


class _Joined(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(first: Tensor, second: Tensor) -> Tensor:
        return torch.cat([first, second], dim=1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.split = inputs[0].shape[1]

    @staticmethod
    def jvp(ctx: Any, first: Tensor, second: Tensor) -> Tensor:
        return torch.cat([first, second], dim=1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        is_last = gradient.is_contiguous(memory_format=torch.channels_last) and not gradient.is_contiguous()
        layout = torch.channels_last if is_last else torch.contiguous_format
        first, second = (
            part.contiguous(memory_format=layout) if needed else None
            for part, needed in zip(
                (gradient[:, : ctx.split], gradient[:, ctx.split :]), ctx.needs_input_grad, strict=True
            )
        )
        return first, second


def joined(first: Tensor, second: Tensor) -> Tensor:
    """Concatenates maps along their channels: (B, C, H, W) and (B, C', H, W) to (B, C + C', H, W).

    It is `torch.cat` but for the gradients, which are dense: those of `torch.cat` are windows into a larger
    tensor, for which the backward pass of a batch norm takes fifty times as long on a CPU.
    """
    is_read_by_another = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
    if is_read_by_another or not (first.requires_grad or second.requires_grad):
        return torch.cat([first, second], dim=1)
    both: Tensor = _Joined.apply(first, second)  # type: ignore[no-untyped-call]
    return both


def norm_layer(norm: str, channels: int) -> nn.Module:
    """Makes the norm called ``norm`` for maps of ``channels`` channels.

    Args:
        norm: ``"batch"``, ``"instance"`` (no parameters, no running statistics) or ``"none"``.
        channels: Channels of the maps that it is applied to.

    Raises:
        ValueError: ``norm`` is none of these.
    """
    check_choice("norm", norm, _NORMS)
    return _NORMS[norm](channels)


def uses_bias(norm: str) -> bool:
    """Tells whether a convolution before ``norm`` has a bias: not where the norm brings its own.

    Raises:
        ValueError: ``norm`` is none of the names that `norm_layer` takes.
    """
    check_choice("norm", norm, _NORMS)
    return norm != "batch"


def upsampling(upsample: str, in_channels: int, out_channels: int, *, bias: bool, kernel_size: int = 4) -> nn.Module:
    """Makes a learned layer that doubles the side: (B, in, H, W) to (B, out, 2H, 2W).

    Args:
        upsample: ``"transposed"`` (a transposed convolution of stride 2) or ``"resize"`` (`ResizeConv2d`).
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        bias: Whether the convolution has a bias.
        kernel_size: Side of the transposed convolution's kernel: 4 in the U-Net, 3 in the ResNet.

    Raises:
        ValueError: ``upsample`` is neither.
    """
    check_choice("upsample", upsample, ("transposed", "resize"))
    if upsample == "resize":
        return ResizeConv2d(in_channels, out_channels, bias=bias)
    # An odd kernel is one short of twice the side.
    return nn.ConvTranspose2d(
        in_channels, out_channels, kernel_size, stride=2, padding=1, output_padding=kernel_size % 2, bias=bias
    )


def initialize(network: nn.Module, std: float = 0.02) -> None:
    """Draws all weights anew as the paper does (section 6.2, "Training details"), in place.

    Weights of convolutions and linear layers from N(0, std), scales of batch norms from N(1, std), biases 0.
    The draws come from torch's global generator.

    Args:
        network: Any module.
        std: Standard deviation of the draws.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, std)
        elif isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm) and module.affine:
            nn.init.normal_(module.weight, 1.0, std)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def named(**layers: nn.Module | None) -> nn.Sequential:
    """Makes a sequence of ``layers`` under their names; those that are None are left out."""
    return nn.Sequential(_present(**layers))


def _present(**layers: nn.Module | None) -> OrderedDict[str, nn.Module]:
    return OrderedDict((name, layer) for name, layer in layers.items() if layer is not None)


class UpLevel(nn.Sequential):
    """A level of a decoder: it takes the skip, if there is one, and what comes from the level below."""

    def forward(self, *maps: Tensor) -> Tensor:
        """Joins ``maps``, each (B, ..., H, W), the skip first, and gives (B, out, 2H, 2W)."""
        x = joined(*maps) if len(maps) > 1 else maps[0]
        output: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return output


def down_levels(in_channels: int, *, num_downs: int, base_channels: int, norm: str) -> nn.ModuleList:
    """Makes the encoder that `UNetGenerator` and `EncoderDecoderGenerator` share, a level for each halving.

    Level d maps (B, ..., H, W) to (B, base * min(2**d, 8), H/2, W/2). J puts the LeakyReLU in front of the
    next convolution, and in place, so that its skip carries the activated maps. Here it ends the level: the
    ReLU before the up convolution makes the skip the same, and no level writes into its input, as recomputing
    needs.
    """
    levels = []
    widths = _widths(base_channels, num_downs)
    for depth, width in enumerate(widths):
        outermost, innermost = depth == 0, depth == num_downs - 1
        # The innermost level is 1x1 where the input is smallest: a norm of one image would make it zero.
        levels.append(
            named(
                conv=nn.Conv2d(in_channels, width, 4, stride=2, padding=1, bias=uses_bias(norm)),
                norm=None if outermost or innermost else norm_layer(norm, width),
                activation=None if innermost else nn.LeakyReLU(LEAK, inplace=True),
            )
        )
        in_channels = width
    return nn.ModuleList(levels)


def up_levels(
    out_channels: int,
    *,
    num_downs: int,
    base_channels: int,
    norm: str,
    dropout: float,
    dropout_at: str,
    upsample: str,
    skips: bool,
) -> nn.ModuleList:
    """Makes the decoder that `UNetGenerator` and `EncoderDecoderGenerator` share.

    Level d undoes level d of the encoder. With ``skips`` every level but the innermost takes twice its
    channels. Level 0 gives (B, out_channels, H, W) in [-1, 1].

    Raises:
        ValueError: ``dropout_at`` or ``upsample`` is not a name that exists, or ``dropout`` is not in [0, 1).
    """
    check_dropout(dropout)
    depths = {"junyanz": range(4, num_downs - 1), "paper": range(max(num_downs - 3, 1), num_downs)}
    check_choice("dropout_at", dropout_at, depths)
    dropout_depths = depths[dropout_at]
    widths = _widths(base_channels, num_downs)
    levels = []
    for depth, width in enumerate(widths):
        outermost, innermost = depth == 0, depth == num_downs - 1
        channels = 2 * width if skips and not innermost else width
        out_width = out_channels if outermost else widths[depth - 1]
        levels.append(
            UpLevel(
                _present(
                    activation=nn.ReLU(),  # not in place: recomputing needs what comes in
                    conv=upsampling(upsample, channels, out_width, bias=outermost or uses_bias(norm)),
                    norm=None if outermost else norm_layer(norm, out_width),
                    dropout=Dropout(dropout) if dropout > 0 and depth in dropout_depths else None,
                    squash=nn.Tanh() if outermost else None,
                )
            )
        )
    return nn.ModuleList(levels)


def _widths(base_channels: int, count: int) -> list[int]:
    return [base_channels * min(2**depth, MAX_CHANNELS_FACTOR) for depth in range(count)]


def check_choice(what: str, value: str, choices: Collection[str]) -> None:
    """Raises a ValueError that names ``value`` and the ``choices`` where it is none of them."""
    if value not in choices:
        raise ValueError(f"{what} is {value!r}, which does not exist: choose one of {', '.join(choices)}")


def check_counts(**counts: object) -> None:
    """Raises a ValueError that names the first of ``counts`` that is no whole number, or below 1."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, Integral) or int(count) < 1:
            raise ValueError(f"{name} is {count}: a whole number of at least 1 is expected")


def check_dropout(dropout: float) -> None:
    """Raises a ValueError where ``dropout`` is no probability below 1."""
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is {dropout}: give a probability from 0 to below 1")


def check_sides(images: Tensor, *, multiple: int = 1, least: int = 1) -> None:
    """Raises a ValueError where a side of ``images`` is below ``least`` or no multiple of ``multiple``.

    Also where they are no batch. ``least`` is itself a multiple. The message names the side and the next one
    that can be taken.
    """
    if images.ndim != 4:
        raise ValueError(f"images have the shape {tuple(images.shape)}: give a batch (B, C, H, W)")
    for name, side in zip(("height", "width"), images.shape[-2:], strict=True):
        if side < least or side % multiple:
            able = max(least, -(-side // multiple) * multiple)
            takes = f"multiples of {multiple} from {least}" if multiple > 1 else f"sides from {least}"
            raise ValueError(f"image {name} is {side}, this network takes {takes}: resize or pad it to {able}")
