"""Pairs in folders: side-by-side strips, or A and B in two folders."""

from __future__ import annotations

import logging
import unicodedata
from collections import Counter
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.files.file_image import FileImage
from pix2pix_lightning.data.files.image_files import IMAGE_SUFFIXES, open_image
from pix2pix_lightning.data.files.listing import (
    Listing,
    PathList,
    is_system_folder,
    list_images_below,
    log_passed_over,
)
from pix2pix_lightning.data.strips import split_strip
from pix2pix_lightning.utils.checks import check_choice
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.text import format_names

if TYPE_CHECKING:  # it imports torch, which pairs do without
    from pix2pix_lightning.data.sides import Side

Image = npt.NDArray[np.uint8]

_log = logging.getLogger(__name__)
LAYOUTS = ("auto", "strip", "folders")


class Pairs(Protocol):
    """A sequence of pairs: the interface of a data set."""

    def __len__(self) -> int:
        """Return the number of pairs."""

    def __getitem__(self, index: int) -> tuple[Image, Image, str]:
        """Return A and B of pair ``index``, each (H, W, 1) or (H, W, 3) uint8, and its name."""


class StripPairs:
    """Read files that hold A in their left half and B in the right one, as the public archives do.

    Args:
        files: One file for each pair.
        folder: Folder of the files. A pair's name is the path below it without the ending; by default the file's name.

    Attributes:
        sides: What A and B take from a file: its colours, over the side's background where they are transparent, or
            its class numbers. None takes colours over white.
    """

    sides: tuple[Side | None, Side | None] = (None, None)

    def __init__(self, files: Sequence[Path], folder: Path | None = None) -> None:
        self.files = files
        self.folder = folder

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Image, Image, str]:
        """Return A and B of pair ``index``, each (H, W, 1) or (H, W, 3) uint8, and its name.

        Raises:
            UserError: The file is no image, its width is odd, or a side cannot take what it holds.
        """
        path = self.files[index]
        strip = open_image(path, has_numbers=any(map(_has_class_numbers, self.sides)))
        a, b = split_strip(strip, path)
        return _convert(a, self.sides[0], "a"), _convert(b, self.sides[1], "b"), self.get_name(index)

    def get_name(self, index: int) -> str:
        """Return the name of pair ``index``."""
        return _build_name(self.files[index], self.folder)

    def select(self, indices: Sequence[int]) -> StripPairs:
        """Return some of the pairs, in the order of ``indices``."""
        selected = copy(self)
        files = self.files
        selected.files = files.select(indices) if isinstance(files, PathList) else [files[index] for index in indices]
        return selected

    def compute_fingerprints(self) -> list[list[str | int]]:
        """Return name, size and time of each pair's file; they change when the file does."""
        return [_compute_fingerprint(path, self.folder) for path in self.files]


class FolderPairs:
    """Read pairs from two folders; A and B of a pair are files with the same path below them, but for the ending.

    Files without a partner are left out and named in a warning.

    Args:
        folder_a: Folder of the files of A; those in folders below it count too.
        folder_b: Folder of the files of B.

    Raises:
        UserError: A folder has no image, two files differ in their ending alone, or no file has a partner.

    Attributes:
        sides: As in ``StripPairs``.
    """

    sides: tuple[Side | None, Side | None] = (None, None)

    def __init__(self, folder_a: Path, folder_b: Path) -> None:
        a, b = _index_by_stem(folder_a), _index_by_stem(folder_b)
        for folder, found in ((folder_a, a), (folder_b, b)):
            if not found:
                raise UserError(_format_no_image(folder))
        matched = sorted(a.keys() & b.keys(), key=lambda stem: stem.split("/"))
        self.files_a = PathList(folder_a, [a[stem] for stem in matched])
        self.files_b = PathList(folder_b, [b[stem] for stem in matched])
        unmatched = [
            f"{folder}/{files[stem]}"
            for folder, files, others in ((folder_a, a, b), (folder_b, b, a))
            for stem in sorted(files.keys() - others.keys())
        ]
        if not matched:
            raise UserError(
                f"{folder_a} and {folder_b} have no file name in common: A and B are matched by the path below these "
                f"folders before the ending; without a partner: {format_names(unmatched)}"
            )
        if unmatched:
            _log.warning("%d files without a partner are left out: %s", len(unmatched), format_names(unmatched))

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.files_a)

    def __getitem__(self, index: int) -> tuple[Image, Image, str]:
        """Return A and B of pair ``index``, each (H, W, 1) or (H, W, 3) uint8, and its name.

        Raises:
            UserError: One of its files is no image, or a side cannot take what it holds.
        """
        a, b = (
            _convert(open_image(path, has_numbers=_has_class_numbers(side)), side, key)
            for path, side, key in zip((self.files_a[index], self.files_b[index]), self.sides, "ab", strict=True)
        )
        return a, b, self.get_name(index)

    def get_name(self, index: int) -> str:
        """Return the name of pair ``index``."""
        return self.files_a.names[index].rpartition(".")[0]

    def select(self, indices: Sequence[int]) -> FolderPairs:
        """Return some of the pairs, in the order of ``indices``."""
        selected = copy(self)
        selected.files_a, selected.files_b = self.files_a.select(indices), self.files_b.select(indices)
        return selected

    def compute_fingerprints(self) -> list[list[str | int]]:
        """Return names, sizes and times of each pair's files; they change when a file does."""
        sides = [[_compute_fingerprint(path, files.folder) for path in files] for files in (self.files_a, self.files_b)]
        return [a + b for a, b in zip(*sides, strict=True)]


def open_pairs(root: Path, split: str, layout: str = "auto") -> StripPairs | FolderPairs:
    """Open the pairs of a split, in whichever layout they are found.

    Layouts: strips in ``root/split``; or two folders, ``root/split/A`` and ``root/split/B``, ``root/A/split`` and
    ``root/B/split``, or ``root/splitA`` and ``root/splitB``. Images in folders below these belong to them.

    Args:
        root: Folder of the data set.
        split: Name of the split, such as ``train``; empty for pairs that lie in ``root`` itself.
        layout: ``strip`` and ``folders`` look for that layout alone; ``auto`` looks for folders first.

    Returns:
        The pairs, in the order of their files' names. No image is read.

    Raises:
        UserError: The split or one of its two folders is missing, or there is no image in it, or strips lie in
            folders of equal content and ``layout`` is ``auto``.
    """
    check_choice("data.layout", layout, LAYOUTS)
    strips = root / split
    if strips.is_dir():
        next(strips.iterdir(), None)  # raises the error that names the folder itself, if it may not be read
    layouts = list_side_folders(root, split)
    complete = [both for both in layouts if both[0].is_dir() and both[1].is_dir()]
    if complete and layout != "strip":
        pairs = FolderPairs(*complete[0])
        _warn_passed_over(strips, complete)
        return pairs
    listing = list_images_below(strips)
    if complete[:1] == layouts[:1]:
        listing = _leave_out_sides(strips, listing)
    has_strips = layout == "strip" or any("/" not in file for file in listing.files)
    for folder_a, folder_b in layouts[: 1 if has_strips else 3] if layout != "strip" else ():
        present, missing = (folder_a, folder_b) if folder_a.is_dir() else (folder_b, folder_a)
        if present.is_dir():
            raise UserError(f"{missing} does not exist, but {present} does: put the other side of each pair there")
    if layout == "folders":
        raise UserError(
            f"{strips} has no folders A and B: put A and B of each pair into {strips}/A and {strips}/B, or set "
            "data.layout=strip if each file holds both"
        )
    if not strips.is_dir():
        raise UserError(
            f"{strips} does not exist: put strips of A and B there, or A and B into {strips}/A and {strips}/B"
        )
    log_passed_over(strips, listing)
    if not listing.files:
        raise UserError(_format_no_image(strips))
    if layout == "auto":
        _check_no_side_folders(strips, listing)
    if duplicates := _find_duplicates([file.rpartition(".")[0] for file in listing.files]):
        _log.warning(
            "%s has several files that differ in their ending alone, each is a pair, and their names are equal: %s",
            strips,
            format_names(duplicates),
        )
    return StripPairs(PathList(strips, listing.files), strips)


def _has_class_numbers(side: Side | None) -> bool:
    return side is not None and side.has_class_numbers


def list_side_folders(root: Path, split: str) -> list[tuple[Path, Path]]:
    """List the places of the two folders of a split, each once; an empty ``split`` stands for ``root`` itself."""
    places = [
        (root / split / "A", root / split / "B"),
        (root / "A" / split, root / "B" / split),
        (root / f"{split}A", root / f"{split}B"),
    ]
    return list(dict.fromkeys(places))


def _convert(image: FileImage, side: Side | None, key: str) -> Image:
    try:
        return image.to_colours() if side is None else side.read(image)
    except UserError as error:
        raise UserError(f"{image.name}, data.{key}: {error}") from None


def _warn_passed_over(strips: Path, complete: list[tuple[Path, Path]]) -> None:
    """Warn of images next to the two folders that are used, which are in no pair."""
    used = complete[0]
    places = {folder: list_images_below(folder) for both in complete[1:] for folder in both}
    if strips.is_dir():
        places[strips] = list_images_below(strips, recursive=False)
        for folder in sorted(strips.iterdir()):
            if folder.is_dir() and folder not in used and not is_system_folder(folder.name):
                places[folder] = list_images_below(folder)
    for folder, listing in places.items():
        if listing.files:
            _log.warning(
                "%s is passed over, with %d images: the pairs are those of %s and %s; move it away, or set data.layout",
                folder,
                len(listing.files),
                *used,
            )


def _leave_out_sides(strips: Path, listing: Listing) -> Listing:
    """Leave out the images of the folders A and B next to strips, which are no strips."""
    files = [file for file in listing.files if not file.startswith(("A/", "B/"))]
    if not any("/" not in file for file in files):
        return listing
    _log.warning("%s: %d images in its folders A and B are passed over", strips, len(listing.files) - len(files))
    return listing._replace(files=files)


def _check_no_side_folders(strips: Path, listing: Listing) -> None:
    """Refuse strips in several folders of equal names, which are probably the two sides of pairs."""
    if any("/" not in file for file in listing.files):
        return
    stems: dict[str, set[str]] = {}
    for file in listing.files:
        folder, _, rest = file.partition("/")
        stems.setdefault(folder, set()).add(rest.rpartition(".")[0])
    first, *others = stems.values()
    if others and all(2 * len(first & other) >= min(len(first), len(other)) for other in others):
        raise UserError(
            f"{strips} has the folders {', '.join(stems)} with the same file names, but not A and B: rename the "
            f"sides to {strips}/A and {strips}/B, or set data.layout=strip if each file holds A and B side by side"
        )


def _build_name(path: Path, folder: Path | None) -> str:
    return path.stem if folder is None else path.relative_to(folder).with_suffix("").as_posix()


def _compute_fingerprint(path: Path, folder: Path | None) -> list[str | int]:
    name = path.name if folder is None else path.relative_to(folder).as_posix()
    try:
        status = path.stat()
    except OSError:  # reading it says so, unless the pair is left out
        return [name, -1, -1]
    return [name, status.st_size, status.st_mtime_ns]


def _format_no_image(folder: Path) -> str:
    return f"{folder}: no image in it; files that end with {' '.join(sorted(IMAGE_SUFFIXES))} are expected"


def _index_by_stem(folder: Path) -> dict[str, str]:
    """Return the files below a folder, relative to it, by their path without the ending."""
    listing = list_images_below(folder)
    log_passed_over(folder, listing)
    # the systems that wrote A and B may differ in the form of an accented letter
    stems = [unicodedata.normalize("NFC", file.rpartition(".")[0]) for file in listing.files]
    duplicates = _find_duplicates(stems)
    if duplicates:
        raise UserError(f"{folder} has several files with the stem {format_names(duplicates)}: keep one file of each")
    return dict(zip(stems, listing.files, strict=True))


def _find_duplicates(stems: list[str]) -> list[str]:
    if len(set(stems)) == len(stems):
        return []
    return sorted(stem for stem, count in Counter(stems).items() if count > 1)
