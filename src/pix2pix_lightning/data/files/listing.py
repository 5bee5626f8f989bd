"""Find the image files of a folder and of the folders below it, in one pass over the directories."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, overload

from pix2pix_lightning.data.files.image_files import IMAGE_SUFFIXES

_OTHER_IMAGES = frozenset(
    f".{kind}"
    for kind in (
        "avif",
        "dcm",
        "exr",
        "gif",
        "hdr",
        "heic",
        "heif",
        "jfif",
        "jp2",
        "jpe",
        "jxl",
        "npy",
        "npz",
        "pbm",
        "pgm",
        "pnm",
        "tga",
    )
)
"""Endings of image files that are not read."""


class Listing(NamedTuple):
    """What a folder holds.

    Attributes:
        files: Paths of the images relative to the folder, with ``/`` between names, in the order of their names.
        passed_over: Number of files by ending that hold images of a kind that is not read.
    """

    files: list[str]
    passed_over: dict[str, int]


class PathList(Sequence[Path]):
    """Paths below a folder, built when they are asked for: 140,000 of them would take a second.

    Args:
        folder: The folder.
        names: Paths relative to it, with ``/`` between names.
    """

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.folder = folder
        self.names = names

    def __len__(self) -> int:
        """Return the number of paths."""
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Path: ...

    @overload
    def __getitem__(self, index: slice) -> PathList: ...

    def __getitem__(self, index: int | slice) -> Path | PathList:
        """Return a path, or some of them."""
        if isinstance(index, slice):
            return PathList(self.folder, self.names[index])
        return self.folder / self.names[index]

    def to_strings(self) -> list[str]:
        """Return all paths as strings."""
        return [f"{self.folder}/{name}" for name in self.names] if str(self.folder) != "." else list(self.names)


def list_images_below(folder: Path, *, recursive: bool = True) -> Listing:
    """List the images of a folder and of all folders below it, without what is hidden.

    Links to folders are followed, but not to a folder that the link lies in.

    Args:
        folder: An existing folder.
        recursive: Whether to go into the folders below it.

    Returns:
        The images. A folder that does not exist has none.

    Raises:
        OSError: A folder cannot be read.
    """
    files: list[str] = []
    passed_over: Counter[str] = Counter()
    for below, name in _walk(folder, recursive=recursive):
        stem, dot, ending = name.rpartition(".")
        suffix = (dot + ending).lower() if stem else ""
        if suffix in IMAGE_SUFFIXES:
            files.append(f"{below}{name}")
        elif suffix in _OTHER_IMAGES:
            passed_over[suffix] += 1
    files.sort(key=(lambda path: path.split("/")) if any("/" in file for file in files) else None)
    return Listing(files, dict(passed_over))


def _walk(root: Path, *, recursive: bool) -> Iterator[tuple[str, str]]:
    """Yield the folder, relative with a ``/`` at its end or empty, and the name of each file that is not hidden."""
    if not root.is_dir():
        return
    waiting: list[tuple[str, tuple[str, ...]]] = [("", (os.path.realpath(root),))]
    while waiting:
        below, ancestors = waiting.pop()
        with os.scandir(f"{root}/{below}") as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if recursive and entry.is_dir():
                    real = os.path.realpath(entry.path)
                    if real not in ancestors:  # a link to an ancestor would never end
                        waiting.append((f"{below}{entry.name}/", (*ancestors, real)))
                elif entry.is_file() or _is_dangling(entry):
                    yield below, entry.name


def _is_dangling(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a link to nothing, which the check names; left out, nobody would miss it."""
    return entry.is_symlink() and not Path(entry.path).exists()
