"""Cut an image into overlapping windows, translate them one by one, and join the results."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy.typing as npt
import torch
from torch import Tensor

from pix2pix_lightning.networks import Window
from pix2pix_lightning.networks.padding import compute_padded_side, reflect_indices
from pix2pix_lightning.utils.errors import UserError

_CORE = 1024  # side of the part of a default window that is used, in pixels

Image = npt.NDArray[Any]
RunWindow = Callable[[Tensor, Window], Tensor]
"""Translates a window, (1, C, h, w) to (1, C', h, w)."""
ReadWindow = Callable[[Window], Tensor]
"""Reads a window of the image, (1, C, h, w)."""
WritePart = Callable[[int, int, Tensor], None]
"""Writes a finished part: its top and left in pixels, and (1, C', h, w)."""
Advance = Callable[[], object]
"""Called after each window."""


class Span(NamedTuple):
    """A window along one axis, from ``start`` to ``stop``, and the part of it that is used, ``first`` to ``last``.

    All are pixels; ``stop`` and ``last`` are exclusive.
    """

    start: int
    stop: int
    first: int
    last: int


@dataclass(frozen=True)
class Tiling:
    """A plan of how an image is cut into windows of equal size.

    Attributes:
        rows: Windows along the height. Their used parts cover it; where these overlap, neighbours are blended.
        columns: Windows along the width.
        overlap: Smallest number of pixels that neighbours share.
        blended: Whether neighbours are blended where they overlap; else each is used up to the middle.
    """

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]
    overlap: int
    blended: bool

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def __iter__(self) -> Iterator[tuple[Window, Window]]:
        """Yield each window, row by row, with the part of it that is used."""
        for row in self.rows:
            for column in self.columns:
                yield (
                    Window(row.start, column.start, row.stop - row.start, column.stop - column.start),
                    Window(row.first, column.first, row.last - row.first, column.last - column.first),
                )


@dataclass
class Seams:
    """How much blending has changed pixels, as fractions of the range [-1, 1].

    The reference is the output of the window in whose middle the pixel lies more. That window has seen more of the
    surroundings, so this estimates the distance from the untiled output.

    Attributes:
        mean: Mean over all values that two windows gave.
        greatest: Maximum over these values.
    """

    mean: float = 0.0
    greatest: float = 0.0
    _count: int = 0

    def add(self, one: Tensor, other: Tensor, weight: Tensor) -> None:
        """Update with the outputs of two windows for the same pixels.

        Args:
            one: Output of the first window, (1, C, h, w) in [-1, 1].
            other: Output of the second window, of the same shape.
            weight: Weight of ``other`` in the blend, in [0, 1], broadcastable to it.
        """
        differences = (one - other).abs() * torch.minimum(weight, 1 - weight) / 2
        self._count += differences.numel()
        self.mean += (differences.double().mean().item() - self.mean) * differences.numel() / self._count
        self.greatest = max(self.greatest, differences.max().item())


def compute_default_tile(context: int, stride: int) -> int:
    """Compute the side of a window of which 1024 pixels are used, with the context on both sides, in pixels."""
    return compute_padded_side(_CORE, stride) + 2 * compute_padded_side(context, stride)


def plan_tiling(height: int, width: int, *, context: int, stride: int, tile: int, overlap: int | None = None) -> Tiling:
    """Plan the windows of an image.

    Args:
        height: Height of the image in pixels, a multiple of ``stride``.
        width: Width of the image in pixels, a multiple of ``stride``.
        context: How many pixels the network sees beyond a pixel of its output.
        stride: The network's ``side_multiple``. Windows begin and end at its multiples, so that the grids of all
            layers agree with those of the whole image.
        tile: Greatest side of a window, in pixels.
        overlap: Pixels that neighbouring windows share, rounded up to a multiple of ``stride``. By default twice the
            context, with which the result is that of the whole image; with fewer pixels, neighbours are blended.

    Returns:
        The plan.

    Raises:
        UserError: ``tile`` is too small for the overlap, or ``overlap`` is negative.
    """
    halo = compute_padded_side(context, stride)
    if overlap is not None and overlap < 0:
        raise UserError(f"overlap={overlap}: pixels from 0 are expected")
    shared = 2 * halo if overlap is None else min(compute_padded_side(overlap, stride), 2 * halo)
    side = tile // stride * stride
    least = shared + stride
    if side < least and max(height, width) > side:
        reason = (
            f"twice the {halo} pixels that the network sees: set tile={least} or more, or overlap= to fewer pixels"
            if overlap is None
            else f"overlap={overlap} (in steps of {stride}): set tile={least} or more, or a smaller overlap"
        )
        raise UserError(f"tile={tile} is too small for {reason}")
    blended = 0 < shared < 2 * halo
    return Tiling(
        _plan_spans(height, side, shared, stride, blended=blended),
        _plan_spans(width, side, shared, stride, blended=blended),
        overlap=shared,
        blended=blended,
    )


def _plan_spans(length: int, side: int, shared: int, stride: int, *, blended: bool) -> tuple[Span, ...]:
    if length <= side:
        return (Span(0, length, 0, length),)
    count = -(-(length - shared) // (side - shared))
    # the smallest side with which as many windows suffice
    side = compute_padded_side(-(-(length + (count - 1) * shared) // count), stride)
    starts = [index * (length - side) // (count - 1) // stride * stride for index in range(count)]
    if blended:
        return tuple(Span(start, start + side, start, start + side) for start in starts)
    # cut in the middle of each overlap: both windows have then at least the context beyond the cut
    cuts = [after + (start + side - after) // 2 // stride * stride for start, after in pairwise(starts)]
    return tuple(
        Span(start, start + side, first, last)
        for start, first, last in zip(starts, [0, *cuts], [*cuts, length], strict=True)
    )


def run_in_tiles(
    run: RunWindow, read: ReadWindow, write: WritePart, tiling: Tiling, advance: Advance | None = None
) -> Seams | None:
    """Translate an image window by window.

    Only what later windows are blended with stays in memory: the right edge of the last window, and the lower edges
    of the row above.

    Args:
        run: Translates a window, (1, C, h, w) to (1, C', h, w).
        read: Reads a window of the image, (1, C, h, w).
        write: Receives each finished part exactly once: its top and left in pixels, and (1, C', h, w).
        tiling: Plan of the windows.
        advance: Called after each window.

    Returns:
        How much neighbours differed where they were blended; None where nothing was blended.
    """
    seams = Seams()
    above: dict[int, Tensor] = {}  # lower edges of the row above, by the number of the column
    for number, row in enumerate(tiling.rows):
        shared_above = _count_shared(tiling.rows, number)
        shared_below = _count_shared(tiling.rows, number + 1)
        before: Tensor | None = None  # right edge of the window before
        for index, column in enumerate(tiling.columns):
            window = Window(row.start, column.start, row.stop - row.start, column.stop - column.start)
            output = run(read(window), window)
            output = output[..., row.first - row.start : row.last - row.start, :]
            output = output[..., column.first - column.start : column.last - column.start]
            # across first, over the full height: what is stored for the row below is already blended across
            if before is not None:
                output = _blend(before, output, -1, seams)
            width = output.shape[-1] - _count_shared(tiling.columns, index + 1)
            before = output[..., width:].clone() if width < output.shape[-1] else None
            output = output[..., :width]
            if shared_above:
                output = _blend(above[index], output, -2, seams)
            height = output.shape[-2] - shared_below
            if shared_below:
                above[index] = output[..., height:, :].clone()
            write(row.first, column.first, output[..., :height, :])
            if advance is not None:
                advance()
    return seams if tiling.blended else None


def _count_shared(spans: tuple[Span, ...], number: int) -> int:
    """Count the used pixels that a span shares with the one before."""
    return spans[number - 1].last - spans[number].first if 0 < number < len(spans) else 0


def _blend(before: Tensor, after: Tensor, dim: int, seams: Seams) -> Tensor:
    """Return ``after`` with its first pixels along ``dim`` blended from ``before``."""
    length = before.shape[dim]
    start = after.narrow(dim, 0, length)
    weight = compute_fade_in(length).to(start)
    weight = weight if dim == -1 else weight[:, None]
    seams.add(before, start, weight)
    rest = after.narrow(dim, length, after.shape[dim] - length)
    return torch.cat([torch.lerp(before, start, weight), rest], dim)


def compute_fade_in(length: int) -> Tensor:
    """Compute the weights of a window where it begins: a raised cosine from 0 to 1.

    The window before has the complement, so that the weights of each pixel sum to one.

    Args:
        length: Pixels that the window shares with the one before.

    Returns:
        (length,) float64.
    """
    position = (torch.arange(length, dtype=torch.float64) + 0.5) / length
    return (1 - torch.cos(math.pi * position)) / 2


def build_reader(image: Image, height: int, width: int, encode: Callable[[Image], Tensor]) -> ReadWindow:
    """Build a function that reads windows of an image, reflected as ``pad_to_multiple`` does it.

    The image is never converted to floats as a whole.

    Args:
        image: Image (H, W, C).
        height: Height after the reflection, in pixels.
        width: Width after the reflection, in pixels.
        encode: Converts a part of the image, (h, w, C), to the network's input, (1, C, h, w).

    Returns:
        A function from a window to the network's input.
    """
    rows = reflect_indices(image.shape[0], height).numpy()
    columns = reflect_indices(image.shape[1], width).numpy()

    def read(window: Window) -> Tensor:
        part = image[
            rows[window.top : window.top + window.height, None],
            columns[None, window.left : window.left + window.width],
        ]
        return encode(part)

    return read


def build_writer(image: Image, result: Image, decode: Callable[[Tensor, Image], Image]) -> WritePart:
    """Build a function that writes finished parts into an image.

    Args:
        image: The image that is translated, (H, W, C).
        result: Image (H, W, C') to write into; pixels beyond it are dropped.
        decode: Converts the network's output for a part of the image, (1, C', h, w), and that part, (h, w, C), to
            (h, w, C') in the type of ``result``.

    Returns:
        A function of a part's top and left and of the network's output.
    """

    def write(top: int, left: int, output: Tensor) -> None:
        place = slice(top, top + output.shape[2]), slice(left, left + output.shape[3])
        target = result[place]
        if target.size:
            target[...] = decode(output[..., : target.shape[0], : target.shape[1]], image[place])

    return write
