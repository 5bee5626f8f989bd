"""The files that a manifest lists, as what a model translates."""

from __future__ import annotations

import logging
from pathlib import Path

from pix2pix_lightning.data.files.image_header import read_header
from pix2pix_lightning.data.files.stacking import stack_headers
from pix2pix_lightning.data.layouts.manifest import SUFFIXES, read_rows
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.inference.source_files import Source, format_source, has_volumes, list_files
from pix2pix_lightning.utils.errors import UserError

_log = logging.getLogger(__name__)


def is_manifest(source: str) -> bool:
    """Return whether an input is a manifest."""
    return source.lower().endswith(SUFFIXES) and Path(source).is_file()


def find_listed(path: Path, split: str | None, spec: PairSpec) -> dict[Source, Path]:
    """Find the files that a manifest lists for the side that a model translates, in the order of the rows.

    Args:
        path: The manifest.
        split: Split of the rows that are taken; None for all.
        spec: What the model's images mean. With ``direction=b_to_a`` it translates what the manifest calls the target.

    Returns:
        Each file, or tuple of files whose channels are put together, and the path of its output relative to the folder
        of outputs, of any ending: the row's name, by default the path of its first file. What several rows name is
        there once, under the name of the first one, which a line in the log says.

    Raises:
        UserError: The manifest is damaged or has no such rows, names a file that does not exist, or the first row's
            files are not what the model takes.
    """
    column = "source" if spec.direction == "a_to_b" else "target"
    try:
        rows = read_rows(path, column, split)
    except UserError as error:
        if column == "source":
            raise
        raise UserError(f"{error}; this model translates target, since it was trained with direction=b_to_a") from None
    inputs: dict[Source, Path] = {}
    for row in rows:
        files = tuple(path.parent / name for name in (*row.a, *row.b))
        inputs.setdefault(files if len(files) > 1 else files[0], Path(f"{row.name}.png"))
    if len(inputs) < len(rows):
        line = "%s: %d rows have the files of rows before them, and are not translated again"
        _log.warning(line, path, len(rows) - len(inputs))
    if misfit := _find_misfit(next(iter(inputs)), spec):
        raise UserError(
            f"{path}, line {rows[0].line}: {misfit}: name the files that the model was trained on, in their order, as "
            f"{column}_1, {column}_2, ..."
        )
    return inputs


def check_split(source: str, split: str | None) -> None:
    """Check that a split is asked for of a manifest alone.

    Args:
        source: What is translated.
        split: Split of the rows, or None.

    Raises:
        UserError: ``source`` is no manifest, and there is a split.
    """
    if split is not None and not is_manifest(source):
        raise UserError(f"split={split} of input={source}: only the rows of a manifest have splits: leave split out")


def _find_misfit(source: Source, spec: PairSpec) -> str | None:
    """Say why files are not what a model takes, as far as their headers tell."""
    if has_volumes(source):
        return None
    try:
        header = stack_headers([read_header(file) for file in list_files(source)])
    except (UserError, OSError):  # which translating them reports
        return None
    misfit = spec.source.find_misfit(header)
    return f"{format_source(source)}: {misfit}" if misfit else None
