"""Find the image files of a folder and of the folders below it, in one pass over the directories."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, overload

from pix2pix_lightning.data.files.image_files import IMAGE_SUFFIXES, get_suffix
from pix2pix_lightning.data.stores.stored_path import AnyPath, StoredPath
from pix2pix_lightning.utils.text import format_names

_log = logging.getLogger(__name__)
_SYSTEM_FOLDERS = frozenset(
    {"@eadir", "@recycle", "#recycle", "#snapshot", "__macosx", "$recycle.bin", "system volume information"}
)
"""Folders of copies, previews and deleted files that Synology, QNAP, macOS and Windows make, in lower case."""
OTHER_IMAGES = frozenset(
    f".{kind}"
    for kind in (
        "avif",
        "exr",
        "gif",
        "hdr",
        "heic",
        "heif",
        "jfif",
        "jp2",
        "jpe",
        "jxl",
        "pbm",
        "pnm",
        "tga",
    )
)
"""Endings of image files that are not read."""
VIDEO_SUFFIXES = frozenset({".avi", ".mkv", ".mov", ".mp4", ".webm"})


class Listing(NamedTuple):
    """What a folder holds.

    Attributes:
        files: Paths of the images relative to the folder, with ``/`` between names, in the order of their names.
        passed_over: Number of files by ending that hold images of a kind that is not read.
        system_folders: Paths of folders that a system made for itself, and of those of runs, which are not looked into.
        videos: Paths of videos, as in ``files``.
    """

    files: list[str]
    passed_over: dict[str, int]
    system_folders: list[str]
    videos: list[str]


class PathList(Sequence[AnyPath]):
    """Paths below a folder, built when they are asked for: 140,000 of them would take a second.

    Args:
        folder: The folder, of a file system or of a store.
        names: Paths relative to it, with ``/`` between names.
    """

    def __init__(self, folder: AnyPath, names: Sequence[str]) -> None:
        self.folder = folder
        self.names = names

    def __len__(self) -> int:
        """Return the number of paths."""
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> AnyPath: ...

    @overload
    def __getitem__(self, index: slice) -> PathList: ...

    def __getitem__(self, index: int | slice) -> AnyPath | PathList:
        """Return a path, or some of them."""
        if isinstance(index, slice):
            return PathList(self.folder, self.names[index])
        return self.folder / self.names[index]

    def select(self, indices: Sequence[int]) -> PathList:
        """Return the paths at ``indices``, in their order."""
        return PathList(self.folder, [self.names[index] for index in indices])

    def to_strings(self) -> list[str]:
        """Return all paths of a file system as strings."""
        start = "" if str(self.folder) == "." else f"{self.folder}/"
        return [name if os.path.isabs(name) else start + name for name in self.names]  # noqa: PTH117


def get_stem(name: str) -> str:
    """Return a path without the ending of its file, if that is one of an image: names in a database have none."""
    stem, dot, ending = name.rpartition(".")
    if (dot + ending).lower() in IMAGE_SUFFIXES:
        return stem
    first, dot, before = stem.rpartition(".")
    return first if f"{dot}{before}.{ending}".lower() in IMAGE_SUFFIXES else name  # .nii.gz


def list_images_below(folder: AnyPath, *, recursive: bool = True, excluded: Path | None = None) -> Listing:
    """List the images of a folder and of all folders below it, without what is hidden.

    Links to folders are followed, but not to a folder that the link lies in. A link to nothing counts as a file, which
    reading it reports; left out, nobody would miss it.

    Args:
        folder: The folder, of a file system or of a store.
        recursive: Whether to go into the folders below it.
        excluded: A folder that is not looked into where it lies below.

    Returns:
        The images. A folder that does not exist has none.

    Raises:
        OSError: A folder cannot be read.
    """
    files: list[str] = []
    passed_over: Counter[str] = Counter()
    system_folders: list[str] = []
    videos: list[str] = []
    if not folder.is_dir():
        return Listing([], {}, [], [])
    if isinstance(folder, StoredPath):
        return _list_stored(folder, recursive=recursive)
    left_out = None if excluded is None else os.path.realpath(excluded)
    waiting: list[tuple[str, tuple[str, ...]]] = [("", (os.path.realpath(folder),))]
    while waiting:
        below, ancestors = waiting.pop()
        with os.scandir(f"{folder}/{below}") as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if not is_folder(entry):
                    if _is_file(entry):
                        _sort_name(f"{below}{entry.name}", files, passed_over, videos)
                elif recursive and (is_system_folder(entry.name) or _is_run_folder(entry.path)):
                    system_folders.append(f"{below}{entry.name}")
                elif recursive:
                    real = os.path.realpath(entry.path)
                    if real != left_out and real not in ancestors:  # a link to an ancestor would never end
                        waiting.append((f"{below}{entry.name}/", (*ancestors, real)))
    files.sort(key=(lambda path: path.split("/")) if any("/" in file for file in files) else None)
    return Listing(files, dict(passed_over), sorted(system_folders), sorted(videos))


def is_system_folder(name: str) -> bool:
    """Return whether a folder of this name holds what a system made for itself; also if it is hidden."""
    return name.startswith(".") or name.lower() in _SYSTEM_FOLDERS


def _is_run_folder(path: str) -> bool:
    """Return whether a folder is that of a training, whose pictures belong to no data set."""
    return os.path.isfile(f"{path}/config.yaml") and os.path.isdir(f"{path}/checkpoints")  # noqa: PTH112, PTH113


def log_passed_over(folder: AnyPath, listing: Listing) -> None:
    """Log what a listing of a folder leaves out.

    Args:
        folder: The folder.
        listing: What it holds.
    """
    for suffix, count in listing.passed_over.items():
        _log.warning(
            "%s: %d files that end with %s are passed over: convert them to one of %s",
            folder,
            count,
            suffix,
            " ".join(sorted(IMAGE_SUFFIXES)),
        )
    if listing.system_folders:
        names = format_names(listing.system_folders)
        _log.info(
            "%s: %d folders of the system or of runs are passed over: %s", folder, len(listing.system_folders), names
        )


def _list_stored(folder: StoredPath, *, recursive: bool) -> Listing:
    files: list[str] = []
    passed_over: Counter[str] = Counter()
    system_folders: dict[str, None] = {}
    videos: list[str] = []
    for name in folder.list_below():
        *above, last = name.split("/")
        system = next((place for place, part in enumerate(above) if is_system_folder(part)), None)
        if system is not None:
            system_folders["/".join(above[: system + 1])] = None
        elif not last.startswith(".") and (recursive or not above):
            if folder.store.has_endings:
                _sort_name(name, files, passed_over, videos)
            else:
                files.append(name)
    files.sort(key=lambda path: path.split("/"))
    return Listing(files, dict(passed_over), list(system_folders), videos)


def _sort_name(name: str, files: list[str], passed_over: Counter[str], videos: list[str]) -> None:
    """Append an image or a video to its list, or count an image of another kind; pass over all else."""
    stem, dot, ending = name.rpartition("/")[2].rpartition(".")
    suffix = (dot + ending).lower() if stem else ""
    suffix = get_suffix(name) if suffix == ".gz" else suffix
    if suffix in IMAGE_SUFFIXES:
        files.append(name)
    elif suffix in OTHER_IMAGES:
        passed_over[suffix] += 1
    elif suffix in VIDEO_SUFFIXES:
        videos.append(name)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a file, or a link that leads nowhere."""
    try:
        return entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists())
    except OSError:
        return entry.is_symlink()
