"""Pairs decoded and resized once, in memory maps."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import torch

from pix2pix_lightning.data.files.image_files import format_reason
from pix2pix_lightning.data.pairs import Image, Pairs
from pix2pix_lightning.data.prepared import MAX_UNREADABLE, build_unreadable_error
from pix2pix_lightning.data.sides.ranges import DTYPES
from pix2pix_lightning.utils.atomic import atomic_folder
from pix2pix_lightning.utils.disk import check_disk_space
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.lock import wait_for_lock
from pix2pix_lightning.utils.text import escape_controls

_log = logging.getLogger(__name__)
_FORMAT = 4
_SIDES = ("a.npy", "b.npy")
_INDEX = "pairs.json"
_SWITCHES = ("", "on", "off", "yes", "no")
_NOT_WORD = re.compile(r"[^\w-]+")


class CachedPairs:
    """Read prepared pairs from a folder that ``open_cache`` wrote.

    The folder holds ``a.npy`` and ``b.npy``, (N, H, W, C) in the type of their side, and ``pairs.json`` with the names.
    The maps are open from the beginning, so that they outlive their files. A loader process that was not forked opens
    them again. Images are views of the maps and cannot be written to.

    Args:
        folder: The cache's folder.

    Attributes:
        names: Names of the pairs.
        unreadable: Why a pair could not be read when the cache was built, by its number.

    Raises:
        UserError: A file of it is damaged or missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
            self._sides = [np.asarray(np.load(folder / side, mmap_mode="r")) for side in _SIDES]
            self.names: list[str] = index["names"]
            self.unreadable = {int(number): str(reason) for number, reason in index["unreadable"].items()}
            shapes = [[len(self.names), *shape] for shape in index["shapes"]]
            dtypes = list(index["dtypes"])
        except (
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            RecursionError,
            EOFError,
            FileNotFoundError,
        ) as error:
            raise UserError(f"the cache {folder} is damaged: {error}") from None
        if shapes != [list(side.shape) for side in self._sides] or not all(isinstance(n, str) for n in self.names):
            raise UserError(f"the cache {folder} is damaged: its files do not fit each other")
        if dtypes != [side.dtype.name for side in self._sides] or not {*dtypes} <= {*DTYPES}:
            raise UserError(f"the cache {folder} is damaged: its images are of another type")

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Image, Image, str]:
        """Return A, B and the name of pair ``index``; images are (H, W, C).

        Raises:
            UserError: The pair could not be read when the cache was built.
        """
        if index in self.unreadable:
            raise UserError(self.unreadable[index])
        a, b = self._sides
        return a[index], b[index], self.names[index]

    def __reduce__(self) -> tuple[type, tuple[Path]]:
        """Pickle the folder alone; the maps would be copied as arrays."""
        return CachedPairs, (self.folder,)


def open_cache(
    folder: Path,
    prepared: Pairs,
    *,
    title: str,
    settings: Mapping[str, Any],
    fingerprints: Sequence[Any],
    may_skip: bool = False,
) -> CachedPairs:
    """Open the cache of some pairs; build it where there is none, or where a file has changed.

    Of several processes that ask for the same cache, one builds it and the others wait. Where the file system has no
    locks, each builds it and the first one stays.

    Args:
        folder: Folder of all caches of these pairs; each cache has a folder of its own in it.
        prepared: Pairs to store. All images of one side have the same size.
        title: Beginning of the cache's folder name.
        settings: What the images depend on besides the files, as JSON values.
        fingerprints: One for each pair, as JSON values; it changes when a file of the pair changes.
        may_skip: Build the cache also where some pairs cannot be read; these raise the error when they are used.

    Returns:
        The pairs, read from the cache.

    Raises:
        UserError: The disk is too small; or reading a pair raises it, and ``may_skip`` is off or there are many of
            them in a row.
        OSError: The folder cannot be written to.
    """
    settings = {**settings, "format": _FORMAT, "torch": torch.__version__, "opencv": cv2.__version__}
    kind = f"{_NOT_WORD.sub('_', title)}_{_compute_digest(settings)}"
    cache = folder / f"{kind}_{_compute_digest(fingerprints)}"
    with _add_note_to_errors(folder):
        if (pairs := _open_sound(cache, prepared, may_skip=may_skip)) is not None:
            return pairs
        folder.mkdir(parents=True, exist_ok=True)
        with wait_for_lock(folder / f".{kind}.lock", lambda: _log_wait(folder)) as is_locked:
            if (pairs := _open_sound(cache, prepared, may_skip=may_skip)) is not None:
                return pairs
            if cache.is_dir():
                _log.warning("the cache %s is damaged, or lacks pairs: building it again", cache)
                _remove(cache)
            if is_locked:
                _remove_outdated(folder, kind)
            _build(cache, prepared, title, settings, may_skip=may_skip)
            return CachedPairs(cache)  # before another process with other versions of the files removes it


def check_cache(cache: Any) -> bool | str | Path | None:
    """Check the configuration key ``data.cache``.

    Returns:
        The value.

    Raises:
        UserError: It is neither true, false or null nor a folder, or a word that means true or false elsewhere.
    """
    is_folder = isinstance(cache, Path) or (isinstance(cache, str) and cache.lower() not in _SWITCHES)
    if not (cache is None or isinstance(cache, bool) or is_folder):
        raise UserError(f"data.cache={cache}: true, false or a folder is expected")
    value: bool | str | Path | None = cache
    return value


def _open_sound(cache: Path, prepared: Pairs, *, may_skip: bool) -> CachedPairs | None:
    """Open the cache of some pairs; None where it is missing or damaged, or lacks pairs that can be read now."""
    if not cache.is_dir():
        return None
    try:
        pairs = CachedPairs(cache)
    except UserError:
        return None
    if len(pairs) != len(prepared):
        return None
    for index in pairs.unreadable:
        try:
            prepared[index]
        except (UserError, OSError):
            if not may_skip:
                raise
        else:
            return None
    return pairs


def _remove(cache: Path) -> None:
    if cache.is_symlink():
        cache.unlink()
    else:
        shutil.rmtree(cache, ignore_errors=True)


def compute_fingerprints(pairs: Pairs) -> list[Any]:
    """Return the fingerprints of pairs.

    Raises:
        UserError: The pairs have none.
    """
    if not hasattr(pairs, "compute_fingerprints"):
        raise UserError(
            f"data.cache: {type(pairs).__name__} has no compute_fingerprints(), by which changed files are found: add "
            "it, or set data.cache=false"
        )
    return list(pairs.compute_fingerprints())


def _log_wait(folder: Path) -> None:
    _log.info("another process is building a cache in %s: waiting for it", folder)


def _remove_outdated(folder: Path, kind: str) -> None:
    """Remove caches of earlier versions of the files, and what killed processes left."""
    for other in [*folder.glob(f"{kind}_*"), *folder.glob(f".{kind}_*.part")]:
        _remove(other)


def _build(cache: Path, prepared: Pairs, title: str, settings: Mapping[str, Any], *, may_skip: bool) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import track

    first = _read_first(prepared, may_skip=may_skip)
    check_disk_space(cache.parent, len(prepared) * sum(image.nbytes for image in first), "data.cache")
    console = Console(stderr=True)
    indices = track(
        range(len(prepared)),
        escape(f"cache of {escape_controls(title)}"),
        console=console,
        disable=not console.is_terminal,
    )
    with atomic_folder(cache, overwrite=False) as scratch:
        names: list[str] = []
        unreadable: dict[int, str] = {}
        with (scratch / _SIDES[0]).open("xb") as a, (scratch / _SIDES[1]).open("xb") as b:
            for file, image in zip((a, b), first, strict=True):
                _write_header(file, (len(prepared), *image.shape), image.dtype)
            for index in indices:
                try:
                    *both, name = prepared[index]
                except (UserError, OSError) as error:
                    if not may_skip:
                        raise
                    unreadable[index] = format_reason(error)
                    if all(number in unreadable for number in range(index - MAX_UNREADABLE + 1, index + 1)):
                        raise build_unreadable_error(unreadable[index]) from None
                    both, name = [np.zeros_like(image) for image in first], ""
                names.append(name)
                for file, image in zip((a, b), both, strict=True):
                    file.write(image.tobytes())
            for file in (a, b):
                _flush(file)
        with (scratch / _INDEX).open("xb") as file:
            index_of = {"shapes": [x.shape for x in first], "dtypes": [x.dtype.name for x in first]}
            index_of |= {"names": names, "unreadable": unreadable}
            # in ASCII, since names of files need not be UTF-8
            file.write(json.dumps({**settings, **index_of}).encode())
            _flush(file)
    _log.info("cached %d pairs of %s in %s", len(names) - len(unreadable), title, cache)


def _read_first(prepared: Pairs, *, may_skip: bool) -> tuple[Image, Image]:
    """Read the first pair that can be read, whose images are like those of all others."""
    for index in range(min(MAX_UNREADABLE, len(prepared))):
        try:
            return prepared[index][:2]
        except (UserError, OSError) as error:
            if not may_skip:
                raise
            reason = format_reason(error)
    raise build_unreadable_error(reason)


def _write_header(file: BinaryIO, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def _add_note_to_errors(folder: Path) -> Iterator[None]:
    """Add the configuration key to errors of the disk about ``folder``."""
    try:
        yield
    except OSError as error:
        if error.filename is None or Path(os.fsdecode(error.filename)).is_relative_to(folder):
            error.add_note("set data.cache=<folder> for another folder, or data.cache=false for no cache")
        raise


def _compute_digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
