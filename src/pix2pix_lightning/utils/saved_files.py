"""Read the JSON files that commands have written; the error about a damaged file is one line that names it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pix2pix_lightning.utils.errors import UserError

_MAX_BYTES = 64 * 2**20


def read_text(path: Path, max_bytes: int) -> str:
    """Read a text file of limited size.

    Args:
        path: The file.
        max_bytes: Size up to which it is read.

    Returns:
        The text, decoded as UTF-8.

    Raises:
        UserError: It is larger, or is no text in UTF-8.
        OSError: It cannot be read.
    """  # noqa: DOC501  build_damaged_error returns a UserError
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise build_damaged_error(path, f"it has more than {max_bytes} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise build_damaged_error(path, f"it is no text in UTF-8: {error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds one object; raise a UserError if it holds something else or is cut short."""
    try:
        content = json.loads(read_text(path, _MAX_BYTES))
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        raise build_damaged_error(path, str(error)) from None
    if not isinstance(content, dict):
        raise build_damaged_error(path, "it does not hold an object")
    return content


def build_damaged_error(path: Path, why: str) -> UserError:
    """Build the error about a damaged file, in one line.

    Args:
        path: The file.
        why: What is wrong with it.

    Returns:
        The error, to be raised by the caller.
    """
    return UserError(f"{path} is damaged ({' '.join(why.split())}): repair it, or move its folder away")
