"""Download a data set as a whole: the archive, its checks, and the folder of pairs that it becomes."""

from __future__ import annotations

import glob
import hashlib
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pix2pix_lightning.data.archives.archive import Archive
from pix2pix_lightning.data.archives.progress import Progress, format_bytes
from pix2pix_lightning.data.archives.transfer import Download
from pix2pix_lightning.data.archives.unpacking import BadArchiveError, unpack
from pix2pix_lightning.data.files.listing import is_system_folder, list_images_below
from pix2pix_lightning.data.layouts.choosing import choose_layout
from pix2pix_lightning.data.layouts.layout import Layout
from pix2pix_lightning.utils.atomic import atomic_folder, create_folder
from pix2pix_lightning.utils.checks import check_folder
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.lock import wait_for_lock
from pix2pix_lightning.utils.text import print_escaped

_SPLITS = ("train", "val", "test")
_FREE = 50_000_000  # bytes that stay free on the disk


class DataSet(NamedTuple):
    """A data set on the disk.

    Attributes:
        root: Its folder.
        pairs: Number of pairs by split; a folder without splits has the split ``""``.
        is_new: Whether it was downloaded now.
        sha256: SHA-256 of the archive, where it was downloaded now.
    """

    root: Path
    pairs: Mapping[str, int]
    is_new: bool = False
    sha256: str | None = None


def download_data_set(
    root: Path, archive: Archive, *, url: str | None = None, wait: Callable[[float], object] = time.sleep
) -> DataSet:
    """Download and unpack a data set, unless its folder is there already. Nothing that exists is overwritten.

    Until the archive is complete it is ``<root>.part``, which a later call continues. The folder appears as a whole.

    Args:
        root: Folder of the data set.
        archive: What is known of its archive.
        url: Address or path of the archive, in place of ``archive.url``.
        wait: Waits for so many seconds between two attempts to reach a server.

    Returns:
        The data set.

    Raises:
        UserError: There is no address, or the server refuses; the file is another one than expected, or no archive that
            is unpacked; its pairs are not those that are expected; or the disk is too small.
        OSError: A file cannot be written.
    """
    if (found := find_data_set(root, archive)) is not None:
        return found
    source = _find_source(archive, url)
    place = root.resolve()  # a link stays one
    lock = place.with_name(f".{place.name}.lock")
    with create_folder(place.parent), wait_for_lock(lock, lambda: _say_wait(root)) as is_locked:
        try:
            if (found := find_data_set(root, archive)) is not None:
                return found
            if is_locked:
                _remove_leftovers(place)
            if isinstance(source, Path):
                return _unpack_checked(source, place, archive)._replace(root=root)
            return _download_and_unpack(source, place, archive, wait)._replace(root=root)
        finally:
            lock.unlink(missing_ok=True)


def find_data_set(root: Path, archive: Archive) -> DataSet | None:
    """Find a data set that is on the disk.

    Args:
        root: Its folder.
        archive: What is known of its archive.

    Returns:
        The data set; None where the folder is missing or empty.

    Raises:
        UserError: The folder holds something else than these pairs.
    """
    check_folder("data.root", root)
    if not root.is_dir() or next(root.iterdir(), None) is None:
        return None
    pairs = count_pairs(root, archive)
    if not pairs:
        raise UserError(f"data.root={root} is not empty, and has no pairs: set data.root= to another folder")
    if different := _compare_pairs(pairs, archive):
        raise UserError(
            f"data.root={root} exists with {different}: move it away to download it again, or leave data.download out "
            "and train on it as it is"
        )
    return DataSet(root, pairs)


def describe_data_set(data_set: DataSet, archive: Archive) -> list[str]:
    """Describe in lines where a data set lies, what it has, and under which terms it may be used."""
    pairs = ", ".join(f"{count} pairs" + (f" in {split}" if split else "") for split, count in data_set.pairs.items())
    if not data_set.is_new:
        return [f"{data_set.root} is there already, with {pairs}", archive.describe_terms()]
    lines = [f"{data_set.root}: {pairs}", archive.describe_terms()]
    if archive.sha256 is None:
        lines.append(f"its SHA-256 is not known and was not compared; data.archive.sha256={data_set.sha256} does so")
    return lines


def count_pairs(root: Path, archive: Archive) -> dict[str, int]:
    """Count the pairs of each split of a folder.

    Args:
        root: The folder.
        archive: What is known of its archive; splits of other names than ``train``, ``val`` and ``test`` are in it.

    Returns:
        Counts by split, ``""`` for pairs in the folder itself; empty where there are none.

    Raises:
        UserError: A split lacks a side, or has no images.
    """
    layout = choose_layout(root)
    splits = _list_splits(layout, archive)
    if not splits and layout.is_flat({*archive.pairs, *_SPLITS}, is_divided=False):
        splits = [""]
    return {split: len(layout.open(split).pairs) for split in splits}


def _list_splits(layout: Layout, archive: Archive) -> list[str]:
    return [split for split in dict.fromkeys((*archive.pairs, *_SPLITS)) if layout.has_split(split)]


def _compare_pairs(pairs: Mapping[str, int], archive: Archive) -> str | None:
    """Format which counts are not the expected ones; None where all are, or none is known."""
    different = {split: (pairs.get(split, 0), count) for split, count in archive.pairs.items()}
    texts = [f"{found} of {count} pairs in {split}" for split, (found, count) in different.items() if found != count]
    return ", ".join(texts) or None


def _find_source(archive: Archive, url: str | None) -> Path | str:
    """Return where the archive is: a file on this machine, or an address."""
    source = archive.url if url is None else url
    if source is None:
        name = archive.name or "data.root"
        why = archive.note or "choose a data set that has one, such as data=facades"
        raise UserError(
            f"{name} has no archive to download: {why}; or set url= to the address of an archive, or a file"
        )
    scheme = urlsplit(source).scheme
    if scheme in ("http", "https"):
        return source
    if scheme not in ("", "file") and "://" in source:
        raise UserError(f"url={source}: http://, https://, file:// or the path of a file is expected")
    path = Path(url2pathname(urlsplit(source).path)) if scheme == "file" else Path(source).expanduser()
    if not path.is_file():
        raise UserError(f"url={source} does not exist: give the address or the path of an archive")
    return path


def _say_wait(root: Path) -> None:
    print_escaped(f"waiting for another process, which downloads {root}", file=sys.stderr)


def _remove_leftovers(root: Path) -> None:
    """Remove what killed processes have unpacked of a data set."""
    for scratch in root.parent.glob(f".{glob.escape(root.name)}.{'[0-9a-f]' * 16}.part"):
        shutil.rmtree(scratch, ignore_errors=True)


def _download_and_unpack(url: str, root: Path, archive: Archive, wait: Callable[[float], object]) -> DataSet:
    part = root.with_name(f"{root.name}.part")

    def check_space(missing: int, whole: int) -> None:
        _check_space(root.parent, missing + whole, f"the archive of {format_bytes(whole)} and what it unpacks to")

    with Progress(f"downloading {archive.name or root.name}") as progress:
        download = Download(
            url, part, num_bytes=archive.num_bytes, progress=progress, check_space=check_space, wait=wait
        )
        download.run()
    try:
        found = _unpack_checked(part, root, archive)
    except BadArchiveError as error:
        download.discard()  # it would be as bad the next time
        raise UserError(f"{error}; it is deleted") from None
    download.discard()
    return found


def _unpack_checked(file: Path, root: Path, archive: Archive) -> DataSet:
    """Compare a file with what is known of the archive, and unpack it to ``root``."""
    num_bytes = file.stat().st_size
    if archive.num_bytes not in (None, num_bytes):
        raise BadArchiveError(
            f"{file} has {num_bytes} bytes, and data.archive.num_bytes={archive.num_bytes}: it is another file; set "
            "data.archive.num_bytes=null to take it"
        )
    with file.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    if archive.sha256 is not None and archive.sha256.lower() != sha256:
        raise BadArchiveError(
            f"{file} has the SHA-256 {sha256}, and not data.archive.sha256={archive.sha256}: it is damaged, or another "
            "file, which data.archive.sha256=null would take"
        )
    with (
        Progress(f"unpacking {archive.name or root.name}") as progress,
        atomic_folder(root, overwrite=False) as scratch,
    ):
        unpacked = scratch / ".unpacked"
        unpacked.mkdir()
        progress.start(0, num_bytes)
        unpack(
            file,
            unpacked,
            check_space=lambda needed: _check_space(root.parent, needed, f"what {file} unpacks to"),
            on_bytes=lambda done: progress.update(min(done, num_bytes)),
        )
        try:
            content = _find_content(unpacked, archive)
            pairs = count_pairs(content, archive)
        except UserError as error:
            raise UserError(
                f"{file} has pairs that are not complete: {str(error).replace(f'{unpacked}/', '')}"
            ) from None
        different = "no pairs" if not pairs else _compare_pairs(pairs, archive)
        if different:
            raise UserError(
                f"{file} has {different}: it is another data set than expected; data.archive.pairs=null takes any pairs"
            )
        for entry in [*content.iterdir(), *(entry for entry in unpacked.iterdir() if entry.is_file())]:
            if not (scratch / entry.name).exists():
                entry.rename(scratch / entry.name)
        shutil.rmtree(unpacked)
    return DataSet(root, pairs, is_new=True, sha256=sha256)


def _find_content(unpacked: Path, archive: Archive) -> Path:
    """Return the folder with the pairs: most archives have a single folder around it."""
    content = unpacked
    while not (_list_splits(choose_layout(content), archive) or list_images_below(content, recursive=False).files):
        folders = [path for path in content.iterdir() if path.is_dir() and not is_system_folder(path.name)]
        if len(folders) != 1:
            break
        content = folders[0]
    return content


def _check_space(folder: Path, needed: int, what: str) -> None:
    free = shutil.disk_usage(folder).free - _FREE
    if needed > free:
        raise UserError(
            f"the disk of {folder} has {format_bytes(max(free, 0))} left, and {format_bytes(needed)} are needed for "
            f"{what}: make room there, or set data.root= to a folder on another disk"
        )
