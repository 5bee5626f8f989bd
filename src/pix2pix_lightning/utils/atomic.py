"""Write files and folders that are complete at any time."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path and rename it to ``path`` on success. ``path`` is unchanged on error.

    Args:
        path: The file. The temporary one is in the same folder, since a rename is atomic only within one disk.
    """
    scratch = path.with_name(f"{path.name}.part")
    try:
        yield scratch
        scratch.replace(path)
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)


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
    scratch = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
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
