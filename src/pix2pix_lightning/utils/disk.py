"""Room on a disk."""

from __future__ import annotations

import shutil
from pathlib import Path

from pix2pix_lightning.utils.errors import UserError


def get_free_space(folder: Path) -> int:
    """Return how many bytes are free on the disk of a folder."""
    return shutil.disk_usage(folder).free


def check_disk_space(folder: Path, needed: int, key: str) -> None:
    """Check that files fit on a disk before they are written.

    Args:
        folder: Where they are written; it exists.
        needed: Their size in bytes.
        key: The configuration key that sets the folder, which may also be false.

    Raises:
        UserError: They do not fit.
    """
    free = get_free_space(folder)
    if needed > free:
        raise UserError(
            f"{key}: {folder} needs {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free there: delete "
            f"files, set a folder on another disk, {key}=<folder>, or no cache, {key}=false"
        )
