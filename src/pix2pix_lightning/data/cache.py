"""Pairs decoded and resized once: finding, building and replacing their caches."""

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
from typing import Any, TypeGuard

import cv2
import torch

from pix2pix_lightning.data.cached_pairs import CachedPairs, CacheWriter, get_form
from pix2pix_lightning.data.files.image_files import format_reason
from pix2pix_lightning.data.pairs import Image, Pairs
from pix2pix_lightning.data.prepared import MAX_UNREADABLE, PreparedPairs, build_unreadable_error
from pix2pix_lightning.utils.atomic import atomic_folder
from pix2pix_lightning.utils.disk import check_disk_space
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.lock import wait_for_lock
from pix2pix_lightning.utils.text import escape_controls

_log = logging.getLogger(__name__)
_FORMAT = 5
_SWITCHES = ("", "on", "off", "yes", "no")
_NOT_WORD = re.compile(r"[^\w-]+")


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
        prepared: Pairs to store. A and B of a pair have one size; all images of a side one type and number of channels.
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
    settings["has_masks"] = _has_masks(prepared)
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
    num_pixels = prepared.count_pixels() if isinstance(prepared, PreparedPairs) else None
    if num_pixels is not None:
        bytes_per_pixel = sum(image.itemsize * image.shape[2] for image in first.values())
        check_disk_space(cache.parent, num_pixels * bytes_per_pixel, "data.cache")
    forms = {side: get_form(image) for side, image in first.items()}
    del first  # the memory of one pair at a time is enough
    console = Console(stderr=True)
    numbers = track(
        range(len(prepared)),
        escape(f"cache of {escape_controls(title)}"),
        console=console,
        disable=not console.is_terminal,
    )
    with atomic_folder(cache, overwrite=False) as scratch, CacheWriter(scratch, forms) as writer:
        for number in numbers:
            _add(writer, prepared, number, may_skip=may_skip)
        writer.finish(settings)
    _log.info("cached %d pairs of %s in %s", len(prepared) - len(writer.unreadable), title, cache)


def _read_first(prepared: Pairs, *, may_skip: bool) -> dict[str, Image]:
    """Read the first pair that can be read."""
    for number in range(min(MAX_UNREADABLE, len(prepared))):
        try:
            return _read(prepared, number)[1]
        except (UserError, OSError) as error:
            if not may_skip:
                raise
            reason = format_reason(error)
    raise build_unreadable_error(reason)


def _add(writer: CacheWriter, prepared: Pairs, number: int, *, may_skip: bool) -> None:
    """Copy a pair to the cache."""
    try:
        name, images = _read(prepared, number)
    except (UserError, OSError) as error:
        if not may_skip:
            raise
        writer.add_unreadable(format_reason(error))
        if all(before in writer.unreadable for before in range(number - MAX_UNREADABLE + 1, number)):
            raise build_unreadable_error(writer.unreadable[number]) from None
    else:
        writer.add(name, [*images.values()])


def _read(prepared: Pairs, number: int) -> tuple[str, dict[str, Image]]:
    """Return the name and the images of a pair, by their sides."""
    a, b, name = prepared[number]
    images = {"a": a, "b": b}
    if _has_masks(prepared):
        images["mask"] = prepared.read_mask(number, a.shape[:2])
    return name, images


def _has_masks(prepared: Pairs) -> TypeGuard[PreparedPairs]:
    return isinstance(prepared, PreparedPairs) and prepared.has_masks


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
