"""What a network has to know of a whole image to translate a window of it as if it saw all of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

_CHUNK = 2**24
_GREATEST_NOISE = 2**30


class Window(NamedTuple):
    """A part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int


class Statistics(NamedTuple):
    """Of what comes into a norm layer: for each channel the mean and the biased variance, (C,) each."""

    mean: Tensor
    variance: Tensor


@dataclass(eq=False)
class WholeImage:
    """What the windows of an image have in common.

    Args:
        height: Of the image, as the network would take it at once.
        width: Likewise.
        statistics: Of norm layers, by their names in the network: over the maps of the whole image.
    """

    height: int
    width: int
    statistics: dict[str, Statistics] = field(default_factory=dict)
    _masks: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def kept(self, key: str, probability: float, maps: Tensor, window: Window, generator: torch.Generator) -> Tensor:
        """What dropout keeps of the maps of a window, where it draws for those of the whole image.

        Args:
            key: Of the noise; the mask that was drawn for it is drawn once.
            probability: Of dropping.
            maps: Of the window, (B, C, h, w).
            window: What is seen of the image.
            generator: To draw from.

        Returns:
            (1, C, h, w) booleans on the CPU.

        Raises:
            ValueError: The masks of the whole image would take more than a gigabyte.
        """
        top, height = _on_map(maps.shape[2], window.top, window.height, self.height)
        left, width = _on_map(maps.shape[3], window.left, window.width, self.width)
        shape = (1, maps.shape[1], height, width)
        if key not in self._masks:
            count = torch.Size(shape).numel()
            if count + sum(mask.numel() for mask in self._masks.values()) > _GREATEST_NOISE:
                raise ValueError(
                    f"dropout's noise for a whole image of {self.width}x{self.height} takes over 1 GB: say dropout=off"
                )
            self._masks[key] = _drawn(count, probability, generator).view(shape)
        return self._masks[key][:, :, top : top + maps.shape[2], left : left + maps.shape[3]]


def part_of_map(maps: Tensor, window: Window, part: Window) -> Tensor:
    """The maps of ``part``, cut from those of the ``window`` that it lies in, (B, C, h, w).

    Raises:
        ValueError: The part's edges do not lie between pixels of the map.
    """
    top, bottom = (
        _scaled(row - window.top, maps.shape[2], window.height) for row in (part.top, part.top + part.height)
    )
    left, right = (
        _scaled(column - window.left, maps.shape[3], window.width) for column in (part.left, part.left + part.width)
    )
    return maps[:, :, top:bottom, left:right]


def _on_map(length: int, start: int, side: int, whole: int) -> tuple[int, int]:
    """Where a window begins on the map of the whole image, and how long that is."""
    return _scaled(start, length, side), _scaled(whole, length, side)


def _scaled(position: int, length: int, side: int) -> int:
    if position * length % side:
        raise ValueError(
            f"a window of {side} pixels gives a map of {length}, on which pixel {position} has no place of its own: "
            "the network cannot work in tiles with these statistics or with dropout"
        )
    return position * length // side


def _drawn(count: int, probability: float, generator: torch.Generator) -> Tensor:
    """``torch.rand(count) >= probability``, whose floats would take four times as much."""
    kept = torch.empty(count, dtype=torch.bool)
    for part in torch.split(kept, _CHUNK):
        part.copy_(torch.rand(len(part), generator=generator, device="cpu", dtype=torch.float32) >= probability)
    return kept
