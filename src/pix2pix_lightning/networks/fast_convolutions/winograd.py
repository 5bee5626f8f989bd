"""Convolutions by Winograd's minimal filtering, and their gradients: fewer products, with sums before and after.

Maps are computed in groups, so that what is multiplied stays in the cache. Rounding is up to ten times that of a plain
convolution in float32, far below that of bfloat16. A value that is not finite spreads within its tiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn import grad as gradients

from pix2pix_lightning.networks.fast_convolutions.convolution import Convolution, Frame
from pix2pix_lightning.networks.fast_convolutions.tiles import build_tiles

__all__ = ["convolve", "convolve_transformed", "transform_weight"]

_GROUP = 256  # tiles: enough to read much less of the kernels than of the maps, and few enough for the cache


def convolve(x: Tensor, weight: Tensor, convolution: Convolution) -> Tensor:
    """Convolve maps. Gradients are computed in tiles too, and second derivatives by torch's convolutions.

    Args:
        x: (B, in, H, W), float32 or float64.
        weight: Weight of the layer, of the same type.
        convolution: What is computed.

    Returns:
        (B, out, H', W'), channels last.
    """
    output, _ = _Convolve.apply(x, weight, convolution)  # type: ignore[no-untyped-call]
    return output  # type: ignore[no-any-return]


def transform_weight(weight: Tensor, convolution: Convolution) -> Tensor:
    """Transform a weight to what is multiplied, (t * t, in, out), values of a cell of the input and of the output."""
    arranged = convolution.arrange(weight)
    tiles = build_tiles(convolution.tile, convolution.kernel, weight.dtype)
    kernels = (tiles.weights @ arranged.flatten(1)).view(-1, *arranged.shape[1:])
    return kernels if convolution.is_transposed else kernels.transpose(1, 2)


def convolve_transformed(x: Tensor, kernels: Tensor, convolution: Convolution, frame: Frame) -> Tensor:
    """Convolve maps, without gradients.

    Args:
        x: (B, in, H, W).
        kernels: `transform_weight` of the weight.
        convolution: What is computed.
        frame: Where ``x`` and the output lie.

    Returns:
        (B, out, *frame.size), channels last.
    """
    grid = _Grid(convolution, frame, kernels)
    maps = x.permute(0, 2, 3, 1)
    output = maps.new_empty(len(maps), *frame.size, kernels.shape[2] // convolution.output_cell**2)
    for images in grid.split_images(len(maps)):
        cells = grid.place_input(maps[images])
        wide = grid.open_output(output[images])
        for rows in grid.split_rows():
            products = torch.bmm(grid.transform_input(cells, rows), kernels)
            grid.tiles.join(grid.tiles.outputs @ products.flatten(1), grid.get_rows(wide, rows))
        if wide.data_ptr() != output[images].data_ptr():
            output[images] = _cut(wide, frame.skipped, frame.size)
    return output.permute(0, 3, 1, 2)


class _Convolve(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, convolution: Convolution) -> tuple[Tensor, Tensor]:
        kernels = transform_weight(weight, convolution)
        return convolve_transformed(x, kernels, convolution, convolution.get_frame(*x.shape[2:])), kernels

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
        grid = _Grid(ctx.convolution, ctx.convolution.get_frame(*x.shape[2:]), kernels)
        of_x, of_kernels = grid.compute_gradients(x, gradient, kernels, needs_x=needs_x, needs_weight=needs_weight)
        if of_kernels is None:
            return of_x, None, None
        return of_x, ctx.convolution.restore(grid.tiles.weights.t() @ of_kernels.flatten(1), weight), None


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
    if convolution.is_transposed:
        return F.conv2d(gradient, weight, None, convolution.stride, convolution.padding)
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
    first, second = (gradient, x) if convolution.is_transposed else (x, gradient)
    of_weight: Tensor = gradients.conv2d_weight(  # type: ignore[no-untyped-call]
        first, weight.shape, second, convolution.stride, convolution.padding
    )
    return of_weight


class _Grid:
    """The tiles of a map.

    Args:
        convolution: What is computed.
        frame: Where the map lies.
        kernels: Transformed weight, (t * t, in, out).
    """

    def __init__(self, convolution: Convolution, frame: Frame, kernels: Tensor) -> None:
        self.convolution, self.frame = convolution, frame
        self.tiles = build_tiles(convolution.tile, convolution.kernel, kernels.dtype)
        self.rows, self.columns = convolution.count_tiles(frame)
        self.inputs, self.outputs = kernels.shape[1:]

    def split_images(self, batch: int) -> Iterator[slice]:
        """Yield the images of each group."""
        images = max(1, _GROUP // (self.rows * self.columns))
        yield from (slice(first, first + images) for first in range(0, batch, images))

    def split_rows(self) -> Iterator[slice]:
        """Yield the rows of tiles of each part of a group."""
        rows = max(1, _GROUP // self.columns)
        yield from (slice(first, min(first + rows, self.rows)) for first in range(0, self.rows, rows))

    def place_input(self, maps: Tensor) -> Tensor:
        """Place maps (B, H, W, in) among zeros, as the cells of the tiles."""
        over = self.tiles.kernel - 1
        return self._place(maps, over, self.frame.before, self.convolution.input_cell)

    def place_output(self, maps: Tensor) -> Tensor:
        """Place maps like the output, (B, H', W', out), among zeros, as the cells of the tiles."""
        return self._place(maps, 0, self.frame.skipped, self.convolution.output_cell)

    def _place(self, maps: Tensor, over: int, before: tuple[int, int], cell: int) -> Tensor:
        rows, columns = (self.tiles.side * tiles + over for tiles in (self.rows, self.columns))
        placed = maps.new_zeros(len(maps), rows * cell, columns * cell, maps.shape[3])
        window = placed[:, before[0] :, before[1] :][:, : maps.shape[1], : maps.shape[2]]
        window.copy_(maps[:, : window.shape[1], : window.shape[2]])  # no tile may need the last rows and columns
        return placed.view(len(maps), rows, cell, columns, -1)

    def open_output(self, output: Tensor) -> Tensor:
        """Return the cells of the tiles to write to; those of the output (B, H', W', out) itself where they fit."""
        cell = self.convolution.output_cell
        rows, columns = self.tiles.side * self.rows, self.tiles.side * self.columns
        if output.shape[1:3] != (rows * cell, columns * cell):
            output = output.new_empty(len(output), rows * cell, columns * cell, output.shape[3])
        return output.view(len(output), rows, cell, columns, -1)

    def get_rows(self, cells: Tensor, rows: slice, over: int = 0) -> Tensor:
        """Return the cells of some rows of tiles, and ``over`` rows of cells more."""
        return cells[:, self.tiles.side * rows.start : self.tiles.side * rows.stop + over]

    def transform_input(self, cells: Tensor, rows: slice) -> Tensor:
        """Return what is multiplied for some rows of tiles: (t * t, number of tiles, in)."""
        gathered = self.tiles.gather(self.get_rows(cells, rows, self.tiles.kernel - 1))
        return (self.tiles.inputs @ gathered).view(len(self.tiles.inputs), -1, self.inputs)

    def compute_gradients(
        self, x: Tensor, gradient: Tensor, kernels: Tensor, *, needs_x: bool, needs_weight: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        """Compute the gradients with respect to the input and to what is multiplied with it.

        Args:
            x: (B, in, H, W).
            gradient: Gradient of the output, (B, out, H', W').
            kernels: Transformed weight.
            needs_x: Whether the first is needed.
            needs_weight: Whether the second is needed.

        Returns:
            (B, in, H, W), and (t * t, out, in), or (t * t, in, out) if transposed.
        """
        tiles, cell = self.tiles, self.convolution.input_cell
        maps, slopes = x.permute(0, 2, 3, 1), gradient.permute(0, 2, 3, 1)
        of_maps = maps.new_empty(maps.shape) if needs_x else None
        of_kernels: Tensor | None = None
        for images in self.split_images(len(maps)):
            placed = self.place_output(slopes[images])
            cells = self.place_input(maps[images]) if needs_weight else None
            summed = None if of_maps is None else self._place(maps[images][:, :0], tiles.side, (0, 0), cell)
            for rows in self.split_rows():
                split = tiles.split(self.get_rows(placed, rows))
                products = (tiles.outputs.t() @ split).view(len(kernels), -1, self.outputs)
                if cells is not None:
                    pair = self.transform_input(cells, rows), products
                    first, second = pair if self.convolution.is_transposed else pair[::-1]
                    if of_kernels is None:
                        of_kernels = torch.bmm(first.transpose(1, 2), second)
                    else:
                        of_kernels.baddbmm_(first.transpose(1, 2), second)
                if summed is not None:
                    factors = torch.bmm(products, kernels.transpose(1, 2))
                    tiles.add(tiles.inputs.t() @ factors.flatten(1), self.get_rows(summed, rows, tiles.side))
            if of_maps is not None and summed is not None:
                of_maps[images] = _cut(summed, self.frame.before, maps.shape[1:3])
        return None if of_maps is None else of_maps.permute(0, 3, 1, 2), of_kernels


def _cut(cells: Tensor, before: tuple[int, int], size: tuple[int, ...]) -> Tensor:
    """Return a window of cells (B, rows, p, columns, q) as maps (B, *size, q / p); rows that no tile has are zero."""
    batch, rows, cell, columns, values = cells.shape
    pixels = cells.view(batch, rows * cell, columns * cell, values // cell)
    window = pixels[:, before[0] :, before[1] :][:, : size[0], : size[1]]
    return F.pad(window, (0, 0, 0, size[1] - window.shape[2], 0, size[0] - window.shape[1]))
