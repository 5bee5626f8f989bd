"""Sizes of images: the side of squares, or height and width; and how files are brought to what the networks see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from pix2pix_lightning.utils.checks import check_counts, is_whole_number
from pix2pix_lightning.utils.errors import UserError

Size = int | tuple[int, int]
"""A side of squares, or (height, width), in pixels."""
RESIZE_RULES = ("stretch", "scale_width", "none")
"""``stretch`` gives both sides their size, ``scale_width`` the width alone and keeps the shape; ``none`` nothing."""
_MAX_SIDE = 2**16  # pixels
_JITTER = 286 / 256  # the paper's ratio of the resized image to the crop
_THEIRS = {  # --preprocess of pytorch-CycleGAN-and-pix2pix
    "crop": "data.resize=none data.crop=<size>",
    "resize_and_crop": "data.resize=stretch",
    "scale_width_and_crop": "data.resize=scale_width data.crop=<size>",
}


def parse_size(name: str, size: object) -> Size:
    """Return a size in its smallest form.

    Args:
        name: Name of the argument, which a message begins with.
        size: A side of squares, or height and width, of Python or of NumPy.

    Returns:
        The side of a square, else (height, width).

    Raises:
        UserError: It is neither, or a side is out of range.
    """
    if not isinstance(size, Sequence) or isinstance(size, str):
        check_counts(at_most=_MAX_SIDE, **{name: cast(Any, size)})
        return int(cast(Any, size))
    sides = [int(side) for side in size if is_whole_number(side) and 1 <= side <= _MAX_SIDE]
    if len(sides) != 2 or len(size) != 2:
        raise UserError(f"{name}={list(size)}: a side in pixels, or [height,width] from 1 to {_MAX_SIDE}, is expected")
    return sides[0] if sides[0] == sides[1] else (sides[0], sides[1])


def get_sides(size: Size | Sequence[int]) -> tuple[int, int]:
    """Return the height and the width of a size, or of a size as plain data."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def format_size(size: Size) -> str:
    """Format a size as a configuration key has it: ``256``, or ``[256,512]``."""
    return str(size) if isinstance(size, int) else f"[{size[0]},{size[1]}]"


def check_resize_rule(name: str, rule: object) -> None:
    """Check how images are resized.

    Args:
        name: Name of the argument, which the message begins with.
        rule: The value.

    Raises:
        UserError: It is none of ``RESIZE_RULES``; for a value of pytorch-CycleGAN-and-pix2pix the message translates.
    """
    if rule not in RESIZE_RULES:
        instead = f"; junyanz's {rule} is {_THEIRS[rule]}" if isinstance(rule, str) and rule in _THEIRS else ""
        raise UserError(f"{name}={rule!r} is unknown: one of {', '.join(RESIZE_RULES)} is expected{instead}")


def enlarge(size: Size) -> Size:
    """Return the size to which the paper's jitter resizes images, from which it crops ``size`` (section 6.2)."""
    height, width = (round(side * _JITTER) for side in get_sides(size))
    return height if height == width else (height, width)
