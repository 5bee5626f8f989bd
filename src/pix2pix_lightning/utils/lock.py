"""Locks between processes; the kernel releases them when a process ends, however it ends."""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pix2pix_lightning.utils.errors import UserError

LOCK = ".lock"
"""Name of the file in a folder that is in use; its text names the process."""
_HELD = (errno.EACCES, errno.EAGAIN)


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; where the file system has no locks, any process gets it.

    Args:
        folder: An existing folder.

    Raises:
        UserError: Another process holds the lock.
        OSError: The folder cannot be written to.
    """
    file = _open_locked(folder / LOCK)
    try:
        os.ftruncate(file, 0)
        with suppress(OSError):  # a full disk: the lock holds all the same
            os.write(file, f"process {os.getpid()} on {platform.node()}".encode())
        yield
    finally:
        with suppress(OSError):
            (folder / LOCK).unlink(missing_ok=True)
        os.close(file)


@contextmanager
def wait_for_lock(path: Path, on_wait: Callable[[], None]) -> Iterator[bool]:
    """Wait until no other process holds the lock of a file, and hold it.

    Args:
        path: The file; it is created if it is missing, and stays.
        on_wait: Called before waiting, when another process holds the lock.

    Yields:
        True when the lock is held; False where the file system has no locks.

    Raises:
        OSError: The file cannot be opened for writing.
    """
    file = _open(path)
    try:
        try:
            is_locked = _lock(file)
        except OSError as error:
            if error.errno not in _HELD:
                raise
            on_wait()
            is_locked = _lock(file, wait=True)
        yield is_locked
    finally:
        os.close(file)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)  # not on Windows
    except OSError as error:
        if error.errno == errno.ELOOP and path.is_symlink():
            raise UserError(f"{path} is a link, and no lock is written through one: remove it") from None
        raise


def _open_locked(path: Path) -> int:
    while True:
        file = _open(path)
        try:
            _lock(file)
        except OSError as error:
            holder = os.pread(file, 1000, 0).decode(errors="replace") or "another process"
            os.close(file)
            if error.errno not in _HELD:
                raise
            raise UserError(
                f"{path.parent} is in use by {holder}: wait for it, stop it, or choose another run_dir"
            ) from None
        if os.fstat(file).st_nlink:
            return file
        os.close(file)  # the other process ended and deleted its file after this one was opened


def _lock(file: int, *, wait: bool = False) -> bool:
    """Return whether a file was locked, False where there are no locks.

    Raises:
        OSError: Another process holds the lock, and ``wait`` is off.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    try:
        # a record lock: loader workers would inherit the other kind, and outlive a killed run by some seconds
        fcntl.lockf(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            raise
        return False
    return True
