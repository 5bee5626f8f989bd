"""Layers, initialization and argument checks that the networks share."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from pix2pix_lightning.utils.checks import check_choice
from pix2pix_lightning.utils.errors import UserError

LEAK = 0.2
MAX_CHANNELS_FACTOR = 8
MAX_CHANNELS, MAX_BLOCKS, MAX_LEVELS = 2**12, 1000, 16
"""Limits far beyond what can be trained, so that a description of absurd size is refused before anything is built."""

# With fewer pixels in a batch's maps, making the kernel costs more than it spares.
_DOUBLED_KERNEL_POSITIONS = 512

_NORMS: dict[str, type[nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "instance": nn.InstanceNorm2d,
    "none": nn.Identity,
    "none_no_bias": nn.Identity,
}


class ResizeConv2d(nn.Conv2d):
    """Upsampling by nearest neighbour, then a 3x3 convolution: (B, C, H, W) to (B, out, 2H, 2W).

    Equally many kernel elements reach every output pixel, which transposed convolutions do not guarantee. This avoids
    checkerboard artifacts (Odena et al., "Deconvolution and Checkerboard Artifacts", 2016). On a CPU large maps are
    computed by the transposed convolution that equals it, with 16 products for each pixel of the input instead of 36.

    Args:
        in_channels: Channels C of the input.
        out_channels: Channels of the output.
        bias: Whether the convolution has a bias.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3, padding=1, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """Upsample ``input``, (B, C, H, W), then convolve it."""
        if input.device.type == "cpu" and input.ndim == 4 and not is_traced():
            positions = input.numel() // self.in_channels
            if positions >= _DOUBLED_KERNEL_POSITIONS:
                return F.conv_transpose2d(input, double_kernel(self.weight), self.bias, stride=2, padding=1)
        return super().forward(F.interpolate(input, scale_factor=2.0, mode="nearest"))


def double_kernel(weight: Tensor) -> Tensor:
    """Compute the kernel of the transposed convolution of stride 2 that equals `ResizeConv2d`.

    An input pixel is doubled, so each element of ``weight`` meets it at two rows and two columns of the output: the
    kernel is the mirrored weight, convolved with ones of 2x2.

    Args:
        weight: Weight of the layer, (out, in, 3, 3).

    Returns:
        (in, out, 4, 4).
    """
    out_channels, in_channels = weight.shape[:2]
    double = weight.new_tensor([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]])
    rows = double @ weight.permute(0, 2, 3, 1).reshape(out_channels, 3, 3 * in_channels)
    kernel = double @ rows.view(out_channels * 4, 3, in_channels)
    return kernel.view(out_channels, 4, 4, in_channels).permute(3, 0, 1, 2)


class Dropout(nn.Dropout):
    """Dropout whose noise does not depend on the memory format; `nn.Dropout` draws in the order of the memory."""

    def forward(self, input: Tensor) -> Tensor:
        """Zero elements of ``input``, (B, C, H, W), in training mode, and scale the others."""
        if not self.training or self.p == 0:
            return input
        mask = _draw_bernoulli(input, 1 - self.p)
        return input * torch.empty_like(input).copy_(mask) * (1 / (1 - self.p))


def _draw_bernoulli(maps: Tensor, p: float) -> Tensor:
    """Draw as many values as ``maps`` has, not 0 with probability ``p``, in the order of its axes."""
    if maps.device.type == "cpu" and not is_traced():  # the same values as below; for 1/2 in half the time
        return torch.rand(maps.shape, dtype=torch.float64) < p
    return torch.empty(maps.shape, dtype=maps.dtype, device=maps.device).bernoulli_(p)


def is_traced() -> bool:
    """Return whether a compiler or a tracer follows the operations, which one size of the input must not decide on."""
    return torch.compiler.is_compiling() or bool(torch.jit.is_tracing())  # type: ignore[no-untyped-call, attr-defined]


def build_norm(norm: str, channels: int) -> nn.Module:
    """Build the norm called ``norm`` for maps of ``channels`` channels.

    Args:
        norm: ``"batch"``, ``"instance"`` (no parameters, no running statistics), ``"none"``, or ``"none_no_bias"``, for
            which the convolutions have no bias either.
        channels: Channels of the maps that it is applied to.

    Returns:
        The layer, whose output has the shape of its input.

    Raises:
        UserError: ``norm`` is not one of these names.
    """
    check_choice("norm", norm, _NORMS)
    return _NORMS[norm](channels)


def uses_bias(norm: str) -> bool:
    """Return whether a convolution before ``norm`` has a bias: not before batch norm, which has its own.

    Without a norm junyanz's networks have none either, which is ``none_no_bias``.

    Raises:
        UserError: ``norm`` is not one of the names that `build_norm` takes.
    """
    check_choice("norm", norm, _NORMS)
    return norm in ("instance", "none")


def build_upsampling(
    upsample: str, in_channels: int, out_channels: int, *, bias: bool, kernel_size: int = 4
) -> nn.Module:
    """Build a learned layer that doubles the side: (B, in, H, W) to (B, out, 2H, 2W).

    Args:
        upsample: ``"transposed"`` (a transposed convolution of stride 2) or ``"resize"`` (`ResizeConv2d`).
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        bias: Whether the convolution has a bias.
        kernel_size: Side of the transposed convolution's kernel: 4 in the U-Net, 3 in the ResNet.

    Returns:
        The layer.

    Raises:
        UserError: ``upsample`` is not one of these names.
    """
    check_choice("upsample", upsample, ("transposed", "resize"))
    if upsample == "resize":
        return ResizeConv2d(in_channels, out_channels, bias=bias)
    # Without output padding an odd kernel gives 2H - 1.
    return nn.ConvTranspose2d(
        in_channels, out_channels, kernel_size, stride=2, padding=1, output_padding=kernel_size % 2, bias=bias
    )


def initialize(network: nn.Module, std: float = 0.02) -> None:
    """Redraw all weights as the paper does (arXiv 1611.07004, section 6.2, "Training details"), in place.

    Weights of convolutions and linear layers from N(0, std), scales of batch norms from N(1, std), biases 0.
    The draws come from torch's global generator.

    Args:
        network: Any module.
        std: Standard deviation of the draws.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(_get_raw_weight(module), 0.0, std)
        elif isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm) and module.affine:
            nn.init.normal_(module.weight, 1.0, std)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _get_raw_weight(module: nn.Module) -> Tensor:
    """Return the parameter behind ``module.weight``, which spectral norm computes anew at every access."""
    weight: Tensor = (
        module.parametrizations.weight.original  # type: ignore[union-attr, assignment]
        if parametrize.is_parametrized(module, "weight")
        else module.weight
    )
    return weight


def apply_spectral_norm(network: nn.Module) -> None:
    """Divide the weight of each convolution by an estimate of its largest singular value (arXiv 1802.05957), in place.

    The estimate gets better by one power iteration at each forward pass in training mode. Weights become
    ``...parametrizations.weight.original`` in the state dict, next to two vectors, the estimate's state.

    Args:
        network: Any module; its `torch.nn.Conv2d` layers are changed.
    """
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d):
            parametrizations.spectral_norm(module)


def build_sequential(**layers: nn.Module | None) -> nn.Sequential:
    """Build a sequence of ``layers`` under their names, without those that are None."""
    return nn.Sequential(drop_none(**layers))


def drop_none(**layers: nn.Module | None) -> OrderedDict[str, nn.Module]:
    """Return ``layers`` by their names, without those that are None."""
    return OrderedDict((name, layer) for name, layer in layers.items() if layer is not None)


def check_dropout(dropout: float) -> None:
    """Raise a UserError if ``dropout`` is not in [0, 1)."""
    if not 0 <= dropout < 1:
        raise UserError(f"dropout is {dropout}: give a probability from 0 to below 1")


def check_sides(images: Tensor, *, multiple: int = 1, min_side: int = 1) -> None:
    """Check the shape of a network's input.

    Args:
        images: Should be (B, C, H, W).
        multiple: H and W have to be multiples of this.
        min_side: H and W have to be at least this, a multiple of ``multiple``.

    Raises:
        UserError: ``images`` is no batch, or a side does not fit. The message has the next side that fits.
    """
    if images.ndim != 4:
        raise UserError(f"images have the shape {tuple(images.shape)}: give a batch (B, C, H, W)")
    for name, side in zip(("height", "width"), images.shape[-2:], strict=True):
        if side < min_side or side % multiple:
            next_side = max(min_side, -(-side // multiple) * multiple)
            accepted = f"multiples of {multiple} from {min_side}" if multiple > 1 else f"sides from {min_side}"
            raise UserError(f"image {name} is {side}, this network takes {accepted}: resize or pad it to {next_side}")
