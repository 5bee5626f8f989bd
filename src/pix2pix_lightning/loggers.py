"""metrics.csv: what a run logs, a row for each number of batches seen."""

from __future__ import annotations

import csv
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only


class MetricsCSV(Logger):
    """Writes metrics to a CSV file and, unlike Lightning's own, goes on with it when a run is resumed.

    Args:
        path: Of the file. What it holds already is kept; rows from the resumed step on are replaced.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self._path = Path(path)
        self._rows: list[dict[str, Any]] = []
        self._before: list[dict[str, Any]] = []
        if self._path.is_file():
            with self._path.open(newline="") as file:
                self._before = [{k: v for k, v in row.items() if v != ""} for row in csv.DictReader(file)]

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
            self._rows = [row for row in self._before if int(row["step"]) < step]
            self._before = []
        if not self._rows or self._rows[-1]["step"] != step:
            self._rows.append({"step": step})
        self._rows[-1].update({k: int(v) if k == "epoch" else float(v) for k, v in metrics.items()})

    @rank_zero_only
    def save(self) -> None:
        """Write the file anew, through a second one, so that it is whole at any time."""
        if not self._rows:
            return
        columns = dict.fromkeys(["epoch", "step", *(key for row in self._rows for key in row)])
        scratch = self._path.with_suffix(".csv.part")
        with scratch.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(columns))
            writer.writeheader()
            writer.writerows(self._rows)
        scratch.replace(self._path)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left."""
        self.save()
