"""Write files and folders that are complete at any time."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pix2pix_lightning.utils.checks import check_absent

_SUFFIX = ".part"
_MAX_LENGTH = 40  # of the file's own name in that of its temporary file, which a disk limits


@contextmanager
def atomic_write(path: Path, *, overwrite: bool = True, keep_suffix: bool = False) -> Iterator[Path]:
    """Yield an empty temporary file and rename it to ``path`` on success. ``path`` is unchanged on error.

    The temporary file is new and has a name that cannot be foreseen, so nothing that lies there is written to. A link
    at ``path`` is replaced, and what it leads to stays. A process that is killed leaves the temporary file:
    `remove_leftovers`.

    Args:
        path: The file. The temporary one is in the same folder, since a rename is atomic only within one disk.
        overwrite: Replace ``path`` where it exists by then. Else the first of several processes wins.
        keep_suffix: Whether the temporary file ends like ``path``, for writers that go by that.

    Raises:
        FileExistsError: ``path`` exists, and ``overwrite`` is off.
        OSError: It cannot be written. The error names ``path``.
    """
    scratch = _create_scratch(path, path.suffix if keep_suffix else "")
    try:
        yield scratch
        if not overwrite:
            _reserve(scratch, path)
        scratch.replace(path)
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(scratch)):
            error.filename = str(path)  # what the user knows
        raise
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)


def remove_leftovers(folder: Path, *patterns: str) -> None:
    """Remove the temporary files of `atomic_write` that killed processes left.

    Args:
        folder: A folder.
        *patterns: Files below it, such as ``checkpoints/*``, that no other process writes now.
    """
    for pattern in patterns:
        for scratch in folder.glob(f"{pattern}{_SUFFIX}"):
            if not scratch.is_dir() or scratch.is_symlink():
                scratch.unlink(missing_ok=True)


def remove_old_leftovers(folder: Path, least_age: float = 3600.0) -> None:
    """Remove the temporary files of `atomic_write` in a folder that other processes may write to.

    Args:
        folder: A folder, in which files of others may lie; one that does not exist has none.
        least_age: Age in seconds from which no process can be writing a file any more.
    """
    name = f"*.{'[0-9a-f]' * 16}{_SUFFIX}"
    for scratch in (*folder.glob(name), *folder.glob(f"{name}.*")):
        with suppress(OSError):  # another process has removed it, or it is another user's
            status = scratch.lstat()
            if stat.S_ISREG(status.st_mode) and time.time() - status.st_mtime >= least_age:
                scratch.unlink()


def _reserve(scratch: Path, path: Path) -> None:
    """Put a link to the temporary file at ``path``, which fails where something is there, unlike a rename."""
    check_absent(path, overwrite=False)
    try:
        os.link(scratch, path)
    except FileExistsError:
        check_absent(path, overwrite=False)
    except OSError:
        pass  # a file system without such links


def _create_scratch(path: Path, suffix: str) -> Path:
    scratch = path.with_name(f"{path.name[:_MAX_LENGTH]}.{secrets.token_hex(8)}{_SUFFIX}{suffix}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL  # with these the last part of the path may be no link
    try:
        os.close(os.open(scratch, flags, 0o666))
    except OSError as error:  # of a folder, or of the disk: the file is what the user knows
        raise OSError(error.errno, error.strerror, str(path)) from None
    return scratch


@contextmanager
def create_folder(folder: Path) -> Iterator[None]:
    """Create a folder with its parents for a block. What is still empty after an error is removed.

    Args:
        folder: The folder, which may exist.

    Raises:
        OSError: It cannot be created.
    """
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in created:
            with suppress(OSError):  # it is not empty
                path.rmdir()
        raise


@contextmanager
def atomic_folder(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary folder and rename it to ``folder`` on success. ``folder`` is unchanged on error.

    Args:
        folder: The final folder. The temporary one lies next to it as ``.<name>.<random>.part``; a process that is
            killed leaves it there.
        overwrite: Replace ``folder`` where it exists by then. Else it is kept, and what was written is dropped: so
            the first of several processes wins.

    Raises:
        OSError: The temporary folder cannot be created or renamed, or the old folder cannot be removed.
    """
    scratch = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}{_SUFFIX}")
    try:
        scratch.mkdir(parents=True)
        yield scratch
        if overwrite and folder.is_dir():
            shutil.rmtree(folder)
        try:
            scratch.rename(folder)
        except OSError:
            if overwrite or not folder.is_dir():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
