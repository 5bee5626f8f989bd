"""What a network needs to know of a whole image to translate a window of it as if it saw all of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from pix2pix_lightning.utils.errors import UserError

__all__ = ["Statistics", "TilingState", "Window", "crop_map", "draw_mask"]

_CHUNK = 2**24
_MAX_MASK_BYTES = 2**30


class Window(NamedTuple):
    """A rectangle of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int


class Statistics(NamedTuple):
    """Statistics of the input of a norm layer: for each channel the mean and the biased variance, (C,) each."""

    mean: Tensor
    variance: Tensor


@dataclass(eq=False)
class TilingState:
    """What all windows of an image share: its size, the statistics of its maps, and dropout's masks.

    Args:
        height: Height of the whole image in pixels, as the network would take it at once.
        width: Width of the whole image in pixels.
        statistics: Statistics of norm layers over the whole image, by the layers' names in the network.
    """

    height: int
    width: int
    statistics: dict[str, Statistics] = field(default_factory=dict)
    _masks: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def draw_keep_mask(
        self, key: str, probability: float, maps: Tensor, window: Window, generator: torch.Generator
    ) -> Tensor:
        """Return the window's part of the mask that dropout would draw for the whole image.

        Args:
            key: Names the mask. The mask of a key is drawn once and then reused.
            probability: Probability of dropping an element, in [0, 1].
            maps: Maps of the window, (B, C, h, w).
            window: Where the window lies in the image.
            generator: Source of the draws, on the CPU.

        Returns:
            (1, C, h, w) booleans on the CPU, True for what is kept.

        Raises:
            UserError: The masks of the whole image would take more than a gigabyte, or the window's edges do not lie
                between pixels of the maps.
        """
        top, height = _locate_on_map(maps.shape[2], window.top, window.height, self.height)
        left, width = _locate_on_map(maps.shape[3], window.left, window.width, self.width)
        shape = (1, maps.shape[1], height, width)
        if key not in self._masks:
            count = torch.Size(shape).numel()
            if count + sum(mask.numel() for mask in self._masks.values()) > _MAX_MASK_BYTES:
                raise UserError(
                    f"dropout's noise for a whole image of {self.width}x{self.height} takes over 1 GB: set dropout=off"
                )
            self._masks[key] = draw_mask(shape, probability, generator)
        return self._masks[key][:, :, top : top + maps.shape[2], left : left + maps.shape[3]]


def crop_map(maps: Tensor, window: Window, part: Window) -> Tensor:
    """Crop the maps of ``window`` to those of ``part``, a rectangle inside of it.

    Args:
        maps: Maps of ``window``, (B, C, h, w).
        window: A rectangle of the image.
        part: The rectangle of the image to crop to.

    Returns:
        Maps of ``part``, (B, C, h', w').

    Raises:
        UserError: The edges of ``part`` do not lie between pixels of the maps.
    """
    top, bottom = (
        _scale_position(row - window.top, maps.shape[2], window.height) for row in (part.top, part.top + part.height)
    )
    left, right = (
        _scale_position(column - window.left, maps.shape[3], window.width)
        for column in (part.left, part.left + part.width)
    )
    return maps[:, :, top:bottom, left:right]


def _locate_on_map(length: int, start: int, side: int, whole: int) -> tuple[int, int]:
    """Return where a window begins on the map of the whole image, and the length of that map."""
    return _scale_position(start, length, side), _scale_position(whole, length, side)


def _scale_position(position: int, length: int, side: int) -> int:
    if position * length % side:
        raise UserError(
            f"a window of {side} pixels has a map of {length}, and pixel {position} lies inside of a pixel of the map: "
            "the network cannot work in tiles with these statistics or with dropout"
        )
    return position * length // side


def draw_mask(shape: tuple[int, ...], probability: float, generator: torch.Generator) -> Tensor:
    """Compute ``torch.rand(shape) >= probability`` in chunks, since the floats would take four times the memory.

    Args:
        shape: Shape of the mask.
        probability: Probability of False, in [0, 1].
        generator: Source of the draws, on the CPU.

    Returns:
        Booleans of ``shape`` on the CPU.
    """
    mask = torch.empty(shape, dtype=torch.bool)
    for chunk in torch.split(mask.view(-1), _CHUNK):
        chunk.copy_(torch.rand(len(chunk), generator=generator, device="cpu", dtype=torch.float32) >= probability)
    return mask
