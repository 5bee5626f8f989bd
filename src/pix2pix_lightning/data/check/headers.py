"""What the headers and the bytes of a split's files tell: files that are no pairs, and copies."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.check.findings import BadPair
from pix2pix_lightning.data.check.header_cache import File, HeaderCache
from pix2pix_lightning.data.files.file_image import describe_misfit
from pix2pix_lightning.data.files.image_header import ImageHeader
from pix2pix_lightning.data.files.listing import PathList
from pix2pix_lightning.data.files.slice_path import AnyFile
from pix2pix_lightning.data.files.stacking import stack_headers
from pix2pix_lightning.data.pairs import Files, PairFiles
from pix2pix_lightning.data.strips import ASPECT_TOLERANCE, format_odd_width, is_strip_shape
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.text import format_names

if TYPE_CHECKING:
    from pix2pix_lightning.data.sides import Side

    Sides = tuple[Side | None, Side | None]

_USUAL = 0.9  # share of the strips whose aspect ratio the others are compared with
_MAX_COMPARED = 200  # pairs whose whole files are compared

Numbers = npt.NDArray[np.int64]


class CheckedSplit:
    """The files of a split with their headers.

    Args:
        name: Name of the split.
        pairs: Its pairs.
        count: How many of them are used: the first ones.
        root: Folder of the data set.
        memory: File that remembers the headers, or None.

    Attributes:
        roles: What each list of files holds: ``a``, ``b``, ``mask``, or ``ab`` for strips.
        sides: The lists of files.
        codes: (sides, count) positions of the headers in ``cache.entries``.
    """

    def __init__(self, name: str, pairs: PairFiles, count: int, root: Path, memory: Path | None) -> None:
        self.name = name
        self.pairs = pairs
        self.count = count
        lists = pairs.list_files()
        self.roles = [role for role, _ in lists]
        self.sides: list[Files] = [files[:count] for _, files in lists]
        self.cache = HeaderCache(list(chain.from_iterable(map(_list_paths, self.sides))), root, memory)
        self.codes: Numbers = self.cache.codes.reshape(len(self.sides), count)

    def get_paths(self, index: int) -> list[AnyFile]:
        """Return the files of a pair."""
        return [side[index] for side in self.sides]

    def get_both(self, index: int) -> list[AnyFile]:
        """Return the first file of A and the first one of B, which of a strip are the same."""
        paths = dict(zip(reversed(self.roles), reversed(self.get_paths(index)), strict=True))
        return [paths["ab"]] * 2 if "ab" in paths else [paths["a"], paths["b"]]

    def list_header_groups(self) -> Iterator[tuple[list[ImageHeader | str], Numbers]]:
        """Yield the headers of a pair, and the numbers of the pairs that have them."""
        entries = self.cache.entries
        keys = self.codes[0]
        for codes in self.codes[1:]:
            keys = np.unique(keys, return_inverse=True)[1] * len(entries) + codes
        order = np.argsort(keys, kind="stable")
        for indices in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
            yield [entries[code] for code in self.codes[:, indices[0]]], indices

    def build_bad(self, index: int, text: str, fix: str = "") -> BadPair:
        """Build the entry of a pair that cannot be trained on.

        Args:
            index: Number of the pair.
            text: What is wrong, with the file.
            fix: What to do, where the text does not say it.

        Returns:
            The entry, with the names of pair and split.
        """
        return BadPair(self.name, int(index), self.pairs.get_name(int(index)), text, fix)


def _list_paths(files: Files) -> list[File]:
    if isinstance(files, PathList) and isinstance(files.folder, Path):
        return [*files.to_strings()]
    return [str(path) if isinstance(path, Path) else path for path in files]


def find_bad_headers(split: CheckedSplit, *, is_strip_sure: bool) -> list[BadPair]:
    """Find pairs whose files cannot be read, are no strips, or differ in shape.

    Args:
        split: The split.
        is_strip_sure: Whether strips may have any aspect ratio.

    Returns:
        An entry for each of them.
    """
    bad = []
    for entries, indices in split.list_header_groups():
        sides, roles = split.pairs.sides, split.roles
        if _describe_misfit(entries, roles, split.get_paths(indices[0]), sides, is_strip_sure=is_strip_sure) is None:
            continue
        for index in indices:
            found = _describe_misfit(entries, roles, split.get_paths(index), sides, is_strip_sure=is_strip_sure)
            assert found is not None
            bad.append(split.build_bad(index, *found))
    return bad


def _describe_misfit(
    entries: list[ImageHeader | str], roles: list[str], paths: list[AnyFile], sides: Sides, *, is_strip_sure: bool
) -> tuple[str, str] | None:
    """Return what is wrong with a pair and what to do, or None."""
    headers = []
    for entry in entries:
        if isinstance(entry, str):
            return entry, ""
        headers.append(entry)
    found = _describe_unlike_stack(headers, roles, paths) or _describe_unread(headers, roles, paths, sides)
    if found is not None:
        return found
    if len(headers) > 1:
        return _describe_unequal(headers, roles, paths)
    width, height = headers[0].upright_size
    if width % 2:
        return format_odd_width(paths[0], width), ""
    if is_strip_sure or is_strip_shape(width, height):
        return None
    folder = paths[0].parent
    return (
        f"{paths[0]} is {width} x {height} pixels, and a strip of two squares side by side is twice as wide as high",
        "set data.layout=strip if the left half is A and the right half B, else put A and B into separate folders, "
        f"{folder / 'A'} and {folder / 'B'}",
    )


def _describe_unread(
    headers: list[ImageHeader], roles: list[str], paths: list[AnyFile], sides: Sides
) -> tuple[str, str] | None:
    """Return what a side does not take of its files."""
    for key, side in zip("ab", sides, strict=True):
        places = [place for place, role in enumerate(roles) if key in role and role != "mask"]
        header = stack_headers([headers[place] for place in places])
        if side is None:
            reason = describe_misfit(header.pixel_dtype, header.pixel_channels, header.is_colour)
        else:
            reason = side.find_misfit(header)
        if reason is not None:
            path = " + ".join(str(paths[place]) for place in places)
            is_raw = side is not None and side.kind == "raw"
            fix = "convert it" if is_raw else f"set data.{key}.kind=raw if all are like it, or convert it to 8 bits"
            return f"{path}, data.{key}: {reason}", fix
    return None


def _describe_unlike_stack(
    headers: list[ImageHeader], roles: list[str], paths: list[AnyFile]
) -> tuple[str, str] | None:
    """Return what is wrong with files whose channels are put together, or whose mask is of another size."""
    place = {role: roles.index(role) for role in roles}
    for header, role, path in zip(headers, roles, paths, strict=True):
        other = place["b" if role == "mask" else role]
        first = headers[other]
        if header.upright_size != first.upright_size:
            shapes = [
                f"{name} is {one.upright_size[0]} x {one.upright_size[1]} pixels"
                for name, one in ((paths[other], first), (path, header))
            ]
            kind = "a mask and its B" if role == "mask" else "files whose channels are put together"
            return f"{kind} differ: {' and '.join(shapes)}", "give both one size"
    return None


def _describe_unequal(headers: list[ImageHeader], roles: list[str], paths: list[AnyFile]) -> tuple[str, str] | None:
    headers, paths = ([values[roles.index(role)] for role in "ab"] for values in (headers, paths))  # type: ignore[assignment]
    a, b = headers
    if _have_one_shape(a.upright_size, b.upright_size):
        return None
    shapes = [
        f"{path} is {header.upright_size[0]} x {header.upright_size[1]} pixels{_format_turn(header)}"
        for path, header in zip(paths, headers, strict=True)
    ]
    text = f"A and B of a pair differ in shape: {' and '.join(shapes)}"
    if a.orientation != b.orientation and _have_one_shape((a.width, a.height), (b.width, b.height)):
        return text, "turn the pixels of both alike and remove the EXIF orientation"
    return text, "give both the same part of the scene, or set data.check=off to train on them as they are"


def _have_one_shape(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Return whether one size is a multiple of the other, but for a rounding of its sides."""
    small, large = sorted((one, other))
    expected = large[1] * small[0] / large[0]
    return abs(small[1] - expected) <= max(1, ASPECT_TOLERANCE * expected)


def _format_turn(header: ImageHeader) -> str:
    return f" (turned by its EXIF orientation {header.orientation})" if header.orientation > 1 else ""


def find_turned(split: CheckedSplit) -> list[str]:
    """Warn of pairs of equal shape of which EXIF orientation turns or mirrors one side and not the other.

    They are right where the other side was drawn on the turned picture, and misaligned where it was made from the
    pixels as stored: of squares, and of pictures upside down, the shape tells nothing.

    Returns:
        One warning, or none.
    """
    turned = []
    for entries, indices in split.list_header_groups():
        both = [entries[split.roles.index(role)] for role in "ab" if role in split.roles]
        headers = [entry for entry in both if isinstance(entry, ImageHeader)]
        if len(headers) < 2 or headers[0].orientation == headers[1].orientation:
            continue
        stored = [(header.width, header.height) for header in headers]
        if _have_one_shape(*(header.upright_size for header in headers)) and _have_one_shape(*stored):
            turned += [str(split.get_paths(index)[0]) for index in sorted(indices.tolist())]
    if not turned:
        return []
    return [
        f"{len(turned)} pairs have a side that is turned by its EXIF orientation and one that is not: check that they "
        f"belong together as shown by a viewer: {format_names(turned)}"
    ]


def find_odd_strips(split: CheckedSplit) -> list[str]:
    """Warn of strips with half the width of nearly all others, as single photos have it, or one and a half times."""
    if len(split.sides) > 1:
        return []
    ratios = np.full(split.count, np.nan)
    for (entry,), indices in split.list_header_groups():
        if isinstance(entry, ImageHeader):
            ratios[indices] = entry.upright_size[0] / entry.upright_size[1]
    usual = np.nanmedian(ratios) if np.isfinite(ratios).any() else np.nan
    if not (np.abs(ratios / usual - 1) <= 2 * ASPECT_TOLERANCE).mean() >= _USUAL:
        return []
    relative = ratios / usual
    odd = np.flatnonzero(np.minimum(np.abs(relative - 0.5), np.abs(relative - 1.5)) <= 2 * ASPECT_TOLERANCE)
    names = [str(split.sides[0][index]) for index in odd.tolist()]
    if not names:
        return []
    return [
        f"{len(names)} files of {split.name} are 0.5 or 1.5 times as wide for their height as the other strips, as "
        f"single photos and rows of three are: {format_names(names)}"
    ]


def find_lossy_numbers(split: CheckedSplit) -> list[str]:
    """Warn of class numbers in JPEG files, which turns them into others near the edges of the classes."""
    warnings = []
    is_lossy = np.array(
        [isinstance(entry, ImageHeader) and entry.format == "jpeg" for entry in split.cache.entries], bool
    )
    for role, codes, files in zip(split.roles, split.codes, split.sides, strict=True):
        sides = zip("ab", split.pairs.sides, strict=True)
        keys = [key for key, side in sides if key in role and side is not None and side.has_class_numbers]
        if not (keys or role == "mask"):  # paths of many photos would take a second
            continue
        found = np.flatnonzero(is_lossy[codes]).tolist()
        # a pair without a mask has its B in the list
        names = [str(files[index]) for index in found if role != "mask" or files[index] not in split.get_both(index)]
        if names and role == "mask":
            warnings.append(
                f"{len(names)} masks of {split.name} are JPEG, which leaves few pixels at zero: write them as PNG "
                f"from the originals: {format_names(names)}"
            )
        elif names:
            warnings += [
                f"data.{key}: {len(names)} files of {split.name} hold class numbers as JPEG, which changes them "
                f"near the edges of the classes: write them as PNG from the originals: {format_names(names)}"
                for key in keys
            ]
    return warnings


def find_copies(one: CheckedSplit, other: CheckedSplit) -> list[tuple[int, int]]:
    """Find pairs of one split that are copies of pairs of the other: all of their files have the same bytes.

    Files of one path are no copies. Files are compared by their sizes first, then by parts, then as a whole.

    Args:
        one: A split.
        other: Another one, or the same one.

    Returns:
        Numbers of the copy in ``one``, and of the first equal pair in ``other``.
    """
    is_same = one is other
    if one.roles != other.roles or (not is_same and one.cache.names == other.cache.names):
        return []
    sizes = [_combine(split, split.cache.sizes.reshape(split.codes.shape)) for split in (one, other)]
    if is_same:
        values, counts = np.unique(sizes[0], return_counts=True)
        candidates = [np.flatnonzero(np.isin(sizes[0], values[counts > 1]))] * 2
    else:
        candidates = [np.flatnonzero(np.isin(mine, theirs)) for mine, theirs in (sizes, sizes[::-1])]
    first: dict[tuple[int, ...], int] = {}
    keys = [_compute_keys(split, found) for split, found in zip((one, other), candidates, strict=True)]
    for index, key in zip(candidates[1].tolist(), keys[1], strict=True):
        first.setdefault(key, index)
    copies: list[tuple[int, int]] = []
    for index, key in zip(candidates[0].tolist(), keys[0], strict=True):
        place = first.get(key)
        if place is None or min(key) < 0 or (is_same and place == index):
            continue
        mine, theirs = one.get_paths(index), other.get_paths(place)
        if mine != theirs and (len(copies) >= _MAX_COMPARED or _compute_digest(mine) == _compute_digest(theirs)):
            copies.append((index, place))
    return copies


def _combine(split: CheckedSplit, values: Numbers) -> Numbers:
    combined: Numbers = values[0]
    for more in values[1:]:
        combined = combined * 2**31 + more  # an overflow at worst adds candidates
    return combined


def _compute_keys(split: CheckedSplit, indices: Numbers) -> list[tuple[int, ...]]:
    """Return sizes and checksums of the files of each pair."""
    columns = []
    for number in range(len(split.sides)):
        places = indices + number * split.count
        columns += [split.cache.sizes[places].tolist(), split.cache.compute_checksums(places).tolist()]
    return list(zip(*columns, strict=True))


def _compute_digest(paths: list[AnyFile]) -> bytes | None:
    digest = hashlib.sha256()
    try:
        for path in paths:
            digest.update(path.read_bytes())
    except (OSError, UserError):
        return None
    return digest.digest()
