"""Pairs in folders: side-by-side strips, or A and B in two folders."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.image_files import IMAGE_SUFFIXES, list_images, read_image
from pix2pix_lightning.utils.errors import UserError

Image = npt.NDArray[np.uint8]

_log = logging.getLogger(__name__)
_NAMED_AT_MOST = 10


class Pairs(Protocol):
    """Numbered pairs: what a data set has to offer to be trained on."""

    def __len__(self) -> int:
        """How many pairs there are."""

    def __getitem__(self, index: int) -> tuple[Image, Image, str]:
        """Pair ``index`` as A and B, each (H, W, 3) uint8, and its name."""


class StripPairs:
    """Files that hold A in their left half and B in the right one, as the public archives do."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Image, Image, str]:
        """Pair ``index``.

        Raises:
            ValueError: The file is no image, or its width is odd.
        """
        path = self.files[index]
        strip = read_image(path)
        width = strip.shape[1]
        if width % 2:
            raise UserError(
                f"{path} is {width} pixels wide: a strip of A and B side by side has an even width; for A and B "
                f"in files of their own use folders {path.parent / 'A'} and {path.parent / 'B'}"
            )
        return strip[:, : width // 2], strip[:, width // 2 :], path.stem

    def stamps(self) -> list[list[str | int]]:
        """What tells each pair's file from what it was before."""
        return [_stamp(path) for path in self.files]


class FolderPairs:
    """Files of two folders that share a stem; what has no partner is named in a warning.

    Raises:
        ValueError: A folder has no image, two files of one share a stem, or no file has a partner.
    """

    def __init__(self, folder_a: Path, folder_b: Path) -> None:
        a, b = _by_stem(folder_a), _by_stem(folder_b)
        for folder, found in ((folder_a, a), (folder_b, b)):
            if not found:
                raise UserError(_no_image_in(folder))
        self.files = [(a[stem], b[stem]) for stem in sorted(a.keys() & b.keys())]
        alone = [str(a[s]) for s in sorted(a.keys() - b.keys())] + [str(b[s]) for s in sorted(b.keys() - a.keys())]
        if not self.files:
            raise UserError(
                f"{folder_a} and {folder_b} have no file name in common: A and B are matched by the name before "
                f"the ending; alone: {_some(alone)}"
            )
        if alone:
            _log.warning("%d files without a partner are left out: %s", len(alone), _some(alone))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Image, Image, str]:
        """Pair ``index``.

        Raises:
            ValueError: One of its files is no image.
        """
        a, b = self.files[index]
        return read_image(a), read_image(b), a.stem

    def stamps(self) -> list[list[str | int]]:
        """What tells each pair's files from what they were before."""
        return [_stamp(a) + _stamp(b) for a, b in self.files]


def open_pairs(root: Path, split: str) -> StripPairs | FolderPairs:
    """The pairs of ``split`` below ``root``, in whichever layout they are found.

    Strips in ``root/split``; or two folders: ``root/split/A`` and ``B``, ``root/A/split`` and ``root/B/split``,
    or ``root/splitA`` and ``root/splitB``.

    Raises:
        ValueError: There is no such split, half of it is missing, or no image is in it.
    """
    strips = root / split
    if strips.is_dir():
        next(strips.iterdir(), None)  # one that may not be read is named, not what might be in it
    twos = [
        (root / split / "A", root / split / "B"),
        (root / "A" / split, root / "B" / split),
        (root / f"{split}A", root / f"{split}B"),
    ]
    for folder_a, folder_b in twos:
        if folder_a.is_dir() and folder_b.is_dir():
            return FolderPairs(folder_a, folder_b)
    files = list_images(strips) if strips.is_dir() else []
    if files:
        return StripPairs(files)
    for folder_a, folder_b in twos:
        here, missing = (folder_a, folder_b) if folder_a.is_dir() else (folder_b, folder_a)
        if here.is_dir():
            raise UserError(f"{missing} does not exist, but {here} does: put the other side of each pair there")
    if strips.is_dir():
        raise UserError(_no_image_in(strips))
    raise UserError(f"{strips} does not exist: put strips of A and B there, or A and B into {strips}/A and {strips}/B")


def _stamp(path: Path) -> list[str | int]:
    status = path.stat()
    return [path.name, status.st_size, status.st_mtime_ns]


def _no_image_in(folder: Path) -> str:
    return f"{folder}: no image in it; files that end with {' '.join(sorted(IMAGE_SUFFIXES))} are expected"


def _by_stem(folder: Path) -> dict[str, Path]:
    files = list_images(folder)
    twice = [stem for stem, count in Counter(path.stem for path in files).items() if count > 1]
    if twice:
        raise UserError(f"{folder} has several files named {_some(sorted(twice))}: keep one ending of each")
    return {path.stem: path for path in files}


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED_AT_MOST
    return ", ".join(names[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
