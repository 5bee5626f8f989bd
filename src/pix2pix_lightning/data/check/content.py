"""What the pixels of pairs tell: damaged files, wrong labels, single colours, class numbers read as pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.files.image_files import format_reason
from pix2pix_lightning.data.files.slice_path import AnyFile
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.pairs import Image, Pairs
from pix2pix_lightning.data.sides import RawSide, Side
from pix2pix_lightning.data.sides.palette import find_unknown_colours
from pix2pix_lightning.data.sides.ranges import format_range
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.text import format_names

Limits = npt.NDArray[np.floating[Any]]
_MAX_LEVELS = 64  # a picture has more of them
_MAX_CLASS = 200
_DARK = 63
_LEAST_SPREAD = 1 / 16  # of a range that values fill
_MAX_CLIPPED = 0.05  # share of values beyond a range


class SideContent(NamedTuple):
    """What the pixels of one image hold.

    Attributes:
        is_constant: Whether all have one colour.
        levels: The gray levels as bits of a number, 0 where there are colours or more levels than classes need.
        unknown: Colours of parts of the image that the side's palette lacks.
        is_ignored: Whether no pixel has a class, or none has a value.
        limits: Least and greatest value of each channel, of raw values; infinite where a channel has none.
        clipped: Share of the raw values of each range that lie beyond it.
    """

    is_constant: bool
    levels: int
    unknown: Sequence[Sequence[int]] = ()
    is_ignored: bool = False
    limits: Sequence[tuple[float, float]] = ()
    clipped: Sequence[float] = ()


class ClassNumbers(NamedTuple):
    """What values images hold that look like class numbers.

    Attributes:
        low: The least number.
        high: The greatest number but for 255.
        has_void: Whether 255 occurs too, which often stands for no class.
    """

    low: int
    high: int
    has_void: bool

    def format_values(self) -> str:
        """Return the values for a message."""
        return f"{self.low} to {self.high}{' and 255' if self.has_void else ''}"

    def format_keys(self, key: str) -> str:
        """Return the configuration keys of a label side; ``key`` is ``a`` or ``b``."""
        ignore = f" data.{key}.ignore_index=255" if self.has_void else ""
        return f"data.{key}.kind=label data.{key}.num_classes={self.high + 1}{ignore}"


class PairContent(NamedTuple):
    """What the pixels of a pair hold.

    Attributes:
        name: The pair's name.
        error: Why it cannot be used, or None.
        a: Content of A, where it could be read.
        b: Content of B.
    """

    name: str
    error: str | None
    a: SideContent | None = None
    b: SideContent | None = None


def examine_pair(pairs: Pairs, index: int, name: str, files: Sequence[AnyFile], spec: PairSpec) -> PairContent:
    """Decode a pair, and check its values against the descriptions of its sides.

    Args:
        pairs: The pairs.
        index: Number of the pair.
        name: Name of the pair, for the case that it cannot be read.
        files: File of A and file of B, or that of both.
        spec: What the pixels of both sides mean.

    Returns:
        What it holds, or why it cannot be used.
    """
    try:
        images = pairs[index][:2]
    except (UserError, OSError) as error:
        return PairContent(name, format_reason(error))
    contents: list[SideContent | None] = []
    for image, key, side, file in zip(images, "ab", (spec.a, spec.b), (files[0], files[-1]), strict=True):
        try:
            prepared = side.prepare(image)
        except UserError as error:
            return PairContent(name, f"{file}, data.{key}: {error}")
        if isinstance(side, RawSide):
            contents.append(_examine_values(prepared, side))
        elif side.kind == "label" or side.palette:
            unknown = find_unknown_colours(image, side.palette) if side.palette else ()
            is_ignored = side.ignore_index is not None and bool((prepared == side.ignore_index).all())
            contents.append(SideContent(False, 0, unknown, is_ignored))
        else:
            contents.append(examine_image(image))
    return PairContent(name, None, *contents)


def summarize_content(contents: Sequence[PairContent], spec: PairSpec) -> list[str]:
    """Return warnings about what is right for single images, and wrong for a data set.

    Args:
        contents: What was found in the pairs that can be used.
        spec: What the pixels of both sides mean.
    """
    warnings = []
    for key, side in (("a", spec.a), ("b", spec.b)):
        found = [(pair.name, content) for pair in contents if (content := getattr(pair, key)) is not None]
        constant = [name for name, content in found if content.is_constant]
        if constant:
            warnings.append(
                f"data.{key}: {len(constant)} of {len(found)} images that were decoded have a single colour: "
                f"{format_names(constant)}"
            )
        ignored = [name for name, content in found if content.is_ignored]
        if ignored:
            lack = "no value" if side.kind == "raw" else f"no class in any pixel, {side.ignore_index} everywhere"
            warnings.append(
                f"data.{key}: {len(ignored)} of {len(found)} images that were decoded have {lack}, from which nothing "
                f"is learned: {format_names(ignored)}"
            )
        warnings += [*_describe_unknown_colours(key, found), *_describe_range(key, found, side)]
        gray = [content.levels for _, content in found if content.levels]
        if 2 * len(gray) > len(found):
            numbers = find_class_numbers(gray)
            if numbers is not None:
                warnings.append(
                    f"data.{key}: the images that were decoded hold the values {numbers.format_values()} alone, as "
                    f"files of class numbers do: if they are, set {numbers.format_keys(key)}; as pictures they are "
                    "nearly black"
                )
    return warnings


def examine_image(image: Image) -> SideContent:
    """Return what an 8-bit picture (H, W, C) holds."""
    is_constant = bool((image == image[:1, :1]).all())
    first = image[..., 0]
    if image.shape[2] > 1 and (image[..., 1:] != image[..., :1]).any():
        return SideContent(is_constant, 0)
    levels = np.flatnonzero(np.bincount(first.ravel(), minlength=256)).tolist()
    return SideContent(is_constant, sum(1 << level for level in levels) if len(levels) <= _MAX_LEVELS else 0)


def _examine_values(image: Image, side: RawSide) -> SideContent:
    missing = np.isnan(image) if side.is_float else np.zeros(image.shape, bool)
    has_value = ~(missing if side.nodata is None else missing | (image == side.nodata))
    values = image[has_value]
    if not values.size:
        return SideContent(False, 0, is_ignored=True)
    channels = [image[..., channel][has_value[..., channel]] for channel in range(image.shape[2])]
    limits = [(float(one.min()), float(one.max())) if one.size else (np.inf, -np.inf) for one in channels]
    ranges = [values] if len(side.ranges) == 1 else channels
    clipped = [_measure_clipped(one, *ends) for one, ends in zip(ranges, side.ranges, strict=True)]
    return SideContent(bool(values.min() == values.max()), 0, limits=limits, clipped=clipped)


def _measure_clipped(values: Image, low: float, high: float) -> float:
    return float(((values < low) | (values > high)).mean()) if values.size else 0.0


def _describe_range(key: str, found: Sequence[tuple[str, SideContent]], side: Side) -> list[str]:
    """Warn of values that fill a small part of a range, as pictures that are nearly black, or lie beyond it."""
    limits = np.array([content.limits for _, content in found if content.limits])
    if not (limits.size and isinstance(side, RawSide)):
        return []
    shares = np.array([content.clipped for _, content in found if content.clipped]).mean(axis=0)
    lows, highs = limits[..., 0].min(axis=0), limits[..., 1].max(axis=0)
    if len(side.ranges) > 1:
        return _describe_channel_ranges(key, lows, highs, shares, side)
    low, high = lows.min(), highs.max()
    fix = f"set data.{key}.value_range=[{low:g},{high:g}] or [p0.5,p99.5]"
    ends, ((least, greatest),) = format_range(side.value_range), side.ranges
    if shares[0] > _MAX_CLIPPED:
        return [f"data.{key}: {shares[0]:.0%} of the values that were read lie beyond value_range={ends}: {fix}"]
    if high - low < _LEAST_SPREAD * (greatest - least):
        return [
            f"data.{key}: the values that were read, {low:g} to {high:g}, fill a small part of value_range={ends}, "
            f"where a network sees little of their differences: {fix}"
        ]
    narrow = np.flatnonzero((highs >= lows) & (highs - lows < _LEAST_SPREAD * (high - low)))
    if narrow.size:
        ranges = [f"{number + 1} ({lows[number]:g} to {highs[number]:g})" for number in narrow.tolist()]
        return [
            f"data.{key}: the range of a side is that of all its channels, {ends}, and some fill a small part of it, "
            f"where a network sees little of their differences: channels {format_names(ranges)}: set "
            f"data.{key}.value_range=[[p0.5,p99.5]], which gives each channel a range of its own"
        ]
    return []


def _describe_channel_ranges(key: str, lows: Limits, highs: Limits, clipped: Limits, side: RawSide) -> list[str]:
    """Warn of channels whose values fill a small part of their own range, or lie beyond it."""
    least, greatest = np.array(side.ranges).T
    has_values = highs >= lows
    is_beyond = has_values & (clipped > _MAX_CLIPPED)
    is_narrow = has_values & (highs - lows < _LEAST_SPREAD * (greatest - least))
    warnings = []
    for found, what in ((is_beyond, "have many values beyond"), (is_narrow, "fill a small part of")):
        ranges = [
            f"{number + 1} ({lows[number]:g} to {highs[number]:g}, [{least[number]:g},{greatest[number]:g}])"
            for number in np.flatnonzero(found).tolist()
        ]
        if ranges:
            warnings.append(
                f"data.{key}: some channels {what} their range: {format_names(ranges)}: set other ranges, or "
                f"data.{key}.value_range=[[p0.5,p99.5]]"
            )
    return warnings


def _describe_unknown_colours(key: str, found: Sequence[tuple[str, SideContent]]) -> list[str]:
    """Warn of colours that a palette lacks: its nearest colour takes their place."""
    counts = Counter(tuple(colour) for _, content in found for colour in content.unknown)
    if not counts:
        return []
    colours = [str(list(colour)) for colour, _ in counts.most_common()]
    names = [name for name, content in found if content.unknown]
    return [
        f"data.{key}: {len(names)} of {len(found)} decoded images have parts in colours that the palette lacks, "
        f"{format_names(colours)}; the nearest colour takes their place: add them to data.{key}.palette, or redraw "
        f"{format_names(names)}"
    ]


def find_class_numbers(gray: Sequence[int]) -> ClassNumbers | None:
    """Find out whether grayscale pictures look like class numbers.

    Class numbers begin near 0, most of them are in use, and they leave the upper levels empty but for 255, which often
    stands for no class.

    Args:
        gray: Levels of each image, as ``SideContent`` has them.

    Returns:
        The numbers, or None.
    """
    union = 0
    for levels in gray:
        union |= levels
    numbers = [level for level in range(255) if union >> level & 1]
    if len(numbers) < 2 or numbers[-1] > _MAX_CLASS or (numbers[-1] > _DARK and 2 * len(numbers) <= numbers[-1]):
        return None
    return ClassNumbers(numbers[0], numbers[-1], bool(union >> 255))
