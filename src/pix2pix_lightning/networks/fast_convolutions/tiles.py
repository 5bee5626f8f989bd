"""Winograd's minimal filtering of tiles: what is multiplied in place of maps, and maps again from the products.

A kernel of ``k`` x ``k`` on a tile, ``m`` x ``m`` positions of the output, takes ``(m + k - 1)**2`` products for each
pair of channels instead of ``(m * k)**2`` (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv
1509.09308). The positions are cells, of one pixel or of 2x2: a 4x4 kernel of stride 2 is a 2x2 kernel of stride 1 on
cells of 2x2 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Tiles", "build_tiles"]

# Where polynomials are evaluated, and at infinity (the algorithm of Toom and Cook). Of the sets that were tried these
# round least: by 5e-7 to 5e-6 of the output in float32, where a plain convolution rounds by 2e-7 to 3e-7.
_POINTS = (0, 1, -1, 2, -1 / 2, 1 / 2)


class Tiles(NamedTuple):
    """The linear maps of a tile, each of both axes at once.

    Attributes:
        side: Cells m of the output along a tile.
        kernel: Cells k of the kernel along its side.
        inputs: From t * t cells of the input, t = m + k - 1, to what is multiplied: (t * t, t * t).
        weights: From the kernel to what is multiplied: (t * t, k * k).
        outputs: From the products to the cells of the output: (m * m, t * t).
    """

    side: int
    kernel: int
    inputs: Tensor
    weights: Tensor
    outputs: Tensor

    def gather(self, cells: Tensor) -> Tensor:
        """Gather the overlapping tiles of the input.

        Args:
            cells: (B, m * R + k - 1, p, m * C + k - 1, q): rows of cells, of p rows of pixels each, q values a cell.

        Returns:
            (t * t, B * R * C * p * q).
        """
        size = self.side + self.kernel - 1
        windows = cells.unfold(1, size, self.side).unfold(3, size, self.side)  # B, R, p, C, q, t, t
        return windows.permute(5, 6, 0, 1, 3, 2, 4).reshape(size**2, -1)

    def sum(self, tiles: Tensor, shape: Sequence[int]) -> Tensor:
        """Sum overlapping tiles to cells; the adjoint of `gather`.

        Args:
            tiles: (t * t, B * R * C * p * q).
            shape: B, R, p, C and q.

        Returns:
            (B, m * R + k - 1, p, m * C + k - 1, q), a view.
        """
        batch, rows, height, columns, values = shape
        side, over = self.side, self.kernel - 1
        cells = tiles.new_empty(batch, side * (rows + 1), height, side * (columns + 1), values)
        blocks = self._divide(cells)
        blocks[:, -1, :over] = 0
        blocks[:, :-1, :, :, -1, :over] = 0
        parts = tiles.view(side + over, side + over, batch, rows, columns, height, values).permute(2, 3, 0, 5, 4, 1, 6)
        blocks[:, :-1, :, :, :-1] = parts[:, :, :side, :, :, :side]
        blocks[:, 1:, :over, :, :-1] += parts[:, :, side:, :, :, :side]
        blocks[:, :-1, :, :, 1:, :over] += parts[:, :, :side, :, :, side:]
        blocks[:, 1:, :over, :, 1:, :over] += parts[:, :, side:, :, :, side:]
        return cells[:, : side * rows + over, :, : side * columns + over]

    def split(self, cells: Tensor) -> Tensor:
        """Split cells of the output, (B, m * R, p, m * C, q), into tiles, (m * m, B * R * C * p * q)."""
        return self._divide(cells).permute(2, 5, 0, 1, 4, 3, 6).reshape(self.side**2, -1)

    def join(self, tiles: Tensor, cells: Tensor) -> None:
        """Write tiles, (m * m, B * R * C * p * q), into cells of the output, (B, m * R, p, m * C, q)."""
        blocks = self._divide(cells)
        batch, rows, side, height, columns, _, values = blocks.shape
        blocks.copy_(tiles.view(side, side, batch, rows, columns, height, values).permute(2, 3, 0, 5, 4, 1, 6))

    def _divide(self, cells: Tensor) -> Tensor:
        """View cells (B, m * R, p, m * C, q) as blocks (B, R, m, p, C, m, q)."""
        batch, rows, height, columns, values = cells.shape
        return cells.view(batch, rows // self.side, self.side, height, columns // self.side, self.side, values)


@cache
def build_tiles(side: int, kernel: int, dtype: torch.dtype) -> Tiles:
    """Build the maps of tiles.

    Args:
        side: Cells of the output along a tile; ``side + kernel`` is at most 8.
        kernel: Cells of the kernel along its side, at most ``side + 1``.
        dtype: Type of the matrices.

    Returns:
        The maps, which are shared: they are not to be written to.
    """
    size = side + kernel - 1
    points = torch.tensor(_POINTS[: size - 1], dtype=torch.float64)

    def evaluate(coefficients: int) -> Tensor:
        at_infinity = torch.zeros(1, coefficients, dtype=torch.float64)
        at_infinity[0, -1] = 1
        return torch.cat([points[:, None] ** torch.arange(coefficients), at_infinity])

    # The output is a correlation, the transpose of a product of polynomials: inputs are transformed by the transpose of
    # the interpolation, and products by the transpose of an evaluation.
    axes = torch.linalg.inv(evaluate(size)).t(), evaluate(kernel), evaluate(side).t()
    return Tiles(side, kernel, *(torch.kron(axis, axis).to(dtype) for axis in axes))
