"""Find out from the training files what their pixels mean, where the configuration leaves it open."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.check.content import examine_image, find_class_numbers
from pix2pix_lightning.data.files.file_image import describe_misfit
from pix2pix_lightning.data.files.image_header import ImageHeader
from pix2pix_lightning.data.files.stacking import stack_headers
from pix2pix_lightning.data.pairs import PairFiles, read_file_header
from pix2pix_lightning.data.range_finder import RangeFinder
from pix2pix_lightning.data.resize import INTERPOLATIONS
from pix2pix_lightning.data.sides import KINDS, Side, build_side
from pix2pix_lightning.data.sides.ranges import (
    DTYPES,
    compute_type_limits,
    format_range,
    has_percentiles,
    parse_bounds,
)
from pix2pix_lightning.utils.checks import check_choice
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.processes import is_first_process

AUTO = "auto"
_log = logging.getLogger(__name__)
_NUM_HEADERS, _NUM_PICTURES, _NUM_IMAGES = 64, 8, 256  # files that are looked at, spread over the training pairs

Options = dict[str, Any]


def is_open(options: Mapping[str, Any] | None) -> bool:
    """Return whether the arguments of a side leave open what its files tell."""
    options = options or {}
    kind = options.get("kind") or AUTO
    if kind != "raw":
        return bool(kind == AUTO)
    is_described = options.get("dtype") is not None and options.get("num_channels") is not None
    return not is_described or _has_open_range(options)


def check_open_side(options: Mapping[str, Any]) -> None:
    """Check what can be seen of the arguments of an open side before its files are read.

    Raises:
        UserError: A key or an interpolation is unknown, or a range is none.
    """
    known = {"kind", *(field.name for side in KINDS.values() for field in fields(side))}
    for key in options:
        if key not in known:
            raise UserError(f"{key!r} is no key of a side: use one of {', '.join(sorted(known))}")
    if options.get("value_range") not in (None, AUTO):
        parse_bounds(options["value_range"])
    if options.get("interpolation") is not None:
        check_choice("interpolation", options["interpolation"], INTERPOLATIONS)


def complete_open_sides(
    a: Mapping[str, Any] | None, b: Mapping[str, Any] | None, open_split: Callable[[str], PairFiles] | None
) -> dict[str, Options]:
    """Complete the arguments of the sides that leave something open, and log what was found out.

    Args:
        a: Keyword arguments of ``build_side`` for A.
        b: Those for B.
        open_split: Opens the pairs of a split; None for pairs that are no files.

    Returns:
        The complete arguments of both sides, by ``a`` and ``b``. Where there are no training files, whose lack is
        reported when they are used, a kind that is open is ``rgb``.

    Raises:
        UserError: There are no training files to tell channels and type of raw values; or as for ``complete_sides``.
    """
    sides = {"a": dict(a or {}), "b": dict(b or {})}
    opened = [key for key, options in sides.items() if is_open(options)]
    if not opened:
        return sides
    try:
        pairs = None if open_split is None else open_split("train")
    except (UserError, OSError):
        pairs = None
    if pairs is None:
        raw = [key for key in opened if sides[key].get("kind") == "raw"]
        if raw:
            raise UserError(
                f"data.{raw[0]}.kind=raw: there are no training files to tell channels and type: set "
                f"data.{raw[0]}.num_channels, dtype and value_range, or data.root"
            )
        return {key: {**side, "kind": "rgb"} if key in opened else side for key, side in sides.items()}
    completed = complete_sides(sides["a"], sides["b"], pairs)
    if is_first_process():
        _log.info("%s", "; ".join(format_completed(key, completed[key]) for key in opened))
    return completed


def complete_sides(a: Mapping[str, Any], b: Mapping[str, Any], pairs: PairFiles) -> dict[str, Options]:
    """Complete the arguments of both sides by the headers of training files and, for ranges, by their values.

    Three 8-bit channels are ``rgb``, one is ``grayscale``, and anything else is ``raw``.

    Args:
        a: Keyword arguments of ``build_side`` for A; a ``kind`` that is missing or ``auto`` is found out, and so are
            the channels, the type and the range of ``raw``.
        b: Those for B.
        pairs: The training pairs.

    Returns:
        The arguments by ``a`` and ``b``, complete where they were open.

    Raises:
        UserError: The files of a side differ in what they hold, or look like class numbers, or a range is no range.
    """
    completed = {"a": dict(a), "b": dict(b)}
    opened = [key for key, options in completed.items() if is_open(options)]
    for key in opened:
        completed[key] = _recognize(key, completed[key], _read_headers(pairs, key))
    _check_no_class_numbers([key for key in opened if completed[key]["kind"] == "grayscale"], completed, pairs)
    _find_ranges([key for key in opened if completed[key]["kind"] == "raw"], completed, pairs)
    return completed


def format_completed(key: str, options: Mapping[str, Any]) -> str:
    """Return in a few words what was found out about a side.

    Args:
        key: ``a`` or ``b``.
        options: Its complete arguments.
    """
    if options["kind"] != "raw":
        return f"data.{key} is {options['kind']}"
    side: Any = build_side(**options)
    nodata = "" if side.nodata is None else f", nodata={side.nodata:g}"
    channels = f"{side.num_channels} channel{'s' if side.num_channels > 1 else ''}"
    return f"data.{key} is raw: {channels} of {side.dtype}, value_range={format_range(side.value_range)}{nodata}"


def _spread(count: int, most: int) -> list[int]:
    """Return up to ``most`` numbers below ``count``, evenly spread."""
    return sorted(set(np.linspace(0, count - 1, min(most, count)).astype(int).tolist()))


def _read_headers(pairs: PairFiles, key: str) -> list[ImageHeader]:
    """Read what the files of a side say in some pairs; those that cannot be read are left to the check."""
    stack = [files for role, files in pairs.list_files() if key in role and role != "mask"]
    headers = []
    for index in _spread(len(pairs), _NUM_HEADERS):
        try:
            parts = [read_file_header(files[index]) for files in stack]
        except (UserError, OSError):
            continue
        if all(part.pixel_dtype in DTYPES for part in parts):
            headers.append(stack_headers(parts))
    return headers


def _recognize(key: str, options: Options, headers: list[ImageHeader]) -> Options:
    """Fill in kind, channels, type, nodata, scale and offset."""
    kind = options.get("kind") or AUTO
    pictures = [header for header in headers if _is_picture(header)]
    if kind == AUTO and len(pictures) == len(headers):
        is_gray = bool(headers) and all(header.pixel_channels == 1 for header in headers)
        if len({header.pixel_channels for header in pictures}) > 1:
            _log.warning("data.%s: some files are grayscale and others RGB: all are taken as RGB", key)
        return {**options, "kind": "grayscale" if is_gray else "rgb"}
    contents = Counter((header.pixel_channels, _widen(header, headers)) for header in headers)
    if len(contents) > 1 or (pictures and kind == AUTO):
        kinds = Counter(f"{header.pixel_channels} x {header.pixel_dtype}" for header in headers)
        listed = ", ".join(f"{count} of {content}" for content, count in kinds.most_common(4))
        raise UserError(
            f"data.{key}: the training files hold different channels or types ({listed}, of {len(headers)} that were "
            f"looked at): convert them to one, or set data.{key}.kind= if all fit it"
        )
    if not contents:
        raise UserError(f"data.{key}.kind=raw: no training file tells channels and type: set num_channels and dtype")
    ((channels, dtype),) = contents
    scales = {(header.scale, header.offset) for header in headers}
    if len(scales) > 1:  # stored values of one file are not those of another: physical ones are compared
        dtype = "float32"
    dtype = options.get("dtype") or dtype
    found: Options = {"num_channels": channels, "dtype": dtype}
    if dtype in ("uint8", "uint16", "int16"):
        found["scale"], found["offset"] = next(iter(scales))
        stored = Counter(header.nodata for header in headers if _can_hold(dtype, header.nodata))
        found["nodata"] = stored.most_common(1)[0][0] if stored else None
        levels = max(header.max_level for header in headers)
        if 0 < levels < compute_type_limits(dtype)[1] and options.get("value_range") in (None, AUTO):
            found["value_range"] = [0, levels]
    given = {name: value for name, value in options.items() if value is not None and value != AUTO}
    return {**options, **found, **given, "kind": "raw"}


def _can_hold(dtype: str, nodata: float | None) -> bool:
    """Return whether pixels of a type of integers may have a value, as those of uint16 cannot be -9999."""
    low, high = compute_type_limits(dtype)
    return nodata is not None and low <= nodata <= high and nodata == int(nodata)


def _is_picture(header: ImageHeader) -> bool:
    misfit = describe_misfit(header.pixel_dtype, header.pixel_channels, header.is_colour)
    return misfit is None and header.nodata is None


def _widen(header: ImageHeader, headers: list[ImageHeader]) -> str:
    """Return the type of a file's pixels; that of float32 where half and single precision are mixed."""
    types = {other.pixel_dtype for other in headers}
    return "float32" if types == {"float16", "float32"} else header.pixel_dtype


def _check_no_class_numbers(keys: list[str], completed: Mapping[str, Options], pairs: PairFiles) -> None:
    if not keys:
        return
    levels: dict[str, list[int]] = {key: [] for key in keys}
    for images in _read_images(pairs, completed, _NUM_PICTURES):
        for key in keys:
            levels[key].append(examine_image(images["ab".index(key)]).levels)
    for key in keys:
        found = find_class_numbers([bits for bits in levels[key] if bits])
        if found is not None and 2 * sum(map(bool, levels[key])) > len(levels[key]):
            raise UserError(
                f"data.{key}: the training files hold the values {found.format_values()} alone, as class numbers do: "
                f"set {found.format_keys(key)} if they are, or data.{key}.kind=grayscale if they are pictures"
            )


def _read_images(
    pairs: PairFiles, completed: Mapping[str, Options], most: int
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Read some pairs, one by one; those that cannot be read are left to the check of the data set, unless none can."""
    pairs = copy(pairs)
    pairs.sides = tuple(_build_provisional(completed[key]) for key in "ab")  # type: ignore[assignment]
    num_read, reason = 0, None
    for index in _spread(len(pairs), most):
        try:
            a, b, _ = pairs[index]
        except (UserError, OSError) as error:
            reason = error
            continue
        num_read += 1
        yield a, b
    if not num_read and reason is not None:
        raise reason


def _build_provisional(options: Options) -> Side:
    """Build a side that reads like the one that is described, whose range may be open."""
    if options["kind"] != "raw":
        return build_side(**options)
    return build_side(**{**options, "value_range": list(compute_type_limits(options["dtype"]))})


def _has_no_range(options: Mapping[str, Any]) -> bool:
    return options.get("value_range") in (None, AUTO)


def _has_open_range(options: Mapping[str, Any]) -> bool:
    """Return whether a range of a raw side depends on the files' values."""
    if _has_no_range(options):
        return str(options.get("dtype")).startswith("float")
    return has_percentiles(options.get("value_range"))


def _find_ranges(keys: list[str], completed: dict[str, Options], pairs: PairFiles) -> None:
    """Replace open ranges by numbers, in place; that of int16, of which files fill a small part, counts as open."""
    signed = [key for key in keys if completed[key]["dtype"] == "int16" and _has_no_range(completed[key])]
    keys = [key for key in keys if key in signed or _has_open_range(completed[key])]
    if not keys:
        return
    count = min(_NUM_IMAGES, len(pairs))
    finders = {key: _build_finder(key, completed[key], count) for key in keys}
    for pair in _read_images(pairs, completed, count):
        for key, finder in finders.items():
            finder.add(pair["ab".index(key)])
    for key, finder in finders.items():
        if not (key in signed and finder.is_constant):  # a single value: all of the type
            completed[key]["value_range"] = finder.compute()


def _build_finder(key: str, options: Options, num_images: int) -> RangeFinder:
    side: Any = _build_provisional(options)
    return RangeFinder(key, side, None if _has_no_range(options) else options["value_range"], num_images)
