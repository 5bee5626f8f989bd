"""Flicker of outputs that are frames of a clip: the warping error of Lai et al. 2018, along the motion of the targets.

Lai et al., "Learning Blind Video Temporal Consistency", ECCV 2018, equations 8 and 9, with optical flow of OpenCV (DIS)
in place of a network's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.files.image_files import read_image
from pix2pix_lightning.data.sides import Side
from pix2pix_lightning.evaluation.bootstrap import Interval, bootstrap
from pix2pix_lightning.evaluation.scores import Scores, TranslatedPair
from pix2pix_lightning.metrics import MetricInfo
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.text import format_names

Image = npt.NDArray[np.uint8]
_KINDS = ("rgb", "grayscale", "lab")
_LEAST_SIDE = 12  # that OpenCV estimates a flow of
_LEAVE_OUT = "leave flicker out"
_INFOS = (
    MetricInfo(
        "flicker",
        "Flicker",
        "lower",
        decimals=6,
        description="Warping error: mean squared difference of each output and the next one, moved back along the "
        "motion of the targets, where both show the same; the range being 1. To be compared with that of the targets.",
    ),
    MetricInfo(
        "flicker_targets",
        "Flicker of the targets",
        "unknown",
        decimals=6,
        description="The same of the targets: their noise, changes of light, and errors of the motion's estimate.",
    ),
)


class Motion(NamedTuple):
    """How a frame moves into the next one.

    Attributes:
        flow: (H, W, 2) float32: for each pixel of the frame, how far right and down it is in the next one.
        is_seen: (H, W) booleans: whether the pixel is seen in the next frame too.
    """

    flow: npt.NDArray[np.float32]
    is_seen: npt.NDArray[np.bool_]


def check_clip(target: Side, side: int, names: Sequence[str] | None) -> None:
    """Check that flicker can be measured.

    Args:
        target: What a target's pixels mean.
        side: Shorter side of the images in pixels.
        names: Names of the pairs, or None where they are not known yet.

    Raises:
        UserError: Targets are no 8-bit pictures or are too small, or no pair is the frame after another.
    """
    if target.kind not in _KINDS:
        raise UserError(f"flicker=true compares 8-bit pictures, and these targets are {target.kind}: {_LEAVE_OUT}")
    if side < _LEAST_SIDE:
        raise UserError(
            f"flicker=true needs sides of {_LEAST_SIDE} pixels at least, and these are {side}: {_LEAVE_OUT}"
        )
    if names is not None:
        _list_steps(names)


def check_frame(pair: TranslatedPair) -> None:
    """Check that all pixels of a frame count.

    Raises:
        UserError: Some do not.
    """
    if pair.mask is not None and not pair.mask.all():
        raise UserError(
            f"flicker=true, but {pair.name} has pixels that do not count, which are not left out of it: {_LEAVE_OUT}"
        )


def find_steps(names: Sequence[str]) -> list[tuple[int, int]]:
    """Find which pairs are frames that follow each other: names that differ in their last number, by one.

    Args:
        names: Names of the pairs, with ``/`` between folders, in any order.

    Returns:
        The places of both frames in ``names``, clip by clip in the order of the frames.

    Example:
        >>> find_steps(["a/1", "a/10", "a/2", "b/3", "a/9"])
        [(0, 2), (4, 1)]
    """
    places: dict[tuple[str, str], dict[int, int]] = {}
    for place, name in enumerate(names):
        if found := re.fullmatch(r"(.*?)(\d+)(\D*)", name, re.DOTALL):
            places.setdefault((found[1], found[3]), {}).setdefault(int(found[2]), place)
    return [
        (clip[number - 1], clip[number]) for clip in places.values() for number in sorted(clip) if number - 1 in clip
    ]


def _list_steps(names: Sequence[str]) -> list[tuple[int, int]]:
    """Return what `find_steps` does.

    Raises:
        UserError: It finds nothing.
    """
    if steps := find_steps(names):
        return steps
    raise UserError(
        f"flicker=true, but no pair of {len(names)} ({format_names(names[:2])}, ...) is the frame after another one: "
        "frames of a clip are in one folder and differ by one in their last number, as clip/001 and clip/002; else "
        f"{_LEAVE_OUT}"
    )


def estimate_motion(frame: Image, following: Image) -> Motion:
    """Estimate how a frame moves into the next one, by dense inverse search.

    A pixel is not seen in the next frame where the flow leads out of it, where the flow back does not return to the
    pixel, or at the edge of a motion (Sundaram et al. 2010, as in Ruder et al. 2016 and Lai et al. 2018).

    Args:
        frame: (H, W, 3) uint8, sides of 12 pixels or more.
        following: The next frame.

    Returns:
        The motion.
    """
    search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    before, after = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (frame, following))
    flow, back = (np.asarray(search.calc(*grays, None), np.float32) for grays in ((before, after), (after, before)))
    returned = _warp(back, flow)
    lengths = (np.square(flow).sum(2), np.square(returned).sum(2))
    is_back = np.square(flow + returned).sum(2) <= 0.01 * (lengths[0] + lengths[1]) + 0.5
    slopes = sum(
        np.square(np.diff(flow, axis=axis, append=flow[-1:] if axis == 0 else flow[:, -1:])) for axis in (0, 1)
    )
    is_smooth = np.asarray(slopes).sum(2) <= 0.01 * lengths[0] + 0.002
    height, width = before.shape
    x, y = np.moveaxis(flow + _list_places(height, width), 2, 0)
    is_inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)  # in the area of a pixel
    return Motion(flow, is_back & is_smooth & is_inside)


def compute_warping_error(frame: Image, following: Image, motion: Motion) -> float:
    """Compute the mean squared difference of a frame and the next one, which is moved back onto it.

    Args:
        frame: (H, W, C) uint8.
        following: The next frame.
        motion: How the one moves into the other.

    Returns:
        The mean over channels and over pixels that are seen in both frames, in squared levels; NaN where none is.
    """
    if not motion.is_seen.any():
        return math.nan
    moved = _warp(following.astype(np.float32), motion.flow)
    return float(np.square(moved - frame, dtype=np.float64)[motion.is_seen].mean())


def add_flicker(
    scores: Scores,
    folders: Sequence[Path],
    target: Side,
    *,
    show: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> Scores:
    """Measure the flicker of outputs and of their targets by the pictures that were written.

    Args:
        scores: Scores of the pairs.
        folders: For each pair the folder with its ``output.png`` and ``target.png``.
        target: What a target's pixels mean.
        show: Shows the progress over what it is given.

    Returns:
        The scores with ``flicker`` and ``flicker_targets``. The value of a frame is that of the step from the one
        before it, and NaN for the first frame of a clip. The value over all frames is the mean over the steps.

    Raises:
        UserError: There are no steps, consecutive frames differ in size, or a metric has one of these names.
    """
    low, high = target.ranges[0]  # one for all channels of pictures
    values = {info.name: np.full(len(scores.names), math.nan) for info in _INFOS}
    last: tuple[int, tuple[Image, Image]] | None = None
    for before, after in show(_list_steps(scores.names)):
        frames = last[1] if last is not None and last[0] == before else _read_frames(folders[before])
        following = _read_frames(folders[after])
        last = after, following
        if frames[1].shape != following[1].shape:
            raise UserError(
                f"flicker=true, but the frames {scores.names[before]} and {scores.names[after]} differ in size: make "
                f"them alike, or {_LEAVE_OUT}"
            )
        motion = estimate_motion(frames[1], following[1])
        for info, own, next_own in zip(_INFOS, frames, following, strict=True):
            values[info.name][after] = compute_warping_error(own, next_own, motion) / (high - low) ** 2
    return scores.extend({name: (own, _bootstrap_defined(own)) for name, own in values.items()}, _INFOS)


def _bootstrap_defined(values: npt.NDArray[np.float64]) -> Interval:
    defined = values[~np.isnan(values)]
    return bootstrap(defined) if len(defined) else Interval(math.nan, math.nan, math.nan)


def _read_frames(folder: Path) -> tuple[Image, Image]:
    """Return output and target, (H, W, 3) each."""
    return read_image(folder / "output.png"), read_image(folder / "target.png")


def _list_places(height: int, width: int) -> npt.NDArray[np.float32]:
    """Return the column and the row of each pixel, (H, W, 2)."""
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), 2).astype(np.float32)


def _warp(image: npt.NDArray[np.float32], flow: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return for each pixel what lies where the flow leads in an image (H, W, C), interpolated linearly."""
    x, y = np.moveaxis(flow + _list_places(*flow.shape[:2]), 2, 0)
    moved = cv2.remap(image, x.copy(), y.copy(), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)
