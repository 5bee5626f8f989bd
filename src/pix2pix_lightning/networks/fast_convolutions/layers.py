"""Convolution layers that compute by the fastest of several methods for the size of their maps."""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn

from pix2pix_lightning.networks.fast_convolutions import kept_weights, products, thin, winograd
from pix2pix_lightning.networks.fast_convolutions.convolution import Convolution
from pix2pix_lightning.networks.layers import is_traced

__all__ = [
    "FastConv2d",
    "FastConvTranspose2d",
    "convert_to_matmul",
    "convert_to_winograd",
    "is_small",
    "keep_transformed_weights",
    "suits_matmul",
    "suits_winograd",
    "transform_kept_weights",
]

# With fewer pairs of channels for each position, gathering the patches costs more than converting the layouts.
_PAIRS_A_POSITION = 64
_MAX_WIDE_POSITIONS = 16  # up to which reading the weights takes the time of the products, in any type
_MIN_THIN_INPUTS, _MAX_THIN_OUTPUTS = 32, 4
_MAX_THIN_POSITIONS = 2**19  # of maps that a transposed convolution doubles: its products take memory
_MIN_CHANNELS = 48  # harmonic mean of the channels, halved: below, Winograd's sums cost more than what is spared
_MIN_CELL_CHANNELS = 80  # the same for the channels of a cell, for a stride of 2
_MIN_TILES = 32  # below, transforming the weight costs more
_MIN_STRIDED_TILES = 256  # the same for a stride of 2, of what is not transposed
_WEIGHTS_A_TILE = 2**16  # of a layer of stride 2, up to which transforming them in each step takes less than is spared


class FastConv2d(nn.Conv2d):
    """Convolution of the values, weights and state of the `nn.Conv2d` that it replaces, up to rounding.

    Attributes:
        by_matmul: Whether matrix products may compute it.
        by_winograd: Whether Winograd's minimal filtering may compute it.
        keeps_weight: Whether the weight may be kept in a second form, in which Winograd's method needs it.
    """

    by_matmul = False
    by_winograd = False
    keeps_weight = False

    def forward(self, input: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H', W')."""
        if (output := self.convolve_by_kept(input, Convolution.of(self).padding)) is not None:
            return output
        if self.by_winograd and _is_float(self, input) and self._has_tiles(input):
            return self._add_bias(winograd.convolve(input, self.weight, Convolution.of(self)))
        if input.dim() == 4 and self.by_matmul and self.stride == (2, 2):
            if not (input.shape[2] % 2 or input.shape[3] % 2) and is_small(self, input):
                return self._add_bias(_multiply(products.convolve, self, input))
        elif self.by_matmul and self.out_channels <= _MAX_THIN_OUTPUTS and _is_float(self, input):
            return self._add_bias(thin.convolve(input, self.weight, Convolution.of(self)))
        return super().forward(input)

    def convolve_by_kept(self, input: Tensor, padding: tuple[int, int]) -> Tensor | None:
        """Compute the output with a padding of rows and columns, if the kept weight makes it fast; else None."""
        output = kept_weights.convolve(self, input, padding) if _uses_kept(self, input) else None
        return None if output is None else self._add_bias(output)

    def _has_tiles(self, input: Tensor) -> bool:
        """Return whether the maps are large enough for Winograd's method."""
        size = Convolution.of(self).get_output_size(*input.shape[2:])
        num_tiles = len(input) * winograd.count_tiles(*size) if min(size) > 0 else 0
        if self.stride == (1, 1):
            return num_tiles >= _MIN_TILES
        return num_tiles >= _MIN_STRIDED_TILES and _outweigh_weights(num_tiles, self)

    def _add_bias(self, output: Tensor) -> Tensor:
        return output if self.bias is None else output + self.bias.to(output.dtype)[:, None, None]


class FastConvTranspose2d(nn.ConvTranspose2d):
    """Transposed 4x4 convolution of stride 2, of the values and weights of the `nn.ConvTranspose2d` it replaces.

    Attributes:
        by_winograd: As of `FastConv2d`, where matrix products are slower.
        keeps_weight: As of `FastConv2d`.
    """

    by_winograd = False
    keeps_weight = False

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (B, in, H, W) to (B, out, 2H, 2W)."""
        output = self.convolve_faster(input) if input.dim() == 4 and output_size is None else None
        return super().forward(input, output_size) if output is None else output

    def convolve_faster(self, input: Tensor) -> Tensor | None:
        """Compute the output in another way than the library, if that is faster; else return None."""
        output = kept_weights.convolve(self, input, (1, 1)) if _uses_kept(self, input) else None
        if output is None and self.by_winograd and _is_float(self, input) and self._has_tiles(input):
            output = winograd.convolve_transposed(input, self.weight, Convolution.of(self))
        if output is None and is_small(self, input):
            output = _multiply(products.convolve_transposed, self, input)
        if output is None and _is_thin(self, input):
            output = thin.convolve_transposed(input, self.weight)
        return None if output is None else self._add_bias(output)

    def _has_tiles(self, input: Tensor) -> bool:
        """Return whether the maps are large enough for Winograd's method, which transforms the weight in each step."""
        return _outweigh_weights(len(input) * winograd.count_tiles(*input.shape[2:]), self)

    def _add_bias(self, output: Tensor) -> Tensor:
        return output if self.bias is None else output + self.bias.to(output.dtype)[:, None, None]


def convert_to_matmul(network: nn.Module) -> nn.Module:
    """Compute convolutions of ``network`` as matrix products wherever that is faster, in place.

    Args:
        network: Any module. Only plain 4x4 convolutions of stride 2 and padding 1 are changed, and those of stride 1 to
            at most 4 channels.

    Returns:
        ``network`` itself; parameters, buffers and their names stay as they are.
    """
    for module in network.modules():
        if suits_matmul(module):
            _convert(module)
            if isinstance(module, FastConv2d):
                module.by_matmul = True
    return network


def convert_to_winograd(network: nn.Module) -> nn.Module:
    """Compute convolutions of ``network`` by Winograd's minimal filtering wherever that is faster, in place.

    Args:
        network: Any module. Only plain 3x3 and 4x4 convolutions of stride 1, and transposed 4x4 ones of stride 2, of
            many channels are changed; without AVX-512 also 4x4 convolutions of stride 2.

    Returns:
        ``network`` itself; parameters, buffers and their names stay as they are.
    """
    for module in network.modules():
        if suits_winograd(module):
            _convert(module)
            if isinstance(module, FastConv2d | FastConvTranspose2d):
                module.by_winograd = True
    return network


def keep_transformed_weights(network: nn.Module) -> nn.Module:
    """Let layers keep their weights in the form that Winograd's method needs too, for runs without gradients.

    Args:
        network: Any module. Of the layers that `convert_to_matmul` or `convert_to_winograd` has converted those are
            meant that become faster, in float32 or float64 on a CPU; they take up to six times the memory of their
            weights.

    Returns:
        ``network`` itself; parameters, buffers and their names stay as they are.
    """
    for module in network.modules():
        if isinstance(module, FastConv2d | FastConvTranspose2d) and kept_weights.suits_kept_weight(module):
            module.keeps_weight = True
    return network


@torch.no_grad()
def transform_kept_weights(network: nn.Module, without: Collection[nn.Module] = ()) -> None:
    """Transform the weights that layers of ``network`` keep, so that no later run takes memory for that.

    Args:
        network: Network of `keep_transformed_weights`.
        without: Layers that do not keep theirs any longer.
    """
    for module in network.modules():
        if isinstance(module, FastConv2d | FastConvTranspose2d) and module.keeps_weight:
            module.keeps_weight = module not in without
            if module.keeps_weight:
                kept_weights.get_weight(module)
            else:
                kept_weights.forget_weight(module)


def suits_matmul(module: nn.Module) -> bool:
    """Return whether a module is a layer that `convert_to_matmul` changes."""
    if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d) or not _is_plain(module):
        return False
    if _is_strided(module):
        return module.in_channels * module.out_channels >= _PAIRS_A_POSITION
    return _is_dense(module) and module.out_channels <= _MAX_THIN_OUTPUTS and module.in_channels >= _MIN_THIN_INPUTS


def suits_winograd(module: nn.Module) -> bool:
    """Return whether a module is a layer that `convert_to_winograd` changes."""
    if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d) or not _is_plain(module):
        return False
    outputs, inputs = module.weight.shape[:2]
    if _is_strided(module):
        is_slow = isinstance(module, nn.ConvTranspose2d) or _lacks_avx512()
        return is_slow and _have_mean(_MIN_CELL_CHANNELS, 4 * inputs, outputs)
    return _is_dense(module) and _have_mean(_MIN_CHANNELS, inputs, outputs)


def is_small(module: nn.Conv2d | nn.ConvTranspose2d, input: Tensor) -> bool:
    """Return whether matrix products of patches take less time than the library's convolution.

    Args:
        module: A layer that `convert_to_matmul` has converted.
        input: Its maps, (B, in, H, W).
    """
    is_small = _count_positions(module, input) * _PAIRS_A_POSITION <= module.in_channels * module.out_channels
    return is_small and not torch.compiler.is_compiling()  # compiling the patches takes minutes


def _count_positions(module: nn.Conv2d | nn.ConvTranspose2d, input: Tensor) -> int:
    """Return how many vectors a layer of stride 2 multiplies with its weight."""
    return input.numel() // (module.in_channels * (1 if isinstance(module, nn.ConvTranspose2d) else 4))


def _have_mean(least: int, inputs: int, outputs: int) -> bool:
    """Return whether half of the harmonic mean of two numbers of channels is at least a value."""
    return least * (inputs + outputs) <= inputs * outputs


def _outweigh_weights(num_tiles: int, module: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    """Return whether tiles are enough for transforming the weight of a layer of stride 2 in each step."""
    return module.weight.numel() <= _WEIGHTS_A_TILE * num_tiles


def _lacks_avx512() -> bool:
    """Return whether the library's convolutions of stride 2 are slow, above all the gradients of their weights."""
    return torch.backends.cpu.get_cpu_capability() == "AVX2"


def _is_thin(module: nn.ConvTranspose2d, input: Tensor) -> bool:
    """Return whether products of all pixels and weights take less time than the library's transposed convolution."""
    is_thin = module.out_channels <= _MAX_THIN_OUTPUTS and module.in_channels >= _MIN_THIN_INPUTS
    return is_thin and len(input) * input.shape[2:].numel() <= _MAX_THIN_POSITIONS and _is_float(module, input)


def _is_float(module: nn.Conv2d | nn.ConvTranspose2d, input: Tensor) -> bool:
    """Return whether a batch is computed in float32 or float64 on a CPU, without autocast and under no tracer."""
    return (
        input.dim() == 4
        and input.device.type == "cpu"
        and input.dtype == module.weight.dtype
        and input.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and not is_traced()
    )


def _uses_kept(module: FastConv2d | FastConvTranspose2d, input: Tensor) -> bool:
    return module.keeps_weight and not torch.is_grad_enabled() and _is_float(module, input)


def _convert(module: nn.Module) -> None:
    if type(module) is nn.Conv2d:
        module.__class__ = FastConv2d
    elif type(module) is nn.ConvTranspose2d:
        module.__class__ = FastConvTranspose2d


def _is_plain(module: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    is_own = type(module) in (nn.Conv2d, nn.ConvTranspose2d, FastConv2d, FastConvTranspose2d)
    return is_own and module.dilation == (1, 1) and module.groups == 1 and module.padding_mode == "zeros"


def _is_strided(module: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    """Return whether a plain layer has a 4x4 kernel, stride 2 and padding 1."""
    is_strided = module.kernel_size == (4, 4) and module.stride == (2, 2) and module.padding == (1, 1)
    return is_strided and not (isinstance(module, nn.ConvTranspose2d) and module.output_padding != (0, 0))


def _is_dense(module: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    """Return whether a plain layer is a convolution of stride 1 with a kernel of 3x3 or 4x4."""
    is_dense = module.kernel_size in ((3, 3), (4, 4)) and module.stride == (1, 1)
    return is_dense and isinstance(module, nn.Conv2d) and module.padding in ((0, 0), (1, 1), (2, 2))


def _multiply(method: Callable[[Tensor, Tensor], Tensor], module: nn.Conv2d | nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """Return the output of a layer by matrix products, in the type of autocast or, without autocast, of the weight.

    With few positions it is computed in the weight's own type: narrowing millions of weights, and widening their
    gradients, takes longer than the products.
    """
    device, own = x.device.type, module.weight.dtype
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else own
    computed = own if _count_positions(module, x) <= _MAX_WIDE_POSITIONS else dtype
    with torch.autocast(device, enabled=False):
        return method(x.to(computed), module.weight.to(computed)).to(dtype)
