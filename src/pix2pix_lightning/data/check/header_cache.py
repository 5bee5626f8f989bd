"""Headers of many image files, remembered between runs by path, size and time."""

from __future__ import annotations

import json
import logging
import os
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.check.many_files import map_files
from pix2pix_lightning.data.files.image_files import check_header, decode_image, format_reason
from pix2pix_lightning.data.files.image_header import ImageHeader, parse_header
from pix2pix_lightning.data.files.slice_path import SlicePath
from pix2pix_lightning.data.stores.stored_path import StoredPath
from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.errors import UserError

_log = logging.getLogger(__name__)
_FORMAT = 3
_LEAST_NEW = 500  # reading fewer headers than this takes less than a tenth of a second
_PART = 16 * 1024  # bytes
_TAIL = 4 * 1024  # bytes
_READING_ERRORS = (OSError, ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)
"""Errors that NumPy and JSON raise for a damaged file."""

Numbers = npt.NDArray[np.int64]
Entry = ImageHeader | str
File = str | StoredPath | SlicePath


class HeaderCache:
    """Headers and checksums of files, with a file that remembers them.

    Every file is asked for its size and time once. What has not changed since it was remembered is not opened. A memory
    that is missing, damaged or of another version counts as empty, and one that cannot be written is left out.

    Args:
        files: Paths of the image files: of those in a file system as strings, since 140,000 ``Path`` would take a
            second to build.
        root: Folder of the data set. Files are remembered by their path relative to it.
        memory: File that remembers them; None remembers nothing.

    Attributes:
        names: Paths of the files relative to ``root``.
        sizes: Sizes of the files in bytes, -1 for one that has disappeared.
        times: Their times of change in nanoseconds.
        codes: For each file the position of its header in ``entries``.
        entries: Each header that occurs, once; for a file whose header cannot be read, what is wrong with it.
    """

    def __init__(self, files: Sequence[File], root: Path, memory: Path | None = None) -> None:
        self._paths = files
        self._memory = memory
        prefix = f"{root}/" if str(root) != "." else ""
        self.names = [str(path).removeprefix(prefix) for path in files]
        facts = np.array(map_files(_read_status, self._paths), np.int64).reshape(-1, 2)
        self.sizes: Numbers = facts[:, 0]
        self.times: Numbers = facts[:, 1]
        self.codes: Numbers = np.full(len(self._paths), -1, np.int64)
        self._checksums: Numbers = np.full(len(self._paths), -1, np.int64)
        self.entries: list[Entry] = []
        self._load()
        self._read_missing()

    def compute_checksums(self, indices: Numbers) -> Numbers:
        """Return checksums of the beginning, the middle and the end of some files, which tell most files apart.

        Args:
            indices: Positions of the files.

        Returns:
            One number from 0 for each; -1 for a file that cannot be read.
        """
        missing = np.unique(indices[self._checksums[indices] < 0])
        self._checksums[missing] = map_files(_compute_checksum, [self._paths[index] for index in missing.tolist()])
        if len(missing) > _LEAST_NEW:
            self._save()
        checksums: Numbers = self._checksums[indices]
        return checksums

    def _read_missing(self) -> None:
        missing = np.flatnonzero(self.codes < 0)
        read = map_files(_read_entry, [self._paths[index] for index in missing.tolist()], title="headers of images")
        positions = {entry: code for code, entry in enumerate(self.entries)}
        for index, entry in zip(missing.tolist(), read, strict=True):
            code = positions.setdefault(entry, len(self.entries))
            if code == len(self.entries):
                self.entries.append(entry)
            self.codes[index] = code
        if len(missing) > _LEAST_NEW:
            self._save()

    def _load(self) -> None:
        if self._memory is None or not self._memory.is_file():
            return
        try:
            # NumPy itself leaves a damaged file open
            with self._memory.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                names, entries, columns = _unpack(arrays)
        except _READING_ERRORS as error:
            _log.info("%s is damaged and is built anew: %s", self._memory, error)
            return
        if names == self.names:
            positions = np.arange(len(names))
        else:
            places = {name: place for place, name in enumerate(names)}
            positions = np.array([places.get(name, -1) for name in self.names], np.int64)
        known = positions >= 0
        known[known] = (columns[:2, positions[known]] == np.stack([self.sizes, self.times])[:, known]).all(0)
        self.codes[known], self._checksums[known] = columns[2:, positions[known]]
        self.entries = entries

    def _save(self) -> None:
        """Write what is known. A file whose header cannot be read is not remembered, so that it is tried again."""
        if self._memory is None:
            return
        is_header = np.array([isinstance(entry, ImageHeader) for entry in self.entries])
        kept = np.flatnonzero(is_header[self.codes])
        # placeholders hold the positions of what is left out
        entries = [asdict(entry) if isinstance(entry, ImageHeader) else None for entry in self.entries]
        columns = np.stack([self.sizes, self.times, self.codes, self._checksums])[:, kept]
        names = "\0".join(self.names[index] for index in kept).encode("utf-8", "surrogateescape")
        described = json.dumps({"format": _FORMAT, "entries": entries}).encode()
        with suppress(OSError):
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(self._memory) as scratch, scratch.open("wb") as file:
                np.savez(
                    file,
                    columns=columns,
                    names=np.frombuffer(names, np.uint8),
                    described=np.frombuffer(described, np.uint8),
                )


def _read_status(path: File) -> tuple[int, int]:
    if not isinstance(path, str):
        return path.get_status()
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _read_entry(name: File) -> Entry:
    path = Path(str(name))
    try:
        if isinstance(name, SlicePath):
            header = name.read_header()
            check_header(header, path)
            return header
        with _open(name) as file:
            header = parse_header(file, path)
            check_header(header, path)
            may_be_cut = not _has_end(file, header)
            if may_be_cut:
                file.seek(0)
                decode_image(file.read(), path)
    except (UserError, OSError) as error:
        return format_reason(error)
    return replace(header, directory=None, end=0)  # they differ between files of equal pixels


def _has_end(file: BinaryIO, header: ImageHeader) -> bool:
    """Return whether the end of an image is where it belongs, which it is not in a file that was cut short."""
    size = file.seek(0, os.SEEK_END)
    if header.format == "webp":
        file.seek(4)
        return size >= 8 + int.from_bytes(file.read(4), "little")
    mark = {"jpeg": b"\xff\xd9", "png": b"IEND"}.get(header.format)
    if mark is None:
        return size >= header.end
    file.seek(max(0, size - _TAIL))
    return mark in file.read()


def _open(path: File) -> BinaryIO:
    return Path(path).open("rb") if isinstance(path, str) else path.open()


def _compute_checksum(path: File) -> int:
    try:
        with _open(path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            checksum = zlib.crc32(file.read(_PART), path.index if isinstance(path, SlicePath) else 0)
            for start in (size // 2, size - _PART):
                if start > _PART:
                    file.seek(start)
                    checksum = zlib.crc32(file.read(_PART), checksum)
    except (OSError, UserError):
        return -1
    return checksum


def _unpack(arrays: Any) -> tuple[list[str], list[Entry], Numbers]:
    """Return names, entries and columns (4, N) of a memory.

    Raises:
        ValueError: It is of another version or contradicts itself.
    """
    described = json.loads(arrays["described"].tobytes())
    if described["format"] != _FORMAT:
        raise ValueError(f"format {described['format']} is not {_FORMAT}")
    entries: list[Entry] = ["" if entry is None else ImageHeader(**entry) for entry in described["entries"]]
    blob = arrays["names"].tobytes().decode("utf-8", "surrogateescape")
    names = blob.split("\0") if blob else []
    columns = np.asarray(arrays["columns"], np.int64)
    if columns.shape != (4, len(names)) or (columns[2] < 0).any() or (columns[2] >= len(entries)).any():
        raise ValueError("its parts do not fit each other")
    return names, entries, columns
