"""Lock a folder for one process."""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pix2pix_lightning.utils.errors import UserError

LOCK = ".lock"
"""Name of the file in a folder that is in use; its text names the process."""
_HELD = (errno.EACCES, errno.EAGAIN)


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock a folder for a block against other processes; a file system without locks locks nothing.

    The kernel releases the lock when the process ends, however it ends. It is a record lock (`fcntl.lockf`): the other
    kind (`flock`) is inherited by a loader's workers, and would outlive a killed run by some seconds.

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


def _open_locked(path: Path) -> int:
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
