"""Strips: image files that hold A in their left half and B in the right one, as the public archives do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pix2pix_lightning.data.files.file_image import FileImage
from pix2pix_lightning.data.files.image_header import parse_header
from pix2pix_lightning.data.files.slice_path import AnyFile
from pix2pix_lightning.data.stores.stored_path import AnyPath
from pix2pix_lightning.utils.errors import UserError

ASPECT_TOLERANCE = 0.01
"""Of an aspect ratio: sides are rounded to pixels, and cut to multiples."""
_NUM_MEASURED = 16  # files, evenly spread


def is_strip_shape(width: int, height: int) -> bool:
    """Return whether an image is twice as wide as high, as two squares side by side are."""
    return abs(width - 2 * height) <= max(1, 2 * ASPECT_TOLERANCE * width)


def split_strip(strip: FileImage, path: AnyFile) -> tuple[FileImage, FileImage]:
    """Split a strip into A, its left half, and B.

    Args:
        strip: The strip, of any aspect ratio.
        path: Its file, for messages.

    Returns:
        The two halves.

    Raises:
        UserError: The width is odd.
    """
    width = strip.pixels.shape[1]
    if width % 2:
        raise UserError(format_odd_width(path, width))
    return strip.crop(0, width // 2), strip.crop(width // 2, width)


def format_odd_width(path: AnyFile, width: int) -> str:
    """Return what is wrong with a strip of an odd width in pixels."""
    return (
        f"{path} is {width} pixels wide: a strip of A and B side by side has an even width; for A and B "
        f"in separate files use the folders {path.parent / 'A'} and {path.parent / 'B'}"
    )


def find_strip_size(files: Sequence[AnyPath]) -> tuple[int, int] | None:
    """Find the size that strips have in common, by the headers of a few of them.

    Args:
        files: The strips.

    Returns:
        Width and height in pixels, upright; None where they differ or cannot be read.
    """
    places = sorted(set(np.linspace(0, len(files) - 1, min(_NUM_MEASURED, len(files))).astype(int).tolist()))
    sizes = set()
    for place in places:
        try:
            with files[place].open("rb") as file:
                sizes.add(parse_header(file, Path(str(files[place]))).upright_size)
        except (OSError, UserError):  # which the check of the files reports
            return None
    return sizes.pop() if len(sizes) == 1 else None
