"""The folder that a task writes to, and its report ``prepare.json``, by which the same command continues."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pix2pix_lightning.data.files.listing import list_images_below
from pix2pix_lightning.prepare.jobs import Job, Skipped
from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.checks import check_folder
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.json_text import format_json
from pix2pix_lightning.utils.text import format_names

REPORT = "prepare.json"


def check_output_folder(folder: Path, settings: Mapping[str, Any], *, overwrite: bool) -> bool:
    """Check that a folder is new, or holds what the same command has begun.

    Args:
        folder: The folder.
        settings: Settings of the command, plain data, on which its outputs depend.
        overwrite: Accept other files there.

    Returns:
        Whether the command continues there.

    Raises:
        UserError: A file is in its place, or another command has written to it.
        FileExistsError: There are files of unknown origin.
    """
    check_folder("output", folder)
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
    if not names:
        return False
    saved = _read_settings(folder / REPORT)
    if saved is None and not overwrite:
        raise FileExistsError(
            f"output={folder} holds {format_names(names)}: choose a new folder, or set overwrite=true to replace files "
            "of equal names"
        )
    if saved is None or overwrite:
        return False
    plain = json.loads(format_json(settings))
    if key := next((key for key in {**saved, **plain} if saved.get(key) != plain.get(key)), None):
        raise UserError(
            f"output={folder} was written with {key}={saved.get(key)}, and not {key}={plain.get(key)}: choose another "
            "output, or set overwrite=true"
        )
    return True


def write_report(
    folder: Path,
    settings: Mapping[str, Any],
    skipped: Sequence[Skipped],
    *,
    is_finished: bool,
    counts: Mapping[str, int] | None = None,
) -> Path:
    """Write the report.

    Args:
        folder: The folder.
        settings: Settings of the command.
        skipped: The files that are in no pair.
        is_finished: Whether all jobs have been run.
        counts: Numbers of pairs.

    Returns:
        Its path.

    Raises:
        OSError: It cannot be written.
    """
    path = folder / REPORT
    content = {
        "settings": settings,
        "is_finished": is_finished,
        **(counts or {}),
        "skipped": [{"files": [_to_text(file) for file in one.files], "reason": one.reason} for one in skipped],
    }
    with atomic_write(path) as scratch:
        scratch.write_text(format_json(content), encoding="utf-8")
    return path


def find_written(jobs: Sequence[Job]) -> tuple[set[int], int]:
    """Find the jobs whose outputs are all there.

    Args:
        jobs: The jobs.

    Returns:
        Their numbers, and how many of them have an output that is older than an input.
    """
    written = {number for number, job in enumerate(jobs) if all(path.is_file() for path in job.outputs)}
    num_old = sum(_get_time(jobs[number].outputs, min) < _get_time(jobs[number].inputs, max) for number in written)
    return written, num_old


def list_others(folder: Path, jobs: Sequence[Job]) -> list[str]:
    """List the images in a folder that are outputs of no job, relative to the folder."""
    known = {path.relative_to(folder).as_posix() for job in jobs for path in job.outputs}
    return [name for name in list_images_below(folder).files if name not in known]


def _read_settings(path: Path) -> dict[str, Any] | None:
    """Return the settings of a report, or None where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    settings = content.get("settings") if isinstance(content, dict) else None
    return settings if isinstance(settings, dict) else None


def _get_time(paths: Sequence[Path], choose: Any) -> int:
    times = [path.stat().st_mtime_ns for path in paths if path.exists()]
    return int(choose(times)) if times else 0


def _to_text(path: Path) -> str:
    return os.fsencode(path).decode(errors="backslashreplace")
