"""Draw holes for inpainting: the central box and the random boxes of Context Encoders, and fill them with a colour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.utils.checks import check_choice
from pix2pix_lightning.utils.errors import UserError

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

MASKS = ("centre", "random")
_MAX_SHARE = 0.25  # of the area, as of the central box
_MIN_SIDE, _MAX_SIDE = 1 / 8, 3 / 8  # of the sides
_MAX_BOXES = 8
_GRAY = 128


def draw_hole(height: int, width: int, mask: str, seed: int | np.random.SeedSequence = 0) -> Mask:
    """Draw a hole.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        mask: ``centre``, a box of half the height and half the width in the middle; or ``random``, as
            ``draw_random_boxes``.
        seed: Seed of the random boxes.

    Returns:
        (height, width), true in the hole.

    Raises:
        UserError: The mask is unknown.
    """
    check_choice("mask", mask, MASKS)
    return draw_centre_box(height, width) if mask == "centre" else draw_random_boxes(height, width, seed)


def draw_centre_box(height: int, width: int) -> Mask:
    """Draw a box of half the height and half the width in the middle: (height, width), true in the box."""
    hole = np.zeros((height, width), np.bool_)
    top, left = height // 4, width // 4
    hole[top : top + max(1, height // 2), left : left + max(1, width // 2)] = True
    return hole


def draw_random_boxes(height: int, width: int, seed: int | np.random.SeedSequence) -> Mask:
    """Draw up to eight boxes that may overlap and cover at most a quarter of the image, at least one of them.

    The sides of a box are from an eighth to three eighths of those of the image. A box that would cover too much is
    left out, and with it those that would have followed.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        seed: Seed of the boxes. The same seed draws the same boxes at any size, but for the rounding to pixels.

    Returns:
        (height, width), true in a box.
    """
    random = np.random.default_rng(seed)
    hole = np.zeros((height, width), np.bool_)
    for _ in range(random.integers(1, _MAX_BOXES + 1)):
        shares = random.uniform(_MIN_SIDE, _MAX_SIDE, 2)
        places = random.random(2)
        sides = [max(1, round(share * length)) for share, length in zip(shares, (height, width), strict=True)]
        top, left = (
            int(place * (length - side + 1)) for place, length, side in zip(places, (height, width), sides, strict=True)
        )
        more = hole.copy()
        more[top : top + sides[0], left : left + sides[1]] = True
        if hole.any() and more.mean() > _MAX_SHARE:
            break
        hole = more
    return hole


def fill_hole(image: Image, hole: Mask, fill: str | Sequence[int] = "mean") -> Image:
    """Fill a hole with a colour.

    Args:
        image: (H, W, C) uint8.
        hole: (H, W), true in the hole.
        fill: ``mean``, the mean colour of what is left of the image; ``gray``, 128; or the colour itself, C levels.

    Returns:
        A copy, (H, W, C) uint8, with the colour in the hole.

    Raises:
        UserError: The fill is something else.
    """
    check_fill(fill)
    filled = image.copy()
    if fill == "mean":
        rest = image[~hole]
        filled[hole] = np.rint(rest.mean(0)).astype(np.uint8) if len(rest) else _GRAY
    else:
        filled[hole] = _GRAY if fill == "gray" else np.asarray(fill, np.uint8)
    return filled


def check_fill(fill: object) -> None:
    """Check what a hole is filled with.

    Raises:
        UserError: It is neither ``mean`` nor ``gray`` nor a colour.
    """
    is_colour = isinstance(fill, Sequence) and not isinstance(fill, str) and len(fill) in (1, 3)
    if is_colour and all(isinstance(level, int) and 0 <= level <= 255 for level in fill):  # type: ignore[attr-defined]
        return
    if fill not in ("mean", "gray"):
        raise UserError(f"fill={fill}: mean, gray or a colour such as [255,255,255] is expected")
