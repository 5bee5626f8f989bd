"""Convolutions as operations on blocks of rows."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from pix2pix_lightning.inference.layerwise.operations import Operation, Rows
from pix2pix_lightning.networks.fast_convolutions.layers import FastConv2d, FastConvTranspose2d, is_small


class Convolution(Operation):
    """A convolution, with zeros or with other pixels around the map.

    Args:
        module: The layer.
    """

    is_pointwise = False

    def __init__(self, module: nn.Conv2d) -> None:
        self.module = module
        self.weight, self.bias = module.weight.detach(), module.bias
        self.kernel = tuple(
            dilation * (side - 1) + 1 for dilation, side in zip(module.dilation, module.kernel_size, strict=True)
        )
        self.padding = (int(module.padding[0]), int(module.padding[1]))
        self.cost = self.weight[0].numel()

    def get_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width of the output."""
        sizes = zip((height, width), self.padding, self.kernel, self.module.stride, strict=True)
        height, width = ((side + 2 * padding - kernel) // stride + 1 for side, padding, kernel, stride in sizes)
        return height, width

    def find_rows(self, rows: Rows, height: int) -> Rows:
        """Find the rows below the kernel."""
        return self._reach(rows).clip(height)

    def _reach(self, rows: Rows) -> Rows:
        stride, padding = self.module.stride[0], self.padding[0]
        return Rows(rows.start * stride - padding, (rows.stop - 1) * stride - padding + self.kernel[0])

    def __call__(self, maps: Sequence[Tensor], have: Rows, rows: Rows, height: int, *, can_write: bool) -> Tensor:
        """Convolve."""
        if have == (0, height) and rows == (0, self.get_size(height, 1)[0]):
            output: Tensor = self.module.forward(maps[0])  # which may know a faster way for small maps
            return output
        wanted = self._reach(rows)
        above, below = have.start - wanted.start, wanted.stop - have.stop
        if isinstance(self.module, FastConv2d) and self.module.stride == (2, 2) and is_small(self.module, maps[0]):
            # it has zeros around what it is given: rows that they reach are added, and cut off
            padded = F.pad(maps[0], (0, 0, 1 - above, 1 - below))
            return self.module.forward(padded)[:, :, 1 - above :][:, :, : rows.stop - rows.start]
        both = min(above, below)
        padded = F.pad(maps[0], (0, 0, above - both, below - both)) if above != below else maps[0]
        if isinstance(self.module, FastConv2d):
            fast = self.module.convolve_by_kept(padded, (both, self.padding[1]))
            if fast is not None:
                return fast
        return F.conv2d(
            padded,
            self.weight,
            self.bias,
            self.module.stride,
            (both, self.padding[1]),
            self.module.dilation,
            self.module.groups,
        )


class TransposedConvolution(Operation):
    """A transposed convolution.

    Args:
        module: The layer.
        weight: Its kernel, (in, out, h, w).
        stride: Rows and columns of the output between pixels of the input.
        padding: Rows and columns that are cropped from each edge of the output.
        output_padding: Rows and columns of these that are not cropped at the lower and the right edge, at most as many.
    """

    is_pointwise = False

    def __init__(
        self,
        module: nn.Conv2d | nn.ConvTranspose2d,
        weight: Tensor,
        *,
        stride: tuple[int, ...],
        padding: tuple[int, ...],
        output_padding: tuple[int, ...],
    ) -> None:
        self.module, self.weight, self.bias = module, weight.detach(), module.bias
        self.stride, self.padding, self.output_padding = stride, padding, output_padding
        dilation = module.dilation if isinstance(module, nn.ConvTranspose2d) else (1, 1)
        self.dilation = dilation
        self.kernel = tuple(step * (side - 1) + 1 for step, side in zip(dilation, weight.shape[2:], strict=True))
        self.cost = weight.shape[0] * weight[0, 0].numel() // (stride[0] * stride[1])

    def get_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width of the output."""
        settings = zip((height, width), self.stride, self.padding, self.kernel, self.output_padding, strict=True)
        height, width = (
            (side - 1) * stride - 2 * padding + kernel + more for side, stride, padding, kernel, more in settings
        )
        return height, width

    def find_rows(self, rows: Rows, height: int) -> Rows:
        """Find the rows whose kernels reach the output's."""
        stride, padding = self.stride[0], self.padding[0]
        first = -(-(rows.start + padding - self.kernel[0] + 1) // stride)
        return Rows(first, (rows.stop - 1 + padding) // stride + 1).clip(height)

    def __call__(self, maps: Sequence[Tensor], have: Rows, rows: Rows, height: int, *, can_write: bool) -> Tensor:
        """Convolve."""
        if have == (0, height) and rows == (0, self.get_size(height, 1)[0]):
            output: Tensor = self.module.forward(maps[0])  # which may know a faster way for small maps
            return output
        stride, kernel = self.stride[0], self.kernel[0]
        if isinstance(self.module, FastConvTranspose2d) and (fast := self.module.convolve_faster(maps[0])) is not None:
            return fast[:, :, rows.start - 2 * have.start :][:, :, : rows.stop - rows.start]
        start = have.start * stride - self.padding[0]  # the first row that the kernels reach
        stop = start + (have.stop - have.start - 1) * stride + kernel
        above, below = rows.start - start, stop - rows.stop
        both = min(above, below)
        output = F.conv_transpose2d(
            maps[0],
            self.weight,
            self.bias,
            self.stride,
            (both, self.padding[1]),
            (0, self.output_padding[1]),
            self.module.groups,
            self.dilation,
        )
        return output[:, :, above - both : above - both + rows.stop - rows.start]
