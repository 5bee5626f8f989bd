"""metrics.csv: what a run logs, a row for each number of batches seen."""

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
from pix2pix_lightning.utils.csv_file import parse_metrics, parse_number


class MetricsCSV(Logger):
    """Writes metrics to a CSV file and, unlike Lightning's own, goes on with it when a run is resumed.

    Args:
        path: Of the file. What it holds already is kept, but for rows that cannot be read; rows from the resumed step
            on are replaced.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self._path = Path(path)
        self._before = parse_metrics(self._path.read_bytes()) if self._path.is_file() else []
        self._rows: list[dict[str, Any]] = []  # that are not in the file, or there at its end and may still grow
        self._columns: list[str] = []
        self._end = 0  # of what is in the file for good

    @property
    def name(self) -> str:
        """What Lightning asks of a logger."""
        return "csv"

    @property
    def version(self) -> str:
        """What Lightning asks of a logger."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """The configuration stands in ``config.yaml``."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add metrics to the row of ``step``, the number of batches seen before."""
        if self._before and step is not None:
            self._rows = [row for row in self._before if row["step"] <= step]  # an interrupted row is gone on with
            self._before = []
        if not self._rows or self._rows[-1]["step"] != step:
            self._rows.append({"step": step})
        self._rows[-1].update({name: parse_number(name, value) for name, value in metrics.items()})

    @rank_zero_only
    def save(self) -> None:
        """Write all rows but the last, to which more may be added."""
        self._write(self._rows[:-1], [])

    @rank_zero_only
    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Write the last row too, which a run that goes on from the checkpoint has behind it; it may still grow."""
        self._write(self._rows[:-1], self._rows[-1:])

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left."""
        self._write(self._rows[:-1], self._rows[-1:])

    def _write(self, rows: list[dict[str, Any]], growing: list[dict[str, Any]]) -> None:
        """Append; where a column is new, write the file anew, whole at any time."""
        if not rows + growing:
            return
        columns = list(
            dict.fromkeys(["epoch", "step", *self._columns, *(key for row in rows + growing for key in row)])
        )
        for_good, for_now = _lines(rows, columns), _lines(growing, columns)
        if columns == self._columns:
            self._put_at_the_end(for_good + for_now)
            self._end += len(for_good)
        else:
            before = parse_metrics(self._path.read_bytes()[: self._end]) if self._end else []
            kept = _lines([dict(zip(columns, columns, strict=True)), *before], columns)
            with atomic_write(self._path) as scratch:
                scratch.write_bytes(kept + for_good + for_now)
            self._end = len(kept + for_good)
        self._rows, self._columns = self._rows[len(rows) :], columns

    def _put_at_the_end(self, lines: bytes) -> None:
        """In place of the row that was there for now; a full disk leaves it as it was."""
        with self._path.open("r+b", buffering=0) as file:
            file.seek(self._end)
            was = file.read()
            file.seek(self._end)
            try:
                _write_all(file, lines)
            except OSError:
                file.seek(self._end)
                _write_all(file, was)
                raise
            finally:
                file.truncate()


def _write_all(file: FileIO, lines: bytes) -> None:
    while lines:
        lines = lines[file.write(lines) :]


def _lines(rows: list[dict[str, Any]], columns: list[str]) -> bytes:
    text = StringIO(newline="")
    csv.DictWriter(text, columns).writerows(rows)
    return text.getvalue().encode()
