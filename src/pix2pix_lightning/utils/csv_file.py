"""Read the CSV files of runs."""

from __future__ import annotations

import csv
from contextlib import suppress
from io import StringIO
from pathlib import Path

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'")
_WHOLE_NUMBERS = ("epoch", "step")


def quote_cell(text: str) -> str:
    """Put an apostrophe before a text that a spreadsheet would compute as a formula; numbers are written as they are.

    Args:
        text: A text, such as the name of an image. One that begins with an apostrophe gets another.

    Returns:
        The content of the cell, from which `unquote_cell` restores the text.
    """
    return f"'{text}" if text.startswith(_FORMULA) else text


def unquote_cell(cell: str) -> str:
    """Return the text of which `quote_cell` has made a cell."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


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
            with suppress(AttributeError, TypeError, ValueError):  # more cells than columns have no name
                cells = {unquote_cell(name): value for name, value in row.items() if value != ""}
                rows.append({name: parse_number(name, value) for name, value in cells.items()})
    return [row for row in rows if "step" in row]


def parse_number(name: str, value: str | float) -> float:
    """Convert a value to the type of its column: int for ``epoch`` and ``step``, else float."""
    return int(value) if name in _WHOLE_NUMBERS else float(value)
