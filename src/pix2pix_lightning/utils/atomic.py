"""Write files that are complete at any time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path and rename it to ``path`` on success. ``path`` is unchanged on error.

    Args:
        path: The file. The temporary one is in the same folder, since only within a disk a rename is atomic.
    """
    scratch = path.with_name(f"{path.name}.part")
    try:
        yield scratch
        scratch.replace(path)
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
