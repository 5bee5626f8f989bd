"""Convolutions of large weights on small maps, as matrix products.

The inner levels of the U-Net have 4 to 8 million weights each and maps of 1x1 to 16x16. There a CPU's convolution
spends its time on converting the weights, and their gradients, from one layout to another. Weights in channels last
are a matrix already, (out, 4 * 4 * in), and so are the gradients that a matrix product returns.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["MatmulConv2d", "MatmulConvTranspose2d", "convert_to_matmul", "is_faster", "multiply_transposed"]

_SIDE, _STRIDE, _PADDING = 4, 2, 1
# With fewer pairs of channels for each position, gathering the patches costs more than converting the layouts.
_PAIRS_A_POSITION = 64


class MatmulConv2d(nn.Conv2d):
    """4x4 convolution of stride 2 and padding 1, computed as a matrix product where its maps are small.

    Weights, results and state are those of the `nn.Conv2d` that it replaces, up to rounding.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H/2, W/2)."""
        positions = input.numel() // (self.in_channels * _STRIDE**2)
        if input.dim() == 4 and _has_even_sides(input) and is_faster(self, positions):
            output: Tensor = _Conv.apply(*_cast(input, self.weight))  # type: ignore[no-untyped-call]
            return output if self.bias is None else output + self.bias.to(output.dtype)[:, None, None]
        return super().forward(input)


class MatmulConvTranspose2d(nn.ConvTranspose2d):
    """Transposed 4x4 convolution of stride 2 and padding 1, computed as a matrix product where its maps are small.

    Weights, results and state are those of the `nn.ConvTranspose2d` that it replaces, up to rounding.
    """

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (B, in, H, W) to (B, out, 2H, 2W)."""
        positions = input.numel() // self.in_channels
        if input.dim() == 4 and output_size is None and is_faster(self, positions):
            output: Tensor = _ConvTranspose.apply(*_cast(input, self.weight))  # type: ignore[no-untyped-call]
            return output if self.bias is None else output + self.bias.to(output.dtype)[:, None, None]
        return super().forward(input, output_size)


def convert_to_matmul(network: nn.Module) -> nn.Module:
    """Compute convolutions of ``network`` as matrix products wherever that is faster, in place.

    Args:
        network: Any module. Only plain 4x4 convolutions of stride 2 and padding 1 are changed.

    Returns:
        ``network`` itself; parameters, buffers and their names stay as they are.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and _is_supported(module):
            if type(module) is nn.Conv2d:
                module.__class__ = MatmulConv2d
            elif type(module) is nn.ConvTranspose2d and module.output_padding == (0, 0):
                module.__class__ = MatmulConvTranspose2d
    return network


def multiply_transposed(maps: Tensor, weight: Tensor) -> Tensor:
    """Compute a transposed 4x4 convolution of stride 2 and padding 1 as a matrix product.

    Args:
        maps: Maps (B, in, H, W).
        weight: Weight (in, out, 4, 4) of the same type.

    Returns:
        (B, out, 2H, 2W), channels last.
    """
    return _scatter_patches(_to_rows(maps) @ _to_matrix(weight), maps, weight.shape[1])


def _is_supported(module: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    return (
        module.kernel_size == (_SIDE, _SIDE)
        and module.stride == (_STRIDE, _STRIDE)
        and module.padding == (_PADDING, _PADDING)
        and module.dilation == (1, 1)
        and module.groups == 1
        and module.padding_mode == "zeros"
        and module.in_channels * module.out_channels >= _PAIRS_A_POSITION
    )


def is_faster(module: nn.Conv2d | nn.ConvTranspose2d, positions: int) -> bool:
    """Return whether a matrix product takes less time than the library's convolution.

    Args:
        module: A layer that `convert_to_matmul` has converted.
        positions: Pixels of the smaller of its maps, over the batch.
    """
    is_small = positions * _PAIRS_A_POSITION <= module.in_channels * module.out_channels
    return is_small and not torch.compiler.is_compiling()  # compiling the patches takes minutes


def _has_even_sides(input: Tensor) -> bool:
    return input.shape[2] % _STRIDE == 0 and input.shape[3] % _STRIDE == 0


def _cast(input: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Convert both to the type that autocast computes in, or to the weight's without autocast."""
    device = input.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    return input.to(dtype), weight.to(dtype)


class _Conv(torch.autograd.Function):
    """y = gather_patches(x) W^T with W (out, 4 * 4 * in)."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        output = _gather_patches(x) @ _to_matrix(weight).t()
        return output.view(batch, height // _STRIDE, width // _STRIDE, -1).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        rows = _to_rows(gradient)
        grad_x = (
            _scatter_patches(rows @ _to_matrix(weight), gradient, weight.shape[1]) if ctx.needs_input_grad[0] else None
        )
        grad_weight = _to_weight(rows.t() @ _gather_patches(x), weight) if ctx.needs_input_grad[1] else None
        return grad_x, grad_weight


class _ConvTranspose(torch.autograd.Function):
    """y = scatter_patches(x W) with W (in, 4 * 4 * out)."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return multiply_transposed(x, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        patches = _gather_patches(gradient)
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = (patches @ _to_matrix(weight).t()).view(len(x), *x.shape[2:], -1).permute(0, 3, 1, 2)
        if ctx.needs_input_grad[1]:
            grad_weight = _to_weight(_to_rows(x).t() @ patches, weight)
        return grad_x, grad_weight


def _to_rows(maps: Tensor) -> Tensor:
    """Reshape (B, C, H, W) to (B * H * W, C)."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def _to_matrix(weight: Tensor) -> Tensor:
    """Reshape (n, m, 4, 4) to (n, 4 * 4 * m); a view where the weight is channels last."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)


def _to_weight(matrix: Tensor, weight: Tensor) -> Tensor:
    return matrix.view(len(weight), _SIDE, _SIDE, weight.shape[1]).permute(0, 3, 1, 2)


def _gather_patches(maps: Tensor) -> Tensor:
    """Gather the 4x4 patch of each position of the halved map: (B, C, H, W) to (B * H/2 * W/2, 4 * 4 * C)."""
    batch, channels, height, width = maps.shape
    padded = maps.new_zeros(batch, height + 2 * _PADDING, width + 2 * _PADDING, channels)
    padded[:, _PADDING:-_PADDING, _PADDING:-_PADDING] = maps.permute(0, 2, 3, 1)
    windows = padded.unfold(1, _SIDE, _STRIDE).unfold(2, _SIDE, _STRIDE)  # (B, H/2, W/2, C, 4, 4)
    return windows.permute(0, 1, 2, 4, 5, 3).reshape(-1, _SIDE**2 * channels)


def _scatter_patches(patches: Tensor, small: Tensor, channels: int) -> Tensor:
    """Return the sum of the 4x4 patches of all positions of ``small``, (B, _, H, W), as maps (B, C, 2H, 2W).

    It is the adjoint of `_gather_patches`.
    """
    batch, _, height, width = small.shape
    # Pixels are grouped in cells of 2x2. Row 2 * shift + parity of a patch is the row `parity` of the cell `shift`
    # further down, so four shifted additions of whole maps replace sixteen strided ones.
    cells = patches.view(batch, height, width, 2, 2, 2, 2, channels)  # shift y, parity y, shift x, parity x
    wide = torch.promote_types(patches.dtype, torch.float32)
    total = patches.new_zeros(batch, height + 1, width + 1, 2, 2, channels, dtype=wide)
    for y in range(2):
        for x in range(2):
            total[:, y : y + height, x : x + width] += cells[:, :, :, y, :, x]
    pixels = total.permute(0, 1, 3, 2, 4, 5).reshape(batch, 2 * height + 2, 2 * width + 2, channels)
    return pixels[:, 1:-1, 1:-1].to(patches.dtype, memory_format=torch.contiguous_format).permute(0, 3, 1, 2)
