"""Write a manifest of the pairs of a folder: ``prepare task=index``."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pix2pix_lightning.data.layouts.manifest import SUFFIXES
from pix2pix_lightning.data.pair_folder import PairFolder
from pix2pix_lightning.data.pairs import FilePairs, PairFiles
from pix2pix_lightning.prepare.write_pairs import get_output
from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.checks import check_absent
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.text import print_escaped

if TYPE_CHECKING:
    from omegaconf import DictConfig

Row = dict[str, str]

_SPLITS = ("train", "val", "test")


def index(cfg: DictConfig) -> None:
    """Write a manifest with the columns ``source``, ``target`` and ``split``.

    Pairs that lie in no split are divided as a training does it, by a hash of their names.

    Args:
        cfg: ``input`` is the folder of the pairs, or a manifest; ``output`` the manifest, a CSV or JSON lines file.

    Raises:
        UserError: There are no pairs in files of their own, or a name cannot be written.
        FileExistsError: The output exists.
        OSError: It cannot be written.
    """
    root, output = Path(str(cfg.input)), get_output(cfg)
    if output.suffix not in SUFFIXES:
        raise UserError(f"output={output}: a file that ends with {' or '.join(SUFFIXES)} is expected")
    if not root.exists():
        raise UserError(f"input={root} does not exist: give the folder of the pairs")
    check_absent(output, overwrite=cfg.overwrite)
    folder = PairFolder(root)
    splits = ("train", "val") if folder.is_flat() else [split for split in _SPLITS if folder.has_split(split)]
    if not splits:
        raise UserError(f"input={root} has no pairs, in itself or in train, val and test")
    rows = [row for split in splits for row in list_rows(folder.open(split), split, output.parent)]
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(output, overwrite=cfg.overwrite) as scratch:
        scratch.write_bytes(format_rows(rows, output))
    counts = ", ".join(f"{sum(row['split'] == split for row in rows)} {split}" for split in splits)
    print_escaped(f"{len(rows)} pairs listed in {output}: {counts}")


def list_rows(pairs: PairFiles, split: str, folder: Path) -> Iterator[Row]:
    """List the rows of a split.

    Args:
        pairs: The pairs.
        split: Name of the split.
        folder: Folder of the manifest, which paths are relative to.

    Yields:
        Values by column.

    Raises:
        UserError: The pairs are strips, or are no files.
    """
    if not isinstance(pairs, FilePairs):
        raise UserError(
            "the pairs are strips, and a manifest lists files of A and of B: run task=split first; strips need none"
        )
    for number in range(len(pairs)):
        row: Row = {}
        for column, stack in (("source", pairs.a), ("target", pairs.b)):
            for place, files in enumerate(stack, 1):
                name = column if len(stack) == 1 else f"{column}_{place}"
                row[name] = _format_path(files[number], folder)
        row["split"] = split
        if pairs.masks is not None:
            mask = pairs.masks[number]
            row["mask"] = "" if mask is None else _format_path(mask, folder)
        yield row


def format_rows(rows: Sequence[Row], path: Path) -> bytes:
    """Format a manifest.

    Args:
        rows: Its rows, all with the same columns.
        path: Its file, whose ending chooses the format.

    Returns:
        UTF-8.

    Raises:
        UserError: A name cannot be written in this format.
    """
    if path.suffix == ".jsonl":
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    else:
        if odd := next((value for row in rows for value in row.values() if value != value.strip()), None):
            raise UserError(f"{odd!r} begins or ends with a space, which CSV files lose: set output=<file>.jsonl")
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        text = buffer.getvalue()
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise UserError("a file's name is no UTF-8, which a manifest is: rename it") from None


def _format_path(file: object, folder: Path) -> str:
    if not isinstance(file, Path):
        raise UserError(f"{file} lies in an archive, and a manifest lists files: unpack it")
    return Path(os.path.relpath(file, folder)).as_posix()
