"""Windows: the part of an image that is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.utils.errors import UserError


class Window(NamedTuple):
    """A rectangle of an image, in pixels.

    Attributes:
        top: Number of its first row.
        left: Number of its first column.
        height: Its rows.
        width: Its columns.
    """

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rows and columns, as indices of an array."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def parse_window(window: Sequence[int], width: int, height: int) -> Window:
    """Return a window that lies in an image.

    Args:
        window: First row, first column, rows and columns.
        width: Width of the image in pixels.
        height: Height of the image in pixels.

    Returns:
        The window.

    Raises:
        UserError: It has no pixel, or a part of it lies outside.
    """
    parsed = Window(*window)
    is_inside = parsed.top >= 0 and parsed.left >= 0
    is_inside = is_inside and parsed.top + parsed.height <= height and parsed.left + parsed.width <= width
    if not is_inside or min(parsed.height, parsed.width) < 1:
        raise UserError(
            f"a window of {parsed.width} x {parsed.height} pixels from row {parsed.top} and column {parsed.left} on "
            f"does not lie in an image of {width} x {height} pixels: make the crop smaller"
        )
    return parsed


def find_stored_window(window: Window, orientation: int, width: int, height: int) -> Window:
    """Find where a window of an upright image lies in the image as it is stored.

    Args:
        window: The window of the upright image.
        orientation: EXIF's number, 1 to 8.
        width: Width of the upright image in pixels.
        height: Height of the upright image in pixels.

    Returns:
        The window of the stored image, which turning makes the window of the upright one.
    """
    top, left, rows, columns = window
    if orientation in (3, 4, 7, 8):
        top = height - top - rows
    if orientation in (2, 3, 6, 7):
        left = width - left - columns
    return Window(left, top, columns, rows) if orientation >= 5 else Window(top, left, rows, columns)


def turn(image: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Turn an image upright.

    Args:
        image: (H, W) or (H, W, C) as stored.
        orientation: EXIF's number, 1 to 8.

    Returns:
        The image with its axes exchanged from 5 on, and mirrored.
    """
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    rows = slice(None, None, -1) if orientation in (3, 4, 7, 8) else slice(None)
    columns = slice(None, None, -1) if orientation in (2, 3, 6, 7) else slice(None)
    return np.ascontiguousarray(image[rows, columns])
