"""Convolutions of large weights on small maps, as matrix products.

The inner levels of the U-Net have 4 to 8 million weights each and maps of 1x1 to 16x16. A CPU's convolution
spends its time there on bringing the weights, and their gradients, from one layout into another. Kept channels
last, the weights are a matrix already, (out, 4 * 4 * in), and so are the gradients that a matrix product gives.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["MatmulConv2d", "MatmulConvTranspose2d", "as_matmul"]

_SIDE, _STRIDE, _PADDING = 4, 2, 1
# Channel pairs for each position: with fewer, gathering the patches costs more than the layouts did.
_PAIRS_A_POSITION = 64


class MatmulConv2d(nn.Conv2d):
    """A 4x4 convolution of stride 2 and padding 1 that is a matrix product where its maps are small.

    It has the weights, the results and the state of the `nn.Conv2d` that it takes the place of, up to rounding.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Maps (B, in, H, W) to (B, out, H/2, W/2)."""
        positions = input.numel() // (self.in_channels * _STRIDE**2)
        if input.dim() == 4 and _even(input) and _pays(self, positions):
            output: Tensor = _Conv.apply(*_cast(input, self.weight))  # type: ignore[no-untyped-call]
            return output if self.bias is None else output + self.bias.to(output.dtype)[:, None, None]
        return super().forward(input)


class MatmulConvTranspose2d(nn.ConvTranspose2d):
    """A transposed 4x4 convolution of stride 2 and padding 1 that is a matrix product where its maps are small.

    It has the weights, the results and the state of the `nn.ConvTranspose2d` that it takes the place of, up to
    rounding.
    """

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Maps (B, in, H, W) to (B, out, 2H, 2W)."""
        positions = input.numel() // self.in_channels
        if input.dim() == 4 and output_size is None and _pays(self, positions):
            output: Tensor = _ConvTranspose.apply(*_cast(input, self.weight))  # type: ignore[no-untyped-call]
            return output if self.bias is None else output + self.bias.to(output.dtype)[:, None, None]
        return super().forward(input, output_size)


def as_matmul(network: nn.Module) -> nn.Module:
    """Makes matrix products of the convolutions of ``network`` that gain by it, in place.

    Returns:
        ``network`` itself; parameters, buffers and their names stay as they are.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and _is_halving(module):
            if type(module) is nn.Conv2d:
                module.__class__ = MatmulConv2d
            elif type(module) is nn.ConvTranspose2d and module.output_padding == (0, 0):
                module.__class__ = MatmulConvTranspose2d
    return network


def _is_halving(module: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    return (
        module.kernel_size == (_SIDE, _SIDE)
        and module.stride == (_STRIDE, _STRIDE)
        and module.padding == (_PADDING, _PADDING)
        and module.dilation == (1, 1)
        and module.groups == 1
        and module.padding_mode == "zeros"
        and module.in_channels * module.out_channels >= _PAIRS_A_POSITION
    )


def _pays(module: nn.Conv2d | nn.ConvTranspose2d, positions: int) -> bool:
    large = positions * _PAIRS_A_POSITION <= module.in_channels * module.out_channels
    return large and not torch.compiler.is_compiling()  # a compiler takes minutes over the patches


def _even(input: Tensor) -> bool:
    return input.shape[2] % _STRIDE == 0 and input.shape[3] % _STRIDE == 0


def _cast(input: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the type that autocast computes in, or in the weight's."""
    device = input.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    return input.to(dtype), weight.to(dtype)


class _Conv(torch.autograd.Function):
    """y = patches(x) W^T with W (out, 4 * 4 * in)."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        output = _patches(x) @ _matrix(weight).t()
        return output.view(batch, height // _STRIDE, width // _STRIDE, -1).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        rows = _rows(gradient)
        of_x = _spread(rows @ _matrix(weight), gradient, weight.shape[1]) if ctx.needs_input_grad[0] else None
        of_weight = _unmatrix(rows.t() @ _patches(x), weight) if ctx.needs_input_grad[1] else None
        return of_x, of_weight


class _ConvTranspose(torch.autograd.Function):
    """y = spread(x W) with W (in, 4 * 4 * out)."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return _spread(_rows(x) @ _matrix(weight), x, weight.shape[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        patches = _patches(gradient)
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = (patches @ _matrix(weight).t()).view(len(x), *x.shape[2:], -1).permute(0, 3, 1, 2)
        if ctx.needs_input_grad[1]:
            of_weight = _unmatrix(_rows(x).t() @ patches, weight)
        return of_x, of_weight


def _rows(maps: Tensor) -> Tensor:
    """(B, C, H, W) to (B * H * W, C)."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def _matrix(weight: Tensor) -> Tensor:
    """(n, m, 4, 4) to (n, 4 * 4 * m); a view where the weight is channels last."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)


def _unmatrix(matrix: Tensor, weight: Tensor) -> Tensor:
    return matrix.view(len(weight), _SIDE, _SIDE, weight.shape[1]).permute(0, 3, 1, 2)


def _patches(maps: Tensor) -> Tensor:
    """What each position of the halved map sees: (B, C, H, W) to (B * H/2 * W/2, 4 * 4 * C)."""
    batch, channels, height, width = maps.shape
    padded = maps.new_zeros(batch, height + 2 * _PADDING, width + 2 * _PADDING, channels)
    padded[:, _PADDING:-_PADDING, _PADDING:-_PADDING] = maps.permute(0, 2, 3, 1)
    windows = padded.unfold(1, _SIDE, _STRIDE).unfold(2, _SIDE, _STRIDE)  # (B, H/2, W/2, C, 4, 4)
    return windows.permute(0, 1, 2, 4, 5, 3).reshape(-1, _SIDE**2 * channels)


def _spread(patches: Tensor, small: Tensor, channels: int) -> Tensor:
    """The adjoint of `_patches`: every position of ``small``, (B, _, H, W), adds 4x4 pixels to (B, C, 2H, 2W)."""
    batch, _, height, width = small.shape
    # A kernel row is 2 * shift + parity: its pixel is of that parity, in the cell that lies `shift` further on.
    cells = patches.view(batch, height, width, 2, 2, 2, 2, channels)  # shift y, parity y, shift x, parity x
    wide = torch.promote_types(patches.dtype, torch.float32)
    total = patches.new_zeros(batch, height + 1, width + 1, 2, 2, channels, dtype=wide)
    for y in range(2):
        for x in range(2):
            total[:, y : y + height, x : x + width] += cells[:, :, :, y, :, x]
    pixels = total.permute(0, 1, 3, 2, 4, 5).reshape(batch, 2 * height + 2, 2 * width + 2, channels)
    return pixels[:, 1:-1, 1:-1].to(patches.dtype, memory_format=torch.contiguous_format).permute(0, 3, 1, 2)
