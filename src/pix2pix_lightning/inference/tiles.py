"""An image that is too large for memory, translated window by window."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pix2pix_lightning.inference.padding import reflected
from pix2pix_lightning.networks import Window
from pix2pix_lightning.utils.errors import UserError

_CORE = 1024

Run = Callable[[Tensor, Window], Tensor]
Source = Callable[[Window], Tensor]
Keep = Callable[[int, int, Tensor], None]
Advance = Callable[[], object]


class Span(NamedTuple):
    """A window along one axis, and the part of it that counts, in pixels."""

    start: int
    stop: int
    first: int
    last: int


@dataclass(frozen=True)
class Tiling:
    """How an image is cut into windows of equal size.

    Attributes:
        rows: Of windows. What counts of them covers the height; where it overlaps, neighbours are blended.
        columns: Likewise.
        overlap: How many pixels neighbours share at least.
        blended: Whether they are blended there; else each counts up to the middle.
    """

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]
    overlap: int
    blended: bool

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def __iter__(self) -> Iterator[tuple[Window, Window]]:
        """Each window, row by row, and the part of it that counts."""
        for row in self.rows:
            for column in self.columns:
                yield (
                    Window(row.start, column.start, row.stop - row.start, column.stop - column.start),
                    Window(row.first, column.first, row.last - row.first, column.last - column.first),
                )


@dataclass
class Seams:
    """How far blended pixels are from what the window gave in whose middle they lie more, as fractions of [-1, 1].

    That window has seen more around the pixel, so this is about how far the result is from the untiled one.

    Attributes:
        mean: Over all values that two windows gave.
        greatest: Of these.
    """

    mean: float = 0.0
    greatest: float = 0.0
    _count: int = 0

    def add(self, one: Tensor, other: Tensor, weight: Tensor) -> None:
        """Take what two windows gave of the same pixels, and how much the other counts."""
        differences = (one - other).abs() * torch.minimum(weight, 1 - weight) / 2
        self._count += differences.numel()
        self.mean += (differences.double().mean().item() - self.mean) * differences.numel() / self._count
        self.greatest = max(self.greatest, differences.max().item())


def padded_side(side: int, stride: int, least: int = 0) -> int:
    """The side to which ``pad_to_multiple`` brings ``side``."""
    return max(-(-side // stride) * stride, least)


def default_tile(context: int, stride: int) -> int:
    """A window's side in pixels: 1024 that count, and what is seen around them."""
    return padded_side(_CORE, stride) + 2 * padded_side(context, stride)


def cut(height: int, width: int, *, context: int, stride: int, tile: int, overlap: int | None = None) -> Tiling:
    """Cut an image into windows that a network takes.

    Args:
        height: Of the image in pixels, a multiple of ``stride``.
        width: Likewise.
        context: How far the network sees, in pixels.
        stride: The network's ``side_multiple``. Windows begin and end at its multiples.
        tile: The greatest side of a window, in pixels.
        overlap: How many pixels neighbouring windows share; the next multiple of ``stride`` is taken. By default twice
            the context, with which the result is that of the whole image; with less they are blended.

    Raises:
        ValueError: ``tile`` leaves nothing beside the overlap, or a number is out of its range.
    """
    halo = padded_side(context, stride)
    if overlap is not None and overlap < 0:
        raise UserError(f"overlap={overlap}: pixels from 0 are expected")
    shared = 2 * halo if overlap is None else min(padded_side(overlap, stride), 2 * halo)
    side = tile // stride * stride
    least = shared + stride
    if side < least and max(height, width) > side:
        about = (
            f"twice the {halo} pixels that the network sees: say tile={least} or more, or overlap= for less"
            if overlap is None
            else f"overlap={overlap} (in steps of {stride}): say tile={least} or more, or a smaller overlap"
        )
        raise UserError(f"tile={tile} leaves nothing beside {about}")
    blended = 0 < shared < 2 * halo
    return Tiling(
        _spans(height, side, shared, stride, blended=blended),
        _spans(width, side, shared, stride, blended=blended),
        overlap=shared,
        blended=blended,
    )


def _spans(length: int, side: int, shared: int, stride: int, *, blended: bool) -> tuple[Span, ...]:
    if length <= side:
        return (Span(0, length, 0, length),)
    count = -(-(length - shared) // (side - shared))
    side = padded_side(-(-(length + (count - 1) * shared) // count), stride)  # no larger than so many windows need
    starts = [index * (length - side) // (count - 1) // stride * stride for index in range(count)]
    if blended:
        return tuple(Span(start, start + side, start, start + side) for start in starts)
    cuts = [after + (start + side - after) // 2 // stride * stride for start, after in pairwise(starts)]
    return tuple(
        Span(start, start + side, first, last)
        for start, first, last in zip(starts, [0, *cuts], [*cuts, length], strict=True)
    )


def run_in_tiles(run: Run, source: Source, keep: Keep, tiling: Tiling, advance: Advance | None = None) -> Seams | None:
    """Translate an image window by window.

    Args:
        run: Translates a window: (1, C, h, w) to (1, C', h, w).
        source: Gives a window of the image, (1, C, h, w).
        keep: Is given each finished part once: its top and left, in pixels, and (1, C', h, w).
        tiling: The windows.
        advance: Is called after each window.

    Returns:
        How far neighbours differed where they were blended; None where they were not.
    """
    seams = Seams()
    above: dict[int, Tensor] = {}
    for number, row in enumerate(tiling.rows):
        shared_above = _shared(tiling.rows, number)
        shared_below = _shared(tiling.rows, number + 1)
        before: Tensor | None = None
        for index, column in enumerate(tiling.columns):
            window = Window(row.start, column.start, row.stop - row.start, column.stop - column.start)
            output = run(source(window), window)
            output = output[..., row.first - row.start : row.last - row.start, :]
            output = output[..., column.first - column.start : column.last - column.start]
            if before is not None:
                output = _blended(before, output, -1, seams)
            width = output.shape[-1] - _shared(tiling.columns, index + 1)
            before = output[..., width:].clone() if width < output.shape[-1] else None
            output = output[..., :width]
            if shared_above:
                output = _blended(above[index], output, -2, seams)
            height = output.shape[-2] - shared_below
            if shared_below:
                above[index] = output[..., height:, :].clone()
            keep(row.first, column.first, output[..., :height, :])
            if advance is not None:
                advance()
    return seams if tiling.blended else None


def _shared(spans: tuple[Span, ...], number: int) -> int:
    """How many pixels that count this span shares with the one before."""
    return spans[number - 1].last - spans[number].first if 0 < number < len(spans) else 0


def _blended(before: Tensor, after: Tensor, dim: int, seams: Seams) -> Tensor:
    """``after``, whose first pixels along ``dim`` come smoothly out of ``before``."""
    length = before.shape[dim]
    start = after.narrow(dim, 0, length)
    weight = fading_in(length).to(start)
    weight = weight if dim == -1 else weight[:, None]
    seams.add(before, start, weight)
    rest = after.narrow(dim, length, after.shape[dim] - length)
    return torch.cat([torch.lerp(before, start, weight), rest], dim)


def fading_in(length: int) -> Tensor:
    """A raised cosine from 0 to 1, (length,): what a window counts where it begins. The one before has the rest."""
    position = (torch.arange(length, dtype=torch.float64) + 0.5) / length
    return (1 - torch.cos(math.pi * position)) / 2


def reading(image: npt.NDArray[np.uint8], height: int, width: int, encode: Callable[[Tensor], Tensor]) -> Source:
    """Windows of an image that is reflected at its lower and right edge, as ``pad_to_multiple`` does it.

    Args:
        image: (H, W, C); it is never float as a whole.
        height: To which it is reflected, in pixels.
        width: Likewise.
        encode: Makes (1, C, h, w) uint8 what the network sees.
    """
    rows = reflected(image.shape[0], height).numpy()
    columns = reflected(image.shape[1], width).numpy()

    def source(window: Window) -> Tensor:
        part = image[
            rows[window.top : window.top + window.height, None],
            columns[None, window.left : window.left + window.width],
        ]
        return encode(torch.from_numpy(part.transpose(2, 0, 1)[None]))

    return source


def storing(result: npt.NDArray[np.uint8], decode: Callable[[Tensor], Tensor]) -> Keep:
    """Puts finished parts into an image.

    Args:
        result: (H, W, C); what lies beyond it is dropped.
        decode: Makes of (1, C', h, w) what files hold, (1, C, h, w) uint8.
    """

    def keep(top: int, left: int, output: Tensor) -> None:
        place = result[top : top + output.shape[2], left : left + output.shape[3]]
        if place.size:
            output = output[..., : place.shape[0], : place.shape[1]]
            place[...] = decode(output)[0].permute(1, 2, 0).cpu().numpy()

    return keep
