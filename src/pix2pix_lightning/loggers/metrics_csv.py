"""metrics.csv: what a run logs, a row for each number of batches seen."""

from __future__ import annotations

import csv
import os
from argparse import Namespace
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from pix2pix_lightning.whole_file import replacing


class MetricsCSV(Logger):
    """Writes metrics to a CSV file and, unlike Lightning's own, goes on with it when a run is resumed.

    Args:
        path: Of the file. What it holds already is kept, but for rows that cannot be read; rows from the resumed step
            on are replaced.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self._path = Path(path)
        self._rows: list[dict[str, Any]] = []
        self._before = _rows_of(self._path) if self._path.is_file() else []
        self._written = 0
        self._columns: list[str] = []

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
        self._rows[-1].update({name: _number(name, value) for name, value in metrics.items()})

    @rank_zero_only
    def save(self) -> None:
        """Write all rows but the last, to which more may be added."""
        self._write(len(self._rows) - 1)

    @rank_zero_only
    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Write the last row too, which a run that goes on from the checkpoint has behind it; it may still grow."""
        self._write(len(self._rows))
        self._written, self._columns = len(self._rows) - 1, []

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left."""
        self._write(len(self._rows))

    def _write(self, count: int) -> None:
        """Append the rows before ``count``; where a column is new, write the file anew, whole at any time."""
        if count <= self._written:
            return
        columns = list(dict.fromkeys(["epoch", "step", *(key for row in self._rows[:count] for key in row)]))
        if columns == self._columns:
            size = self._path.stat().st_size
            try:
                with self._path.open("a", newline="") as file:
                    csv.DictWriter(file, columns).writerows(self._rows[self._written : count])
            except OSError:  # a full disk leaves no half row
                os.truncate(self._path, size)
                raise
        else:
            with replacing(self._path) as scratch, scratch.open("w", newline="") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(self._rows[:count])
        self._written, self._columns = count, columns


def _rows_of(path: Path) -> list[dict[str, Any]]:
    """Without those that cannot be read: a process that was killed leaves a line that is cut, maybe inside a number."""
    text = path.read_bytes().decode(errors="replace")
    rows: list[dict[str, Any]] = []
    with suppress(csv.Error):
        for row in csv.DictReader(StringIO(text[: text.rfind("\n") + 1], newline="")):
            with suppress(TypeError, ValueError):
                rows.append({name: _number(name, value) for name, value in row.items() if value != ""})
    return [row for row in rows if "step" in row]


def _number(name: str, value: Any) -> float:
    return int(value) if name in ("epoch", "step") else float(value)
