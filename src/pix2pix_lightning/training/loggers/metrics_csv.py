"""Log to ``metrics.csv``, one row for each step."""

from __future__ import annotations

import csv
from argparse import Namespace
from io import FileIO, StringIO
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.csv_file import parse_metrics, parse_number, quote_cell


class MetricsCSV(Logger):
    """Write metrics to a CSV file that a resumed run continues, unlike Lightning's ``CSVLogger``.

    Args:
        path: Path of the file. Rows that it holds are kept up to the step at which the run is resumed; rows that
            cannot be read are dropped.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self._path = Path(path)
        self._before = parse_metrics(self._path.read_bytes()) if self._path.is_file() else []
        self._rows: list[dict[str, Any]] = []  # not in the file yet, or its last row, which may still grow
        self._last_written = self._before[-1]["step"] if self._before else None  # step of the last row of the file
        self._columns: list[str] = []
        self._end = 0  # length in bytes of the rows that do not change any more

    @property
    def name(self) -> str:
        """Name of the logger."""
        return "csv"

    @property
    def path(self) -> Path:
        """Path of the file."""
        return self._path

    @property
    def version(self) -> str:
        """Version of the logger, always empty."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the configuration is in ``config.yaml``."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add metrics to the row of ``step``, the number of the batch in the run, from 0."""
        if self._before and step is not None:
            self._rows = [row for row in self._before if row["step"] <= step]  # a row that was interrupted continues
            self._before = []
        if not self._rows or self._rows[-1]["step"] != step:
            self._rows.append({"step": step})
        self._rows[-1].update({name: parse_number(name, value) for name, value in metrics.items()})

    @rank_zero_only
    def save(self) -> None:
        """Write all rows but the last, to which metrics may be added; if the file has that one, it stays there."""
        is_written = bool(self._rows) and self._rows[-1]["step"] == self._last_written
        self._write(self._rows[:-1], self._rows[-1:] if is_written else [])

    @rank_zero_only
    def write_growing(self) -> None:
        """Write the last row too: a run that continues from a checkpoint does not log it again. It may still grow."""
        self._write(self._rows[:-1], self._rows[-1:])
        self._last_written = self._rows[-1]["step"] if self._rows else self._last_written

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Write the last row too, as `write_growing` does."""
        self.write_growing()

    def finalize(self, status: str) -> None:
        """Write all rows."""
        self.write_growing()

    def _write(self, rows: list[dict[str, Any]], growing: list[dict[str, Any]]) -> None:
        """Append rows. If a column is new, replace the file as a whole."""
        if not rows + growing:
            return
        columns = list(
            dict.fromkeys(["epoch", "step", *self._columns, *(key for row in rows + growing for key in row)])
        )
        final, provisional = _format_lines(rows, columns), _format_lines(growing, columns)
        if columns == self._columns:
            self._overwrite_end(final + provisional)
            self._end += len(final)
        else:
            before = parse_metrics(self._path.read_bytes()[: self._end]) if self._end else []
            kept = _format_lines([dict(zip(columns, map(quote_cell, columns), strict=True)), *before], columns)
            with atomic_write(self._path) as scratch:
                scratch.write_bytes(kept + final + provisional)
            self._end = len(kept + final)
        self._rows, self._columns = self._rows[len(rows) :], columns

    def _overwrite_end(self, lines: bytes) -> None:
        """Replace the last row, which was provisional, by lines. A full disk leaves the file as it was."""
        with self._path.open("r+b", buffering=0) as file:
            file.seek(self._end)
            previous = file.read()
            file.seek(self._end)
            try:
                _write_all(file, lines)
            except OSError:
                file.seek(self._end)
                _write_all(file, previous)
                raise
            finally:
                file.truncate()


def _write_all(file: FileIO, lines: bytes) -> None:
    while lines:
        lines = lines[file.write(lines) :]


def _format_lines(rows: list[dict[str, Any]], columns: list[str]) -> bytes:
    text = StringIO(newline="")
    csv.DictWriter(text, columns).writerows(rows)
    return text.getvalue().encode()
