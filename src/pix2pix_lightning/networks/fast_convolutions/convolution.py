"""What a convolution computes, in cells, and the arrangement of its weight for that."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["Convolution"]


class Convolution(NamedTuple):
    """A convolution without bias, with zeros around its input; or the transposed one, which is its adjoint.

    The adjoint maps what has the shape of the output to what has the shape of the input, as the gradient does, by the
    same weight: (out, in, side, side), where ``out`` are the channels that a transposed layer takes.

    Attributes:
        side: Pixels along the kernel: 2 to 4 for a stride of 1, 4 for 2.
        stride: Pixels of the input between positions of the output, 1 or 2; and along the side of a cell.
        padding: Zeros above and below the input, and at its left and right, in pixels.
    """

    side: int
    stride: int
    padding: tuple[int, int]

    @classmethod
    def of(cls, module: nn.Conv2d | nn.ConvTranspose2d) -> Convolution:
        """Describe a layer of a square kernel without groups and dilation; a transposed one by its adjoint."""
        padding = module.padding
        assert not isinstance(padding, str)
        return cls(module.kernel_size[0], module.stride[0], (padding[0], padding[1]))

    @property
    def kernel(self) -> int:
        """Cells along the kernel."""
        return self.side // self.stride

    def get_output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width of the output for an input of a height and width."""
        lengths = zip((height, width), self.padding, strict=True)
        height, width = ((length + 2 * padding - self.side) // self.stride + 1 for length, padding in lengths)
        return height, width

    def get_input_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the smallest height and width of an input for an output of a height and width."""
        lengths = zip((height, width), self.padding, strict=True)
        height, width = ((length - 1) * self.stride - 2 * padding + self.side for length, padding in lengths)
        return height, width

    def arrange(self, weight: Tensor) -> Tensor:
        """Arrange a weight (out, in, side, side) by cells of the kernel: (k * k, out, values of an input's cell)."""
        outputs, inputs = weight.shape[:2]
        cells = weight.reshape(outputs, inputs, self.kernel, self.stride, self.kernel, self.stride)
        return cells.permute(2, 4, 0, 3, 5, 1).reshape(self.kernel**2, outputs, self.stride**2 * inputs)

    def restore(self, arranged: Tensor, like: Tensor) -> Tensor:
        """Undo `arrange`, in the shape and the layout of the weight ``like``."""
        outputs, inputs = like.shape[:2]
        cells = arranged.view(self.kernel, self.kernel, outputs, self.stride, self.stride, inputs)
        weight = torch.empty_like(like)
        shape = outputs, self.kernel, self.stride, self.kernel, self.stride, inputs
        weight.permute(0, 2, 3, 1).view(shape).copy_(cells.permute(2, 0, 3, 1, 4, 5))
        return weight
