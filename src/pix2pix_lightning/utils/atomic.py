"""Files that are whole at any time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Inside, write the file that is given; it takes the place of ``path`` when all is well, else what was there stays.

    Args:
        path: The other file lies beside it, since only within a disk a file is moved at once.
    """
    scratch = path.with_name(f"{path.name}.part")
    try:
        yield scratch
        scratch.replace(path)
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
