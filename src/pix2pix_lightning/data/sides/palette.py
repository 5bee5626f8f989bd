"""Match the colours of an image with those of a palette."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from pix2pix_lightning.utils.errors import UserError

_MAX_DISTANCE, _MAX_SHARE = 32, 2 / 3
_NUM_SAMPLES = 4096
_FAR, _LEAST_PART = 64, 0.02  # distance of an unknown colour, and its share of an image
_CHUNK = 2**15  # pixels, each with a distance to every colour

Colours = Sequence[tuple[int, int, int]]
Numbers = npt.NDArray[np.unsignedinteger[Any]]


def match_colours(values: Tensor, palette: Colours) -> Tensor:
    """Find the palette's colour that is nearest to each pixel, by Euclidean distance in RGB.

    Args:
        values: (B, 3, H, W) RGB, 0 to 255, of any type.
        palette: RGB colours, 0 to 255.

    Returns:
        (B, 1, H, W) numbers of colours; of several that are equally near the first.
    """
    colours = torch.tensor(palette, dtype=torch.float32, device=values.device)
    # |x - p|^2 without |x|^2, which is the same for all colours; whole numbers, so that float32 is exact
    distances = F.conv2d(values.float(), -2 * colours[:, :, None, None], (colours**2).sum(1))
    return distances.min(1, keepdim=True).indices


def find_nearest_colours(image: npt.NDArray[np.uint8], palette: Colours) -> Numbers:
    """Find the nearest colours of a whole image as ``match_colours`` does, in little memory.

    Args:
        image: (H, W, 3) uint8.
        palette: RGB colours, 0 to 255.

    Returns:
        (H, W) numbers of colours, in the smallest unsigned type that holds them.
    """
    nearest: Numbers = np.empty(image.shape[:2], np.min_scalar_type(len(palette) - 1))
    rows = max(1, _CHUNK // image.shape[1])
    for top in range(0, len(image), rows):
        part = torch.from_numpy(image[top : top + rows].astype(np.float32)).permute(2, 0, 1)[None]
        nearest[top : top + rows] = match_colours(part, palette)[0, 0].numpy()
    return nearest


def check_colours_match(image: npt.NDArray[np.uint8], nearest: Numbers, palette: Colours) -> None:
    """Check that an image is drawn in the palette's colours, JPEG noise allowed for.

    It is not if two thirds of its pixels lie further than 32 from all colours. Of the 500 label maps of the facades
    data set, which are JPEGs, at most 47 % of the pixels do (median 17 %); of its photos at least 92 % (median 100 %).

    Args:
        image: (H, W, 3) uint8.
        nearest: (H, W) numbers that ``find_nearest_colours`` returned.
        palette: RGB colours, 0 to 255.

    Raises:
        UserError: The image is drawn in other colours.
    """
    pixels, near = _sample_matches(image, nearest, palette)
    is_far = _find_far(pixels, near)
    share = is_far.mean()
    if share > _MAX_SHARE:
        _, firsts, counts = np.unique(pixels[is_far], axis=0, return_index=True, return_counts=True)
        example = np.flatnonzero(is_far)[firsts[counts.argmax()]]  # the commonest colour: rare ones are noise at edges
        raise UserError(
            f"{share:.0%} of the pixels have none of the palette's {len(palette)} colours, for example "
            f"{pixels[example].tolist()}, to which {near[example].tolist()} is nearest: give the palette that the file "
            "is drawn in, change data.direction if A and B are swapped, or set kind=rgb if it is a photo"
        )


def is_drawn_in(image: npt.NDArray[np.uint8], nearest: Numbers, palette: Colours) -> bool:
    """Return whether an image is drawn in a palette's colours, by the rule of ``check_colours_match``.

    Args:
        image: (H, W, 3) uint8.
        nearest: (H, W) numbers that ``find_nearest_colours`` returned.
        palette: RGB colours, 0 to 255.
    """
    return bool(_find_far(*_sample_matches(image, nearest, palette)).mean() <= _MAX_SHARE)


def _sample_matches(
    image: npt.NDArray[np.uint8], nearest: Numbers, palette: Colours
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return some of the pixels, which are enough and cost little, and the palette's colours nearest to them."""
    step = max(1, nearest.size // _NUM_SAMPLES)
    pixels = image.reshape(-1, 3)[::step].astype(np.int32)
    return pixels, np.asarray(palette, np.int32)[nearest.reshape(-1)[::step]]


def _find_far(pixels: npt.NDArray[np.int32], near: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """Return which pixels, (N, 3), lie further from the colours nearest to them than noise takes them, (N,)."""
    is_far: npt.NDArray[np.bool_] = ((pixels - near) ** 2).sum(1) > _MAX_DISTANCE**2
    return is_far


def find_unknown_colours(image: npt.NDArray[np.uint8], palette: Colours) -> list[list[int]]:
    """Find colours that fill a part of an image and are far from all of a palette's, as of a class that it lacks.

    Only pixels of exactly one colour count as a part, so that noise of JPEG and smooth edges are none. In the label
    maps of the facades data set, which are JPEGs, nothing is found, and what is left out of their palette is.

    Args:
        image: (H, W, 1) or (H, W, 3) uint8.
        palette: RGB colours, 0 to 255.

    Returns:
        RGB colours.
    """
    step = max(1, image.shape[0] * image.shape[1] // _NUM_SAMPLES)
    pixels = np.broadcast_to(image.reshape(-1, image.shape[2])[::step], (-(-image[..., 0].size // step), 3))
    near = np.asarray(palette, np.int32)[find_nearest_colours(pixels[None], palette)[0]]
    is_far = ((pixels - near) ** 2).sum(1) > _FAR**2
    colours, counts = np.unique(pixels[is_far], axis=0, return_counts=True)
    unknown: list[list[int]] = colours[counts >= _LEAST_PART * len(pixels)].tolist()
    return unknown
