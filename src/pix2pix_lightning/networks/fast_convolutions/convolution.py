"""What a convolution computes, in cells, and the arrangement of its weight for that."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["Convolution", "Frame"]


class Frame(NamedTuple):
    """Where a map and its output lie among the cells of the tiles.

    Attributes:
        before: Zeros in front of the map, in rows and in columns.
        skipped: Pixels of the cells in front of the output, in rows and in columns.
        size: Rows and columns of the output.
    """

    before: tuple[int, int]
    skipped: tuple[int, int]
    size: tuple[int, int]


class Convolution(NamedTuple):
    """A convolution without bias.

    Attributes:
        side: Pixels along the kernel: 2 to 4 for a stride of 1, 4 for 2.
        stride: 1 or 2; 2 if it is transposed.
        padding: Zeros around the input, or pixels that a transposed convolution cuts off its output.
        is_transposed: Whether the weight is that of a transposed convolution, (in, out, 4, 4).
    """

    side: int
    stride: int
    padding: int
    is_transposed: bool

    @classmethod
    def of(cls, module: nn.Conv2d | nn.ConvTranspose2d) -> Convolution:
        """Describe a layer with zeros around its input, without groups and dilation, that is equal along both axes."""
        return cls(
            module.kernel_size[0], module.stride[0], int(module.padding[0]), isinstance(module, nn.ConvTranspose2d)
        )

    @property
    def kernel(self) -> int:
        """Cells along the kernel."""
        return self.side // self.stride

    @property
    def input_cell(self) -> int:
        """Pixels along the side of a cell of the input."""
        return 1 if self.is_transposed else self.stride

    @property
    def output_cell(self) -> int:
        """Pixels along the side of a cell of the output."""
        return self.stride if self.is_transposed else 1

    @property
    def tile(self) -> int:
        """Cells along a tile: a transposed convolution of 2**n pixels has 2**n + 1, which is often a multiple of 3."""
        return 3 if self.is_transposed else 4

    def get_frame(self, height: int, width: int) -> Frame:
        """Return where a map of a height and a width lies."""
        if self.is_transposed:
            before, skipped = self.kernel - 1, self.padding
            size = [(length - 1) * self.stride - 2 * self.padding + self.side for length in (height, width)]
        else:
            before, skipped = self.padding, 0
            size = [(length + 2 * self.padding - self.side) // self.stride + 1 for length in (height, width)]
        return Frame((before, before), (skipped, skipped), (size[0], size[1]))

    def count_tiles(self, frame: Frame) -> tuple[int, int]:
        """Return the rows and the columns of tiles that cover a frame."""
        length = self.tile * self.output_cell
        rows, columns = (-(-(skip + size) // length) for skip, size in zip(frame.skipped, frame.size, strict=True))
        return rows, columns

    def arrange(self, weight: Tensor) -> Tensor:
        """Arrange a weight by cells of the kernel.

        Args:
            weight: (out, in, side, side); (in, out, 4, 4) if transposed.

        Returns:
            (k * k, first, second): values of the output's and the input's cell, or the other way round if transposed.
        """
        first, second = weight.shape[:2]
        cells = weight.reshape(first, second, self.kernel, self.stride, self.kernel, self.stride)
        if self.is_transposed:
            cells = cells.flip(2, 4)  # the first of two cells of the output has the last of the kernel
        return cells.permute(2, 4, 0, 3, 5, 1).reshape(self.kernel**2, first, self.stride**2 * second)

    def restore(self, arranged: Tensor, like: Tensor) -> Tensor:
        """Undo `arrange`, in the shape and the layout of the weight ``like``."""
        first, second = like.shape[:2]
        cells = arranged.view(self.kernel, self.kernel, first, self.stride, self.stride, second)
        cells = cells.permute(2, 5, 0, 3, 1, 4)
        if self.is_transposed:
            cells = cells.flip(2, 4)
        return torch.empty_like(like).copy_(cells.reshape(like.shape))
