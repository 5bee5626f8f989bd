"""Convolutions to a few channels, as products of all pixels with all weights, of which what overlaps is summed.

The library computes 8 or 16 output channels at a time, of which these layers use one to four.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pix2pix_lightning.networks.fast_convolutions.convolution import Convolution
from pix2pix_lightning.networks.fast_convolutions.winograd import differentiate_input, differentiate_weight

__all__ = ["convolve", "convolve_transposed"]

_ADJOINT = Convolution(side=4, stride=2, padding=(1, 1))


def convolve(x: Tensor, weight: Tensor, convolution: Convolution) -> Tensor:
    """Convolve maps with stride 1.

    Args:
        x: (B, in, H, W).
        weight: (out, in, k, k) of the same type.
        convolution: What is computed.

    Returns:
        (B, out, H', W'), channels last.
    """
    output: Tensor = _ConvolveThin.apply(x, weight, convolution)  # type: ignore[no-untyped-call]
    return output


def convolve_transposed(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve maps with a transposed 4x4 kernel of stride 2 and padding 1.

    Args:
        x: (B, in, H, W).
        weight: (in, out, 4, 4) of the same type.

    Returns:
        (B, out, 2H, 2W), channels last.
    """
    output: Tensor = _ConvolveThinTransposed.apply(x, weight)  # type: ignore[no-untyped-call]
    return output


class _ConvolveThin(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, ctx.convolution = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def forward(x: Tensor, weight: Tensor, convolution: Convolution) -> Tensor:
        batch, _, height, width = x.shape
        out, _, side, _ = weight.shape
        above, left = convolution.padding
        pixels = (_to_rows(x) @ _to_matrix(weight).t()).view(batch, height, width, side, side, out)
        pixels = F.pad(pixels, (0, 0, 0, 0, 0, 0, left, left, above, above))
        rows, columns = convolution.get_output_size(height, width)
        total = pixels[:, :rows, :columns, 0, 0].clone()
        for y in range(side):
            for z in range(side):
                if y or z:
                    total += pixels[:, y : y + rows, z : z + columns, y, z]
        return total.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():  # for a second derivative
            of_x = differentiate_input(x, weight, gradient, ctx.convolution) if needs_x else None
            return of_x, differentiate_weight(x, weight, gradient, ctx.convolution) if needs_weight else None, None
        batch, channels, height, width = x.shape
        out, _, side, _ = weight.shape
        above, left = (side - 1 - padding for padding in ctx.convolution.padding)
        windows = (
            F.pad(gradient, (left, left, above, above)).unfold(2, side, 1).unfold(3, side, 1)
        )  # B, out, H, W, k, k
        slopes = windows.flip(4, 5).permute(0, 2, 3, 4, 5, 1).reshape(batch * height * width, -1)
        of_x = of_weight = None
        if needs_x:
            of_x = (slopes @ _to_matrix(weight)).view(batch, height, width, channels).permute(0, 3, 1, 2)
        if needs_weight:
            matrix = (slopes.t() @ _to_rows(x)).view(side, side, out, channels)
            of_weight = torch.empty_like(weight).copy_(matrix.permute(2, 3, 0, 1))
        return of_x, of_weight, None


class _ConvolveThinTransposed(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        (batch, _, height, width), out = x.shape, weight.shape[1]
        matrix = weight.permute(2, 3, 1, 0).reshape(-1, len(weight))
        planes = (matrix @ _to_rows(x).t()).view(2, 2, 2, 2, out, batch, height, width)  # two axes of shift and parity
        # A plane has the values of a row of the kernel, 2 * shift + parity, for all pixels: sums of a few whole planes.
        total = planes.new_zeros(2, 2, out, batch, height + 1, width + 1)  # parities
        for y in range(2):
            for z in range(2):
                total[..., y : y + height, z : z + width] += planes[y, :, z]
        pixels = total.permute(3, 4, 0, 5, 1, 2).reshape(batch, 2 * height + 2, 2 * width + 2, out)
        return pixels[:, 1:-1, 1:-1].contiguous().permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors  # the library is fast in this direction
        of_x = F.conv2d(gradient, weight, None, _ADJOINT.stride, _ADJOINT.padding) if ctx.needs_input_grad[0] else None
        return of_x, differentiate_weight(gradient, weight, x, _ADJOINT) if ctx.needs_input_grad[1] else None


def _to_rows(maps: Tensor) -> Tensor:
    """Reshape (B, C, H, W) to (B * H * W, C)."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def _to_matrix(weight: Tensor) -> Tensor:
    """Reshape (out, in, k, k) to (k * k * out, in)."""
    return weight.permute(2, 3, 0, 1).reshape(-1, weight.shape[1])
