"""Convolutions by Winograd's minimal filtering, and their gradients: fewer products, with sums before and after.

A transposed convolution is the adjoint of a convolution, and is computed as the gradient of one is. Maps are computed
in groups, so that what is multiplied stays in the cache. Rounding is up to ten times that of a plain convolution in
float32, far below that of bfloat16. A value that is not finite spreads within its tiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn import grad as gradients

from pix2pix_lightning.networks.fast_convolutions.convolution import Convolution
from pix2pix_lightning.networks.fast_convolutions.tiles import build_tiles

__all__ = [
    "convolve",
    "convolve_transformed",
    "convolve_transposed",
    "count_tiles",
    "differentiate_input",
    "differentiate_weight",
    "transform_weight",
    "transpose_transformed",
]

_SIDE = 4  # cells along a tile of the output
_BLOCK = 2**15  # values of a weight that are transformed at once, which stay in the cache
_GROUP = 256  # tiles: enough to read much less of the kernels than of the maps, and few enough for the cache


def convolve(x: Tensor, weight: Tensor, convolution: Convolution) -> Tensor:
    """Convolve maps. Gradients are computed in tiles too, and second derivatives by torch's convolutions.

    Args:
        x: (B, in, H, W), float32 or float64.
        weight: Weight of the layer, (out, in, k, k) of the same type.
        convolution: What is computed.

    Returns:
        (B, out, H', W'), channels last.
    """
    output, _ = _Convolve.apply(x, weight, convolution)  # type: ignore[no-untyped-call]
    return output  # type: ignore[no-any-return]


def convolve_transposed(x: Tensor, weight: Tensor, convolution: Convolution) -> Tensor:
    """Convolve maps with a transposed weight, as `convolve` does otherwise.

    Args:
        x: (B, in, H, W), float32 or float64.
        weight: Weight of the layer, (in, out, k, k) of the same type.
        convolution: The adjoint of what is computed.

    Returns:
        (B, out, H', W'), channels last.
    """
    output, _ = _ConvolveTransposed.apply(x, weight, convolution)  # type: ignore[no-untyped-call]
    return output  # type: ignore[no-any-return]


def count_tiles(height: int, width: int) -> int:
    """Return how many tiles cover an output, or the input of a transposed convolution, of a height and a width."""
    rows, columns = _divide(height, width)
    return rows * columns


def transform_weight(weight: Tensor, convolution: Convolution, *, outputs_last: bool = False) -> Tensor:
    """Transform a weight (out, in, k, k) to what is multiplied, (t * t, out, values of a cell of the input).

    Args:
        weight: The weight.
        convolution: What is computed by it.
        outputs_last: Whether the memory of the result has the outputs last.

    Returns:
        The transformed weight.
    """
    arranged = convolution.arrange(weight)
    if outputs_last:
        arranged = arranged.transpose(1, 2).contiguous()
    tiles = build_tiles(_SIDE, convolution.kernel, weight.dtype)
    kernels = arranged.new_empty(len(tiles.weights), *arranged.shape[1:])
    columns, results = arranged.flatten(1), kernels.flatten(1)
    for first in range(0, columns.shape[1], _BLOCK):
        results[:, first : first + _BLOCK] = tiles.weights @ columns[:, first : first + _BLOCK]
    return kernels.transpose(1, 2) if outputs_last else kernels


def convolve_transformed(x: Tensor, kernels: Tensor, convolution: Convolution) -> Tensor:
    """Convolve maps, without gradients.

    Args:
        x: (B, in, H, W).
        kernels: `transform_weight` of the weight.
        convolution: What is computed.

    Returns:
        (B, out, H', W'), channels last.
    """
    grid = _Grid(convolution, x.shape[2:], x.dtype)
    maps = x.permute(0, 2, 3, 1)
    output = maps.new_empty(len(maps), *grid.output_size, kernels.shape[1])
    for part in grid.split(len(maps)):
        grid.write(torch.bmm(grid.transform_input(maps, part), kernels.transpose(1, 2)), part, output)
    return output.permute(0, 3, 1, 2)


def transpose_transformed(x: Tensor, kernels: Tensor, convolution: Convolution) -> Tensor:
    """Convolve maps with a transposed weight, without gradients.

    Args:
        x: (B, in, H, W).
        kernels: `transform_weight` of the weight (in, out, k, k).
        convolution: The adjoint of what is computed.

    Returns:
        (B, out, H', W'), channels last.
    """
    size = convolution.get_input_size(*x.shape[2:])
    grid = _Grid(convolution, size, x.dtype)
    maps = x.permute(0, 2, 3, 1)
    output = maps.new_empty(len(maps), *size, kernels.shape[2] // convolution.stride**2)
    for part in grid.split(len(maps)):
        grid.add(torch.bmm(grid.transform_output(maps, part), kernels), part, output)
    return output.permute(0, 3, 1, 2)


class _Convolve(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, convolution: Convolution) -> tuple[Tensor, Tensor]:
        kernels = transform_weight(weight, convolution)
        return convolve_transformed(x, kernels, convolution), kernels

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, weight, ctx.convolution = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight, output[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, _: Any) -> tuple[Tensor | None, Tensor | None, None]:
        if gradient is None:
            return None, None, None
        x, weight, kernels = ctx.saved_tensors
        needs_x, needs_weight = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():  # for a second derivative
            of_x = differentiate_input(x, weight, gradient, ctx.convolution) if needs_x else None
            return of_x, differentiate_weight(x, weight, gradient, ctx.convolution) if needs_weight else None, None
        grid = _Grid(ctx.convolution, x.shape[2:], x.dtype)
        maps, slopes = x.permute(0, 2, 3, 1), gradient.permute(0, 2, 3, 1)
        of_x = maps.new_empty(maps.shape) if needs_x else None
        of_kernels = None
        for part in grid.split(len(maps)):
            products = grid.transform_output(slopes, part)
            if needs_weight:
                of_kernels = _add_products(of_kernels, products, grid.transform_input(maps, part))
            if of_x is not None:
                grid.add(torch.bmm(products, kernels), part, of_x)
        of_x = None if of_x is None else of_x.permute(0, 3, 1, 2)
        return of_x, None if of_kernels is None else grid.restore_weight(of_kernels, weight), None


class _ConvolveTransposed(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, convolution: Convolution) -> tuple[Tensor, Tensor]:
        kernels = transform_weight(weight, convolution)
        return transpose_transformed(x, kernels, convolution), kernels

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        _Convolve.setup_context(ctx, inputs, output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, _: Any) -> tuple[Tensor | None, Tensor | None, None]:
        if gradient is None:
            return None, None, None
        x, weight, kernels = ctx.saved_tensors
        needs_x, needs_weight = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():  # for a second derivative
            _, stride, padding = ctx.convolution
            of_x = F.conv2d(gradient, weight, None, stride, padding) if needs_x else None
            return of_x, differentiate_weight(gradient, weight, x, ctx.convolution) if needs_weight else None, None
        grid = _Grid(ctx.convolution, gradient.shape[2:], x.dtype)
        maps, slopes = x.permute(0, 2, 3, 1), gradient.permute(0, 2, 3, 1)
        of_x = maps.new_empty(maps.shape) if needs_x else None
        of_kernels = None
        for part in grid.split(len(maps)):
            products = grid.transform_input(slopes, part)
            if needs_weight:
                of_kernels = _add_products(of_kernels, grid.transform_output(maps, part), products)
            if of_x is not None:
                grid.write(torch.bmm(products, kernels.transpose(1, 2)), part, of_x)
        of_x = None if of_x is None else of_x.permute(0, 3, 1, 2)
        return of_x, None if of_kernels is None else grid.restore_weight(of_kernels, weight), None


def differentiate_input(x: Tensor, weight: Tensor, gradient: Tensor, convolution: Convolution) -> Tensor:
    """Compute the gradient of a convolution with respect to its input by torch, so that it can be differentiated.

    Args:
        x: Input, (B, in, H, W).
        weight: Weight of the layer.
        gradient: Gradient of the output, (B, out, H', W').
        convolution: What is computed.

    Returns:
        (B, in, H, W).
    """
    of_x: Tensor = gradients.conv2d_input(  # type: ignore[no-untyped-call]
        x.shape, weight, gradient, convolution.stride, convolution.padding
    )
    return of_x


def differentiate_weight(x: Tensor, weight: Tensor, gradient: Tensor, convolution: Convolution) -> Tensor:
    """Compute the gradient of a convolution with respect to its weight by torch, so that it can be differentiated.

    Args:
        x: Input, (B, in, H, W).
        weight: Weight of the layer.
        gradient: Gradient of the output, (B, out, H', W').
        convolution: What is computed.

    Returns:
        A tensor of the shape of ``weight``.
    """
    of_weight: Tensor = gradients.conv2d_weight(  # type: ignore[no-untyped-call]
        x, weight.shape, gradient, convolution.stride, convolution.padding
    )
    return of_weight


class _Part(NamedTuple):
    """Images of a batch, and rows of their tiles; the rows of an image follow each other."""

    images: slice
    rows: slice


class _Grid:
    """The tiles of a map.

    Args:
        convolution: What is computed.
        size: Height and width of the input.
        dtype: Type of the maps.

    Attributes:
        output_size: Height and width of the output.
    """

    def __init__(self, convolution: Convolution, size: tuple[int, ...], dtype: torch.dtype) -> None:
        self.convolution = convolution
        self.tiles = build_tiles(_SIDE, convolution.kernel, dtype)
        self.output_size = convolution.get_output_size(*size)
        self.rows, self.columns = _divide(*self.output_size)
        self._carried: Tensor | None = None

    def split(self, batch: int) -> Iterator[_Part]:
        """Yield groups of tiles."""
        images, rows = max(1, _GROUP // (self.rows * self.columns)), max(1, _GROUP // self.columns)
        for first in range(0, batch, images):
            for row in range(0, self.rows, rows):
                yield _Part(slice(first, first + images), slice(row, min(row + rows, self.rows)))

    def transform_input(self, maps: Tensor, part: _Part) -> Tensor:
        """Transform maps (B, H, W, in) to what is multiplied: (t * t, number of tiles, values of a cell)."""
        cell = self.convolution.stride
        cells = self._place(maps[part.images], part.rows, self.tiles.kernel - 1, cell, self.convolution.padding)
        factors = self.tiles.inputs @ self.tiles.gather(cells)
        return factors.view(len(factors), -1, cell**2 * maps.shape[3])

    def transform_output(self, maps: Tensor, part: _Part) -> Tensor:
        """Transform maps like the output, (B, H', W', out), to what is multiplied: (t * t, number of tiles, out)."""
        factors = self.tiles.outputs.t() @ self.tiles.split(self._place(maps[part.images], part.rows))
        return factors.view(len(factors), -1, maps.shape[3])

    def write(self, products: Tensor, part: _Part, output: Tensor) -> None:
        """Write what products (t * t, number of tiles, out) are of the output (B, H', W', out)."""
        side = self.tiles.side
        band = output[part.images, side * part.rows.start : side * part.rows.stop]
        rows, columns = side * (part.rows.stop - part.rows.start), side * self.columns
        is_whole = band.shape[1:3] == (rows, columns)
        cells = band if is_whole else band.new_empty(len(band), rows, columns, band.shape[3])
        self.tiles.join(self.tiles.outputs @ products.flatten(1), cells.unsqueeze(2))
        if not is_whole:
            band.copy_(cells[:, : band.shape[1], : band.shape[2]])

    def add(self, products: Tensor, part: _Part, maps: Tensor) -> None:
        """Write what products (t * t, number of tiles, values of a cell) are of maps like the input, (B, H, W, in).

        The parts are those of `split`, in their order.
        """
        cell, (above, left) = self.convolution.stride, self.convolution.padding
        side, over = self.tiles.side, self.tiles.kernel - 1
        band, rows, channels = maps[part.images], part.rows.stop - part.rows.start, maps.shape[3]
        shape = len(band), rows, cell, self.columns, cell * channels
        cells = self.tiles.sum(self.tiles.inputs.t() @ products.flatten(1), shape)
        if part.rows.start:
            assert self._carried is not None
            cells[:, :over] += self._carried
        self._carried = cells[:, side * rows :]
        first = cell * side * part.rows.start - above  # row of the maps where the cells begin
        is_last = part.rows.stop == self.rows
        start, stop = max(0, first), maps.shape[1] if is_last else first + cell * side * rows
        pixels = cells.view(len(band), -1, cells.shape[3] * cell, channels)
        pixels = pixels[:, start - first : stop - first, left : left + maps.shape[2]]
        band[:, start : start + pixels.shape[1], : pixels.shape[2]] = pixels
        band[:, start + pixels.shape[1] : stop] = 0  # no tile has them
        band[:, start:stop, pixels.shape[2] :] = 0

    def restore_weight(self, of_kernels: Tensor, weight: Tensor) -> Tensor:
        """Return the gradient of a weight from that of what it was transformed to."""
        return self.convolution.restore(self.tiles.weights.t() @ of_kernels.flatten(1), weight)

    def _place(
        self, maps: Tensor, rows: slice, over: int = 0, cell: int = 1, padding: tuple[int, int] = (0, 0)
    ) -> Tensor:
        """Place maps (B, H, W, C) among zeros, as cells of some rows of tiles: (B, rows, cell, columns, cell * C)."""
        start = cell * self.tiles.side * rows.start - padding[0]
        stop = cell * (self.tiles.side * rows.stop + over) - padding[0]
        width = cell * (self.tiles.side * self.columns + over)
        placed = maps[:, max(0, start) : stop]
        if placed.shape[1:3] != (stop - start, width) or padding[1]:
            inner, placed = placed, maps.new_zeros(len(maps), stop - start, width, maps.shape[3])
            window = placed[:, max(0, -start) :, padding[1] :][:, : inner.shape[1], : inner.shape[2]]
            window.copy_(inner[:, :, : window.shape[2]])  # no tile may need the last columns
        return placed.reshape(len(maps), (stop - start) // cell, cell, width // cell, -1)


def _divide(height: int, width: int) -> tuple[int, int]:
    """Return the rows and the columns of tiles that cover an output of a height and a width."""
    return -(-height // _SIDE), -(-width // _SIDE)


def _add_products(total: Tensor | None, outputs: Tensor, inputs: Tensor) -> Tensor:
    """Add the products of the transformed output's gradient and input, (t * t, out, values of a cell), in place."""
    rows = outputs.transpose(1, 2)
    return torch.bmm(rows, inputs) if total is None else total.baddbmm_(rows, inputs)
