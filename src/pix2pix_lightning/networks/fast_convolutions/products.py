"""Convolutions of large weights on small maps, as matrix products.

The inner levels of the U-Net have 4 to 8 million weights each and maps of 1x1 to 16x16. There a CPU's convolution
spends its time on converting the weights, and their gradients, from one layout to another. Weights in channels last
are a matrix already, (out, 4 * 4 * in), and so are the gradients that a matrix product returns.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["convolve", "convolve_transposed"]

_SIDE, _STRIDE, _PADDING = 4, 2, 1
_FEW_ROWS = 64  # up to which the library is faster with them last


def convolve(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve maps (B, in, H, W) of even sides with a weight (out, in, 4, 4), by stride 2 and padding 1."""
    output: Tensor = _Conv.apply(x, weight)  # type: ignore[no-untyped-call]
    return output


def convolve_transposed(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve maps (B, in, H, W) with a transposed weight (in, out, 4, 4), by stride 2 and padding 1."""
    output: Tensor = _ConvTranspose.apply(x, weight)  # type: ignore[no-untyped-call]
    return output


class _Conv(torch.autograd.Function):
    """y = gather_patches(x) W^T with W (out, 4 * 4 * in)."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        output = _multiply_by_transposed(_gather_patches(x), _to_matrix(weight))
        return output.view(batch, height // _STRIDE, width // _STRIDE, -1).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        rows = _to_rows(gradient)
        grad_x = (
            _scatter_patches(rows @ _to_matrix(weight), gradient, weight.shape[1]) if ctx.needs_input_grad[0] else None
        )
        grad_weight = (
            _to_weight(_multiply_columns(rows, _gather_patches(x)), weight) if ctx.needs_input_grad[1] else None
        )
        return grad_x, grad_weight


class _ConvTranspose(torch.autograd.Function):
    """y = scatter_patches(x W) with W (in, 4 * 4 * out)."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return _scatter_patches(_to_rows(x) @ _to_matrix(weight), x, weight.shape[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        patches = _gather_patches(gradient)
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            rows = _multiply_by_transposed(patches, _to_matrix(weight))
            grad_x = rows.view(len(x), *x.shape[2:], -1).permute(0, 3, 1, 2)
        if ctx.needs_input_grad[1]:
            grad_weight = _to_weight(_multiply_columns(_to_rows(x), patches), weight)
        return grad_x, grad_weight


def _multiply_by_transposed(rows: Tensor, matrix: Tensor) -> Tensor:
    """Return ``rows @ matrix.t()``; with few rows as ``(matrix @ rows.t()).t()``, in two thirds of the time."""
    return rows @ matrix.t() if len(rows) > _FEW_ROWS else (matrix @ rows.t()).t().contiguous()


def _multiply_columns(rows: Tensor, others: Tensor) -> Tensor:
    """Return ``rows.t() @ others``; the library is slower where the first matrix is not contiguous."""
    return rows.t().contiguous() @ others


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
    return pixels[:, 1:-1, 1:-1].to(patches.dtype).contiguous().permute(0, 3, 1, 2)
