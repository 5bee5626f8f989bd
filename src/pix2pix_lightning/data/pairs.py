"""Pairs in folders: side-by-side strips, or A and B in two folders."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.file_image import FileImage
from pix2pix_lightning.data.image_files import IMAGE_SUFFIXES, list_images, open_image
from pix2pix_lightning.data.sides import SideSpec
from pix2pix_lightning.utils.errors import UserError

Image = npt.NDArray[np.uint8]

_log = logging.getLogger(__name__)
_MAX_NAMES = 10


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

    Attributes:
        sides: What A and B take from a file: its colours, over the side's background where they are transparent, or
            its class numbers.
    """

    sides = SideSpec(), SideSpec()

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Image, Image, str]:
        """Return A and B of pair ``index``, each (H, W, 1) or (H, W, 3) uint8, and its name.

        Raises:
            UserError: The file is no image, its width is odd, or a side cannot take what it holds.
        """
        path = self.files[index]
        strip = open_image(path, has_numbers=any(side.has_class_numbers for side in self.sides))
        width = strip.pixels.shape[1]
        if width % 2:
            raise UserError(
                f"{path} is {width} pixels wide: a strip of A and B side by side has an even width; for A and B "
                f"in separate files use the folders {path.parent / 'A'} and {path.parent / 'B'}"
            )
        a, b = strip.crop(0, width // 2), strip.crop(width // 2, width)
        return _take(a, self.sides[0], "a"), _take(b, self.sides[1], "b"), path.stem

    def compute_fingerprints(self) -> list[list[str | int]]:
        """Return name, size and time of each pair's file; they change when the file does."""
        return [_compute_fingerprint(path) for path in self.files]


class FolderPairs:
    """Read pairs from two folders; A and B of a pair are files with the same stem.

    Files without a partner are left out and named in a warning.

    Args:
        folder_a: Folder of the files of A.
        folder_b: Folder of the files of B.

    Raises:
        UserError: A folder has no image, two files in it share a stem, or no file has a partner.

    Attributes:
        sides: As in ``StripPairs``.
    """

    sides = SideSpec(), SideSpec()

    def __init__(self, folder_a: Path, folder_b: Path) -> None:
        a, b = _index_by_stem(folder_a), _index_by_stem(folder_b)
        for folder, found in ((folder_a, a), (folder_b, b)):
            if not found:
                raise UserError(_format_no_image(folder))
        self.files = [(a[stem], b[stem]) for stem in sorted(a.keys() & b.keys())]
        unmatched = [str(a[s]) for s in sorted(a.keys() - b.keys())] + [str(b[s]) for s in sorted(b.keys() - a.keys())]
        if not self.files:
            raise UserError(
                f"{folder_a} and {folder_b} have no file name in common: A and B are matched by the name before "
                f"the ending; without a partner: {_format_names(unmatched)}"
            )
        if unmatched:
            _log.warning("%d files without a partner are left out: %s", len(unmatched), _format_names(unmatched))

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Image, Image, str]:
        """Return A and B of pair ``index``, each (H, W, 1) or (H, W, 3) uint8, and its name.

        Raises:
            UserError: One of its files is no image, or a side cannot take what it holds.
        """
        a, b = (
            _take(open_image(path, has_numbers=side.has_class_numbers), side, key)
            for path, side, key in zip(self.files[index], self.sides, "ab", strict=True)
        )
        return a, b, self.files[index][0].stem

    def compute_fingerprints(self) -> list[list[str | int]]:
        """Return names, sizes and times of each pair's files; they change when a file does."""
        return [_compute_fingerprint(a) + _compute_fingerprint(b) for a, b in self.files]


def open_pairs(root: Path, split: str) -> StripPairs | FolderPairs:
    """Open the pairs of a split, in whichever layout they are found.

    Layouts: strips in ``root/split``; or two folders, ``root/split/A`` and ``root/split/B``, ``root/A/split`` and
    ``root/B/split``, or ``root/splitA`` and ``root/splitB``.

    Args:
        root: Folder of the data set.
        split: Name of the split, such as ``train``.

    Returns:
        The pairs, in the order of their files' names. No image is read.

    Raises:
        UserError: The split or one of its two folders is missing, or there is no image in it.
    """
    strips = root / split
    if strips.is_dir():
        next(strips.iterdir(), None)  # raises the error that names the folder itself, if it may not be read
    layouts = [
        (root / split / "A", root / split / "B"),
        (root / "A" / split, root / "B" / split),
        (root / f"{split}A", root / f"{split}B"),
    ]
    for folder_a, folder_b in layouts:
        if folder_a.is_dir() and folder_b.is_dir():
            return FolderPairs(folder_a, folder_b)
    files = list_images(strips) if strips.is_dir() else []
    if files:
        return StripPairs(files)
    for folder_a, folder_b in layouts:
        present, missing = (folder_a, folder_b) if folder_a.is_dir() else (folder_b, folder_a)
        if present.is_dir():
            raise UserError(f"{missing} does not exist, but {present} does: put the other side of each pair there")
    if strips.is_dir():
        raise UserError(_format_no_image(strips))
    raise UserError(f"{strips} does not exist: put strips of A and B there, or A and B into {strips}/A and {strips}/B")


def _take(image: FileImage, side: SideSpec, key: str) -> Image:
    try:
        return image.to_pixels(side)
    except UserError as error:
        raise UserError(f"{image.name}, data.{key}: {error}") from None


def _compute_fingerprint(path: Path) -> list[str | int]:
    status = path.stat()
    return [path.name, status.st_size, status.st_mtime_ns]


def _format_no_image(folder: Path) -> str:
    return f"{folder}: no image in it; files that end with {' '.join(sorted(IMAGE_SUFFIXES))} are expected"


def _index_by_stem(folder: Path) -> dict[str, Path]:
    files = list_images(folder)
    duplicates = [stem for stem, count in Counter(path.stem for path in files).items() if count > 1]
    if duplicates:
        raise UserError(
            f"{folder} has several files with the stem {_format_names(sorted(duplicates))}: keep one file of each"
        )
    return {path.stem: path for path in files}


def _format_names(names: list[str]) -> str:
    more = len(names) - _MAX_NAMES
    return ", ".join(names[:_MAX_NAMES]) + (f" and {more} more" if more > 0 else "")
