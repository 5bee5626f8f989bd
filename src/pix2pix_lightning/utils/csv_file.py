"""Read the CSV files of runs."""

from __future__ import annotations

import csv
from contextlib import suppress
from io import StringIO
from pathlib import Path

_WHOLE_NUMBERS = ("epoch", "step")


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read the rows of a ``metrics.csv`` by rising step; a file that does not exist has none."""
    return sorted(parse_metrics(path.read_bytes()), key=lambda row: row["step"]) if path.is_file() else []


def parse_metrics(data: bytes) -> list[dict[str, float]]:
    """Parse the rows of a ``metrics.csv``.

    Left out are empty cells, rows that are not numbers, rows without ``step``, and a last line without its line end: a
    process that was killed may have cut it inside a number.

    Args:
        data: Content of the file: a line of column names, then a row for each step.

    Returns:
        For each row the values by column. ``epoch`` and ``step`` are int, all others float.
    """
    text = data.decode(errors="replace")
    rows: list[dict[str, float]] = []
    with suppress(csv.Error):
        for row in csv.DictReader(StringIO(text[: text.rfind("\n") + 1], newline="")):
            with suppress(TypeError, ValueError):
                rows.append({name: parse_number(name, value) for name, value in row.items() if value != ""})
    return [row for row in rows if "step" in row]


def parse_number(name: str, value: str | float) -> float:
    """Convert a value to the type of its column: int for ``epoch`` and ``step``, else float."""
    return int(value) if name in _WHOLE_NUMBERS else float(value)
