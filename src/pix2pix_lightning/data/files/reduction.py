"""Decode JPEG files smaller than they are, in less time."""

from __future__ import annotations

from typing import NamedTuple

from pix2pix_lightning.data.files.formats.header import ImageHeader

_FACTORS = (8, 4, 2)
_BLOCK = 8  # pixels of a block, which is decoded by itself


class LeastSize(NamedTuple):
    """How large an image has to be for what is made of it.

    Attributes:
        height: Least height in pixels.
        width: Least width of each image in pixels.
        columns: Number of images that a file holds side by side.
    """

    height: int
    width: int
    columns: int = 1


def find_reduction(header: ImageHeader, least: LeastSize | None) -> int:
    """Find the factor by which a file is decoded smaller, so that the shape of what it holds stays exactly the same.

    Args:
        header: The file's header.
        least: The size that is needed; None for the file's own.

    Returns:
        8, 4 or 2 for a JPEG both of whose sides it divides, else 1.
    """
    if least is None or header.format != "jpeg":
        return 1
    width, height = header.upright_size
    part, rest = divmod(width, least.columns)
    if least.columns > 1 and (rest or part % _BLOCK):  # a block would mix neighbours
        return 1
    needed = max(least.height / height, least.width / part)
    return next((n for n in _FACTORS if height % n == 0 and part % n == 0 and n * needed <= 1), 1)
