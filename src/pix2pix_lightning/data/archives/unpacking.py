"""Unpack an archive of strangers: files and folders alone, below one folder, and no more than fits."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from pix2pix_lightning.utils.errors import UserError

_CHUNK = 2**20
_LONGEST_READ = 2**26  # no header of a tar file is as long
_OPENERS: dict[bytes, Callable[[Any], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError),
    *(EOFError, NotImplementedError),  # cut short; a way of compression that is not known
)


class BadArchiveError(UserError):
    """A file is no archive or is cut short, or holds what must not be unpacked."""


@dataclass(frozen=True)
class Limits:
    """What an archive may unpack to. Pictures hardly shrink in an archive; what exceeds this is made to fill a disk.

    Attributes:
        num_files: Greatest number of files and folders.
        ratio: Greatest ratio of what is unpacked to the archive's size.
        num_bytes: Size up to which the ratio does not count.
    """

    num_files: int = 5_000_000
    ratio: int = 100
    num_bytes: int = 100_000_000

    def compute_max_bytes(self, archive_bytes: int) -> int:
        """Return to how many bytes an archive of a size may unpack."""
        return max(self.num_bytes, self.ratio * archive_bytes)


class _Item(NamedTuple):
    """A file or a folder in an archive: its name, and a function that opens it, None for a folder."""

    name: str
    open: Callable[[], IO[bytes]] | None


def unpack(
    archive: Path,
    folder: Path,
    *,
    limits: Limits | None = None,
    check_space: Callable[[int], None] = lambda num_bytes: None,
    on_bytes: Callable[[int], None] = lambda num_bytes: None,
) -> None:
    """Unpack a ``.tar.gz`` file, another compressed tar file, or a ``.zip`` file.

    Args:
        archive: The file; its content tells what it is.
        folder: An empty folder.
        limits: What it may unpack to.
        check_space: Called with the bytes that the archive unpacks to, where it says so, before it is unpacked.
        on_bytes: Called with the bytes that are unpacked so far.

    Raises:
        BadArchiveError: It is no archive or is cut short; or it holds a link or a device, a path that leads out of the
            folder, a file twice, or too much.
        OSError: A file cannot be written.
    """
    limits = limits or Limits()
    max_bytes = limits.compute_max_bytes(archive.stat().st_size)
    num_bytes = 0
    bomb = _build_bomb_error(archive, max_bytes)
    try:
        with _open_archive(archive, max_bytes, check_space) as items:
            for number, item in enumerate(items, start=1):
                if number > limits.num_files:
                    raise BadArchiveError(f"{archive} has more than {limits.num_files} files: it is not unpacked")
                path = folder.joinpath(*_split_name(item.name, archive))
                if item.open is None:
                    path.mkdir(parents=True, exist_ok=True)
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                with item.open() as source, _create(path, item.name, archive) as target:
                    while chunk := source.read(_CHUNK):
                        num_bytes += len(chunk)
                        if num_bytes > max_bytes:
                            raise bomb
                        target.write(chunk)
                        on_bytes(num_bytes)
    except _DAMAGED as error:
        raise BadArchiveError(f"{archive} is damaged or cut short ({error})") from None
    except (FileExistsError, NotADirectoryError) as error:
        raise BadArchiveError(f"{archive} has a file and a folder of one name, {error.filename}") from None


@contextmanager
def _open_archive(archive: Path, max_bytes: int, check_space: Callable[[int], None]) -> Iterator[Iterator[_Item]]:
    """Yield what is in an archive."""
    with archive.open("rb") as file:
        start = file.read(512)
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        with zipfile.ZipFile(archive) as opened:
            num_bytes = sum(info.file_size for info in opened.infolist())
            if num_bytes > max_bytes:
                raise _build_bomb_error(archive, max_bytes)
            check_space(num_bytes)
            yield _list_zip(opened, archive)
        return
    opener = next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), None)
    if opener is None and start[257:262] != b"ustar":
        what = "a web page" if re.match(rb"\s*<(!doctype|html|\?xml)", start, re.I) else "no archive"
        raise BadArchiveError(f"{archive} is {what}, and a .tar.gz or .zip file is expected")
    check_space(archive.stat().st_size)
    with archive.open("rb") as packed, opener(packed) if opener else packed as file:
        bounded: Any = _BoundedReader(file, archive, max_bytes)
        with tarfile.open(fileobj=bounded, mode="r:") as tar:
            yield _list_tar(tar, archive)
            while bounded.read(_CHUNK):  # up to the checksum at its end
                pass


def _list_tar(tar: tarfile.TarFile, archive: Path) -> Iterator[_Item]:
    for member in tar:
        cast(Any, tar).members = []  # else each of a million files stays in memory
        if not (member.isreg() or member.isdir()):
            kind = "a link" if member.islnk() or member.issym() else "a device or a pipe"
            raise BadArchiveError(f"{archive} has {kind}, {member.name!r}: it is not unpacked")

        def open_member(member: tarfile.TarInfo = member) -> IO[bytes]:
            opened = tar.extractfile(member)
            assert opened is not None  # of a regular file
            return opened

        yield _Item(member.name, None if member.isdir() else open_member)


def _list_zip(opened: zipfile.ZipFile, archive: Path) -> Iterator[_Item]:
    for info in opened.infolist():
        mode = info.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            kind = "a link" if stat.S_ISLNK(mode) else "a device or a pipe"
            raise BadArchiveError(f"{archive} has {kind}, {info.filename!r}: it is not unpacked")
        if info.flag_bits & 1:
            raise BadArchiveError(f"{archive} is encrypted: unpack it yourself, and set data.root=<folder>")

        def open_info(info: zipfile.ZipInfo = info) -> IO[bytes]:
            return opened.open(info)

        yield _Item(info.orig_filename, None if info.is_dir() else open_info)


def _split_name(name: str, archive: Path) -> list[str]:
    """Split the name of a file in an archive, which must not lead out of the folder on any system."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    is_absolute = name.startswith("/") or re.match(r"[A-Za-z]:", name) is not None
    if is_absolute or ".." in parts or "\\" in name or "\0" in name:
        raise BadArchiveError(f"{archive} has the path {name!r}, which leads out of its folder: it is not unpacked")
    return parts


def _create(path: Path, name: str, archive: Path) -> IO[bytes]:
    """Create a file that is not there yet; there are no links below the folder, since none are unpacked."""
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb")
    except (FileExistsError, IsADirectoryError):
        raise BadArchiveError(f"{archive} has {name!r} twice: it is not unpacked") from None


def _build_bomb_error(archive: Path, max_bytes: int) -> BadArchiveError:
    return BadArchiveError(
        f"{archive} unpacks to more than {max_bytes} bytes, as no archive of pictures does: it is not unpacked; if you "
        "know it, unpack it yourself and set data.root=<folder>"
    )


class _BoundedReader:
    """The decompressed content of a tar file, of which no more is read than fits: also of headers and of gaps."""

    def __init__(self, file: Any, archive: Path, max_bytes: int) -> None:
        self._file = file
        self._archive = archive
        self._max_bytes = 2 * max_bytes + _LONGEST_READ  # with the headers, which are at least 512 bytes for each file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LONGEST_READ:
            raise _build_bomb_error(self._archive, self._max_bytes)
        self._check(self._file.tell() + size)
        content: bytes = self._file.read(size)
        return content

    def seek(self, position: int, origin: int = os.SEEK_SET) -> int:
        if origin == os.SEEK_SET:
            self._check(position)
        moved: int = self._file.seek(position, origin)
        return moved

    def tell(self) -> int:
        position: int = self._file.tell()
        return position

    def _check(self, position: int) -> None:
        if position > self._max_bytes:
            raise _build_bomb_error(self._archive, self._max_bytes)
