"""Pairs decoded and resized once, in memory maps."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import torch

from pix2pix_lightning.data.pairs import Image, Pairs
from pix2pix_lightning.utils.errors import UserError

_log = logging.getLogger(__name__)
_FORMAT = 1
_SIDES = ("a.npy", "b.npy")
_NAMES = "pairs.json"
_PART = ".part"
_NO_WORD = re.compile(r"[^\w-]+")


class CachedPairs:
    """Prepared pairs out of a folder: ``a.npy`` and ``b.npy``, (N, H, W, C) uint8, and ``pairs.json``, their names.

    The maps are open from the beginning, so that they outlive their files; a loader process that was not forked opens
    them for itself. What a map gives is part of it, and cannot be written to.

    Args:
        folder: As ``cached`` made it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: list[str] = json.loads((folder / _NAMES).read_text(encoding="utf-8"))["names"]
        self._sides = self._opened()

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Image, Image, str]:
        """A, B and the name of pair ``index``."""
        a, b = self._sides
        return a[index], b[index], self.names[index]

    def __reduce__(self) -> tuple[type, tuple[Path]]:
        """Without the maps, which would be copied as arrays."""
        return CachedPairs, (self.folder,)

    def _opened(self) -> list[Image]:
        return [np.asarray(np.load(self.folder / side, mmap_mode="r")) for side in _SIDES]


def cached(
    folder: Path, prepared: Pairs, *, title: str, settings: Mapping[str, Any], stamps: Sequence[Any]
) -> CachedPairs:
    """The pairs out of a cache, which is built first where there is none, or where a file has changed.

    A cache is made beside its place and moved there when it is whole. Of several processes that ask for the same one,
    one builds it and the others wait; where the file system has no locks each builds it, and one is kept.

    Args:
        folder: Of all caches of these pairs; each has its own in it.
        prepared: What to keep, images of one size for each side.
        title: How the cache's folder is called, before what tells it from others.
        settings: On which the images depend beside the files: JSON values.
        stamps: What tells each file from what it was before: JSON values.

    Raises:
        ValueError: The disk is too small; or as ``prepared`` does.
        OSError: The folder cannot be written to.
    """
    settings = {**settings, "format": _FORMAT, "torch": torch.__version__, "opencv": cv2.__version__}
    kind = f"{_NO_WORD.sub('_', title)}_{_digest(settings)}"
    place = folder / f"{kind}_{_digest(stamps)}"
    with _said_of(folder):
        if not place.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            with _one_at_a_time(folder / f".{kind}.lock") as is_alone:
                if not place.is_dir():
                    if is_alone:  # what a killed process left, and what the files were before
                        for other in [*folder.glob(f"{kind}_*"), *folder.glob(f".{kind}_*{_PART}")]:
                            shutil.rmtree(other, ignore_errors=True)
                    _build(place, prepared, title, settings)
        return CachedPairs(place)


def _build(place: Path, prepared: Pairs, title: str, settings: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.progress import track

    first = prepared[0][:2]
    _check_room(place.parent, len(prepared) * sum(image.nbytes for image in first))
    console = Console(stderr=True)
    shown = track(range(len(prepared)), f"cache of {title}", console=console, disable=not console.is_terminal)
    scratch = place.with_name(f".{place.name}.{secrets.token_hex(4)}{_PART}")
    try:
        scratch.mkdir()
        names = []
        with (scratch / _SIDES[0]).open("xb") as a, (scratch / _SIDES[1]).open("xb") as b:
            for file, image in zip((a, b), first, strict=True):
                _write_header(file, (len(prepared), *image.shape))
            for index in shown:
                *both, name = prepared[index]
                names.append(name)
                for file, image in zip((a, b), both, strict=True):
                    file.write(image.tobytes())
            for file in (a, b):
                _to_disk(file)
        with (scratch / _NAMES).open("xb") as file:
            file.write(json.dumps({**settings, "names": names}, ensure_ascii=False).encode())
            _to_disk(file)
        _move(scratch, place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    _log.info("%d pairs of %s are kept in %s", len(names), title, place)


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    header = {"descr": np.dtype(np.uint8).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _move(scratch: Path, place: Path) -> None:
    try:
        scratch.rename(place)
    except OSError:
        if not place.is_dir():  # else another process was faster, where there are no locks
            raise


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"data.cache: {folder} needs {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free there: make room, "
            "name a folder on another disk, data.cache=<folder>, or do without, data.cache=false"
        )


@contextmanager
def _said_of(folder: Path) -> Iterator[None]:
    """Inside, what the disk refuses of ``folder`` says which key chose it."""
    try:
        yield
    except OSError as error:
        if error.filename is None or Path(os.fsdecode(error.filename)).is_relative_to(folder):
            error.add_note("data.cache=<folder> keeps the pairs elsewhere, data.cache=false nowhere")
        raise


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[bool]:
    """Wait until no other process is inside; False where the file system has no locks.

    The kernel takes a lock back when its process ends, however it ends.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield _locked(file, path.parent)
    finally:
        os.close(file)


def _locked(file: int, folder: Path) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.info("another process is building a cache in %s: waiting for it", folder)
            fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
