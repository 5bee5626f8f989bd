"""One process at a time in a folder."""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pix2pix_lightning.utils.errors import UserError

LOCK = ".lock"
"""The file in a folder that is in use; it says by whom."""
_HELD = (errno.EACCES, errno.EAGAIN)


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Inside, no other process gets this lock; where the file system has no locks, any does.

    It is the kernel's, which takes it back when the process ends, however it ends. It is a record lock, since the
    other kind would be inherited by a loader's workers, and outlive a killed run by some seconds.

    Args:
        folder: What is locked; it exists.

    Raises:
        ValueError: Another process holds it.
        OSError: The folder cannot be written to.
    """
    file = _locked_file(folder / LOCK)
    try:
        os.ftruncate(file, 0)
        with suppress(OSError):  # a full disk: the lock holds all the same
            os.write(file, f"process {os.getpid()} on {platform.node()}".encode())
        yield
    finally:
        with suppress(OSError):
            (folder / LOCK).unlink(missing_ok=True)
        os.close(file)


def _locked_file(path: Path) -> int:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
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
        os.close(file)  # the other one ended, and took its file away, after this was opened


def _lock(file: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            raise
