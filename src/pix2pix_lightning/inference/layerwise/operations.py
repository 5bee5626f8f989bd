"""The layers of a network as operations on blocks of rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pix2pix_lightning.networks import Statistics
from pix2pix_lightning.networks.eval_mode import drop, normalize_by


class Rows(NamedTuple):
    """Rows ``start`` to ``stop`` of a map, ``stop`` exclusive."""

    start: int
    stop: int

    def clip(self, height: int) -> Rows:
        """Return the part of the rows that a map of ``height`` has."""
        return Rows(max(self.start, 0), min(self.stop, height))


class Operation(ABC):
    """A layer as a function from rows of its inputs to rows of its output: by default of each pixel on its own.

    Attributes:
        is_pointwise: Whether a pixel of the output depends on the same pixel of the inputs alone.
        cost: Products for each value of the output.
    """

    is_pointwise = True
    cost = 0

    def get_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width of the output for inputs of a height and width."""
        return height, width

    def find_rows(self, rows: Rows, height: int) -> Rows:
        """Find which rows of inputs of a height are needed for ``rows`` of the output."""
        return rows

    @abstractmethod
    def __call__(self, maps: Sequence[Tensor], have: Rows, rows: Rows, height: int, *, can_write: bool) -> Tensor:
        """Compute rows of the output.

        Args:
            maps: Of each input the rows ``have``, (1, C, h, W).
            have: What ``find_rows`` has returned for ``rows``.
            rows: Rows of the output to compute.
            height: Height of the inputs.
            can_write: Whether the first of ``maps`` may become the output.

        Returns:
            (1, C', h', W').
        """


class Pointwise(Operation):
    """A function of pixels.

    Args:
        function: Function of the inputs, (1, C, h, W) each.
        in_place: The same function, which writes its result into the first; None where there is none.
    """

    def __init__(self, function: Callable[..., Tensor], in_place: Callable[..., Tensor] | None = None) -> None:
        self.function = function
        self.in_place = in_place

    def __call__(self, maps: Sequence[Tensor], have: Rows, rows: Rows, height: int, *, can_write: bool) -> Tensor:
        """Apply the function."""
        return self.in_place(*maps) if can_write and self.in_place is not None else self.function(*maps)


class ImageNorm(Operation):
    """A norm layer that uses the statistics of the image.

    Args:
        module: The layer.

    Attributes:
        statistics: Statistics of its input, which are set before it is called.
    """

    def __init__(self, module: nn.BatchNorm2d | nn.SyncBatchNorm | nn.InstanceNorm2d) -> None:
        self.module = module
        self.statistics: Statistics | None = None

    def __call__(self, maps: Sequence[Tensor], have: Rows, rows: Rows, height: int, *, can_write: bool) -> Tensor:
        """Normalize."""
        assert self.statistics is not None
        return normalize_by(self.module, self.statistics, maps[0])


class NoisyDropout(Operation):
    """Dropout that is on.

    Args:
        probability: Probability of dropping an element.
        draw: Draws the mask of the whole map, given its channels, height and width.

    Attributes:
        mask: The mask; None where it has not been drawn, or is not needed any more.
    """

    def __init__(self, probability: float, draw: Callable[[tuple[int, ...]], Tensor]) -> None:
        self.probability, self.draw = probability, draw
        self.mask: Tensor | None = None

    def __call__(self, maps: Sequence[Tensor], have: Rows, rows: Rows, height: int, *, can_write: bool) -> Tensor:
        """Drop elements."""
        if self.mask is None:
            self.mask = self.draw((1, maps[0].shape[1], height, maps[0].shape[3]))
        rows = rows if self.mask.shape[2] > 1 else Rows(0, 1)
        return drop(maps[0], self.mask[:, :, rows.start : rows.stop], self.probability)


class Padding(Operation):
    """Rows and columns around a map.

    Args:
        left: Columns on the left.
        right: Columns on the right.
        top: Rows above.
        bottom: Rows below.
        mode: ``reflect``, ``replicate`` or ``constant``.
        value: The constant.
    """

    is_pointwise = False

    def __init__(self, left: int, right: int, top: int, bottom: int, *, mode: str, value: float = 0.0) -> None:
        self.left, self.right, self.top, self.bottom = left, right, top, bottom
        self.mode, self.value = mode, value

    def get_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width of the output."""
        return height + self.top + self.bottom, width + self.left + self.right

    def find_rows(self, rows: Rows, height: int) -> Rows:
        """Find the rows that are copied."""
        first, last = rows.start - self.top, rows.stop - 1 - self.top
        ends = self._find_sources((first, last), height)
        # reflected rows run backwards, so that the outermost rows may lie between the ends
        least = 0 if first <= 0 <= last else min(ends)
        most = height - 1 if first <= height - 1 <= last else max(ends)
        return Rows(least, most + 1)

    def _find_sources(self, rows: Iterable[int], height: int) -> list[int]:
        """Return of which row of the input each of some rows is a copy, numbered from the input's first row."""
        if self.mode == "reflect":
            return [height - 1 - abs(height - 1 - abs(row)) for row in rows]
        return [min(max(row, 0), height - 1) for row in rows]

    def __call__(self, maps: Sequence[Tensor], have: Rows, rows: Rows, height: int, *, can_write: bool) -> Tensor:
        """Pad."""
        x, columns = maps[0], (self.left, self.right)
        if self.mode == "constant":
            inside = Rows(rows.start - self.top, rows.stop - self.top)
            part = inside.clip(height)
            if part.start >= part.stop:  # all rows are constant ones
                part = Rows(have.start, have.start)
                inside = Rows(part.start, part.start + rows.stop - rows.start)
            x = x[:, :, part.start - have.start : part.stop - have.start]
            return F.pad(x, (*columns, part.start - inside.start, inside.stop - part.stop), value=self.value)
        sources = self._find_sources(range(rows.start - self.top, rows.stop - self.top), height)
        if sources != list(range(have.start, have.stop)):
            x = x.index_select(2, torch.tensor(sources, device=x.device) - have.start)
        return F.pad(x, (*columns, 0, 0), mode=self.mode) if any(columns) else x


class Enlargement(Operation):
    """An upsampling without weights.

    Args:
        function: Function of (1, C, h, w).
        factor: Rows and columns of the output for each pixel of the input.
        margin: Neighbouring rows of the input that matter.
    """

    is_pointwise = False

    def __init__(self, function: Callable[[Tensor], Tensor], factor: int, margin: int) -> None:
        self.function, self.factor, self.margin = function, factor, margin

    def get_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width of the output."""
        return height * self.factor, width * self.factor

    def find_rows(self, rows: Rows, height: int) -> Rows:
        """Find the rows that are repeated or interpolated."""
        first, last = rows.start // self.factor, (rows.stop - 1) // self.factor
        return Rows(first - self.margin, last + 1 + self.margin).clip(height)

    def __call__(self, maps: Sequence[Tensor], have: Rows, rows: Rows, height: int, *, can_write: bool) -> Tensor:
        """Enlarge."""
        start = rows.start - have.start * self.factor
        return self.function(maps[0])[:, :, start : start + rows.stop - rows.start]


class Pooling(Operation):
    """A pooling without padding.

    Args:
        function: Function of (1, C, h, w).
        kernel: Height and width of the window.
        stride: Rows and columns between windows.
    """

    is_pointwise = False

    def __init__(self, function: Callable[[Tensor], Tensor], kernel: tuple[int, int], stride: tuple[int, int]) -> None:
        self.function, self.kernel, self.stride = function, kernel, stride

    def get_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width of the output."""
        return (height - self.kernel[0]) // self.stride[0] + 1, (width - self.kernel[1]) // self.stride[1] + 1

    def find_rows(self, rows: Rows, height: int) -> Rows:
        """Find the rows of the windows."""
        return Rows(rows.start * self.stride[0], (rows.stop - 1) * self.stride[0] + self.kernel[0])

    def __call__(self, maps: Sequence[Tensor], have: Rows, rows: Rows, height: int, *, can_write: bool) -> Tensor:
        """Pool."""
        return self.function(maps[0])
