"""Locks between processes; the kernel releases them when a process ends, however it ends."""

from __future__ import annotations

import errno
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pix2pix_lightning.utils.errors import UserError

LOCK = ".lock"
"""Name of the file in a folder that is in use; its text names the process."""
_HELD = (errno.EACCES, errno.EAGAIN)
_ATTEMPTS, _PAUSE = 3, 0.02  # `is_locked` holds a lock for a moment
_own: set[Path] = set()  # folders that this process has locked


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
    own = folder.resolve()
    _own.add(own)
    try:
        os.ftruncate(file, 0)
        with suppress(OSError):  # a full disk: the lock holds all the same
            os.write(file, f"process {os.getpid()} on {platform.node()}".encode())
        yield
    finally:
        _own.discard(own)
        with suppress(OSError):
            (folder / LOCK).unlink(missing_ok=True)
        os.close(file)


def is_locked(folder: Path) -> bool:
    """Return whether a process holds the lock of a folder; one that was killed left its file, and does not hold it.

    Where the file system has no locks, the file alone counts.

    Args:
        folder: A folder.
    """
    if folder.resolve() in _own:  # to open and close the file would release the lock of this process
        return True
    try:
        file = os.open(folder / LOCK, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return False
    try:
        return not _lock(file, shared=True)
    except OSError:
        return True
    finally:
        os.close(file)


@contextmanager
def wait_for_lock(path: Path, on_wait: Callable[[], None]) -> Iterator[bool]:
    """Wait until no other process holds the lock of a file, and hold it.

    Args:
        path: The file; it is created if it is missing, and stays. Who holds the lock may remove it.
        on_wait: Called before waiting, when another process holds the lock.

    Yields:
        True when the lock is held; False where the file system has no locks.

    Raises:
        OSError: The file cannot be opened for writing.
    """
    while True:
        file = _open(path)
        try:
            try:
                is_locked = _lock(file)
            except OSError as error:
                if error.errno not in _HELD:
                    raise
                on_wait()
                is_locked = _lock(file, wait=True)
            if is_locked and not os.fstat(file).st_nlink:
                continue  # who held it has removed the file, which another process may have created again
            yield is_locked
            return
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
    attempt = 0
    while True:
        file = _open(path)
        attempt += 1
        try:
            _lock(file)
        except OSError as error:
            if error.errno in _HELD and attempt < _ATTEMPTS:
                os.close(file)
                time.sleep(_PAUSE)
                continue
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


def _lock(file: int, *, wait: bool = False, shared: bool = False) -> bool:
    """Return whether a file was locked, False where there are no locks. Several processes can hold a shared lock.

    Raises:
        OSError: Another process holds the lock, and ``wait`` is off.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    try:
        # a record lock: loader workers would inherit the other kind, and outlive a killed run by some seconds
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.lockf(file, kind if wait else kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            raise
        return False
    return True
