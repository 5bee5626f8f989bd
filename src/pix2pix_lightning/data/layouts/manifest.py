"""Pairs that a file lists: CSV or JSON lines with the columns source, target, and perhaps split, mask and name."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from pix2pix_lightning.data.files.listing import PathList, get_stem
from pix2pix_lightning.data.layouts.layout import Found
from pix2pix_lightning.data.pairs import FilePairs, Files
from pix2pix_lightning.data.stores.stored_path import AnyPath
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.text import format_names

SUFFIXES = (".csv", ".jsonl")
NAMES = tuple(f"manifest{suffix}" for suffix in SUFFIXES)
"""Names by which a manifest is found in a folder."""
_log = logging.getLogger(__name__)
_COLUMN = re.compile(r"(source|target)(?:_([1-9]\d*))?|split|mask|name")
_EXPECTED = "source, target, source_1, source_2, ..., target_1, ..., split, mask and name"
_SIDES = ("source", "target")


class Row(NamedTuple):
    """A pair of a manifest.

    Attributes:
        line: Number of its line, from 1.
        a: Paths of the files of A, relative to the manifest's folder; none where they were not asked for.
        b: Paths of the files of B, in the same form.
        split: Its split, empty where there is none.
        mask: Path of its mask, or empty.
        name: Its name.
    """

    line: int
    a: tuple[str, ...]
    b: tuple[str, ...]
    split: str
    mask: str
    name: str


class Manifest:
    """Open the pairs that a manifest lists. ``source`` is A and ``target`` is B.

    Args:
        path: The manifest, whose folder its paths are relative to.
        val_split: Name of the split that validation pairs come from.
        may_miss: Whether a file that does not exist is left to the check of the files.
    """

    def __init__(self, path: AnyPath, val_split: str = "val", *, may_miss: bool = False) -> None:
        self.path = path
        self.val_split = val_split
        self.may_miss = may_miss
        self._rows: list[Row] | None = None

    def has_split(self, split: str) -> bool:
        """Return whether a row has this split."""
        return any(row.split == split for row in self._read())

    def is_flat(self, splits: Iterable[str], *, is_divided: bool) -> bool:
        """Return whether there is no column of splits."""
        return not any(row.split for row in self._read())

    def explain_missing(self, split: str) -> str:
        """Say which splits there are."""
        return _explain_missing(self.path, self._read(), split) + (
            "; set data.val_fraction=0.1 to validate on a part of train" if split != "train" else ""
        )

    def open(self, split: str) -> Found:
        """Open the pairs of a split, in the order of the rows; of all rows where it is empty.

        Returns:
            The pairs, and where they are.

        Raises:
            UserError: A row cannot be used, or there is none.
        """
        rows = [row for row in self._read() if not split or row.split == split]
        if not rows:
            raise UserError(self.explain_missing(split) if split else f"{self.path} has no rows")
        folder = self.path.parent
        a, b = (
            [PathList(folder, column) for column in zip(*(getattr(row, side) for row in rows), strict=True)]
            for side in "ab"
        )
        masks = [folder / row.mask if row.mask else None for row in rows] if any(row.mask for row in rows) else None
        pairs = FilePairs(_as_files(a), _as_files(b), [row.name for row in rows], masks)
        first = rows[0]
        return Found(pairs, "manifest", *(f"{self.path}: {' + '.join(side)}, ..." for side in (first.a, first.b)))

    def _read(self) -> list[Row]:
        if self._rows is None:
            self._rows = list(_parse(self.path))
            self._check(self._rows)
        return self._rows

    def _check(self, rows: Sequence[Row]) -> None:
        known = {"train", "val", "test", self.val_split}
        has_splits = any(row.split for row in rows)
        missing: list[str] = []
        for row in rows:
            if has_splits and row.split not in known:
                value = f"the split {row.split}" if row.split else "no split, unlike others"
                raise UserError(
                    f"{self.path}, line {row.line} has {value}: use train, val or test"
                    + (f", or set data.val_split={row.split} to validate on it" if row.split else "")
                )
            missing += _list_missing(self.path, row)
        if missing and not self.may_miss:
            raise _build_missing_error(self.path, missing)
        if missing:
            _log.warning("%s names %d files that do not exist: %s", self.path, len(missing), format_names(missing))
        counts = Counter((row.split, row.name) for row in rows)
        twice = sorted(name for (_, name), count in counts.items() if count > 1)
        if twice:
            _log.warning("%s: several rows have the same name: %s", self.path, format_names(twice))


def read_rows(path: Path, column: str, split: str | None = None) -> list[Row]:
    """Read the rows of a manifest for one of its sides. Files of the other side, and masks, may be missing.

    Args:
        path: The manifest, whose folder its paths are relative to.
        column: ``source`` or ``target``.
        split: Split of the rows, by any name; None for all.

    Returns:
        The rows, in their order; their names are by default those of the files of this side.

    Raises:
        UserError: The manifest is damaged, has no such rows, or a file of theirs does not exist.
    """  # noqa: DOC501  _build_missing_error returns a UserError
    rows = list(_parse(path, (column,)))
    if not rows:
        raise UserError(f"{path} has no rows: give each source a line")
    chosen = [row for row in rows if split is None or row.split == split]
    if not chosen:
        is_divided = any(row.split for row in rows)
        raise UserError(
            _explain_missing(path, rows, split or "")
            if is_divided
            else f"{path} has no column split, but split={split} is set: leave split out"
        )
    if missing := [name for row in chosen for name in _list_missing(path, row._replace(mask=""))]:
        raise _build_missing_error(path, missing)
    return chosen


def _parse(path: AnyPath, sides: Collection[str] = _SIDES) -> Iterator[Row]:
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: {error}; save it as UTF-8") from None
    read = _read_json if path.name.lower().endswith(".jsonl") else _read_csv
    columns: list[tuple[str, ...]] | None = None
    for line, values in read(text, path):
        place = f"{path}, line {line}"
        found = [_find_columns(values, side, place) if side in sides else () for side in _SIDES]
        if columns is not None and list(map(len, found)) != list(map(len, columns)):
            raise UserError(f"{place}: {_format_counts(found)}, but {_format_counts(columns)} before it")
        columns = found
        a, b = (tuple(_get_path(values, column, place) for column in side) for side in found)
        name = _clean_name(values.get("name") or "", (*a, *b)[0], place)
        yield Row(line, a, b, values.get("split") or "", values.get("mask") or "", name)


def _list_missing(path: AnyPath, row: Row) -> list[str]:
    """List the files of a row that do not exist."""
    names = (*row.a, *row.b, *([row.mask] if row.mask else []))
    return [f"line {row.line}: {name}" for name in names if not (path.parent / name).is_file()]


def _build_missing_error(path: AnyPath, missing: Sequence[str]) -> UserError:
    return UserError(
        f"{path} names {len(missing)} files that do not exist in {path.parent}: {format_names(missing)}: paths are "
        "relative to the manifest's folder"
    )


def _explain_missing(path: AnyPath, rows: Iterable[Row], split: str) -> str:
    found = sorted({row.split for row in rows})
    return f"{path} has no row with the split {split}: its splits are {format_names(found)}"


def _as_files(lists: Sequence[PathList]) -> list[Files]:
    return list(lists)


def _read_csv(text: str, path: AnyPath) -> Iterator[tuple[int, dict[str, str]]]:
    head = text.partition("\n")[0]
    delimiter = next((mark for mark in ",;\t" if mark in head), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: list[str] | None = None
    try:
        for row in reader:
            if not any(value.strip() for value in row):
                continue
            if columns is None:
                columns = [column.strip() for column in row]
                _check_columns(columns, f"{path}, line {reader.line_num}")
                continue
            if len(row) != len(columns):
                raise UserError(f"{path}, line {reader.line_num} has {len(row)} values for {len(columns)} columns")
            yield reader.line_num, {column: value.strip() for column, value in zip(columns, row, strict=True)}
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num} is no CSV: {error}") from None


def _read_json(text: str, path: AnyPath) -> Iterator[tuple[int, dict[str, str]]]:
    for line, part in enumerate(text.split("\n"), 1):
        if not part.strip():
            continue
        try:
            values = json.loads(part)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}, line {line} is no JSON: {error}") from None
        if not isinstance(values, dict):
            raise UserError(f'{path}, line {line} is no JSON object, such as {{"source": ..., "target": ...}}')
        flat: dict[str, str] = {}
        for column, value in values.items():
            if column in ("source", "target") and isinstance(value, list):
                flat |= {f"{column}_{number}": _to_text(one, column, path, line) for number, one in enumerate(value, 1)}
            elif value is not None:
                flat[column] = _to_text(value, column, path, line)
        _check_columns(list(flat), f"{path}, line {line}")
        yield line, flat


def _to_text(value: Any, column: str, path: AnyPath, line: int) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and column == "name":
        return str(value)
    if not isinstance(value, str):
        raise UserError(f"{path}, line {line}: {column}={json.dumps(value)}: a text is expected")
    return value


def _check_columns(columns: Sequence[str], place: str) -> None:
    for column in columns:
        if not _COLUMN.fullmatch(column):
            raise UserError(f"{place} has the column {column}: the columns are {_EXPECTED}")
    if len(set(columns)) < len(columns):
        raise UserError(f"{place} has a column twice: {', '.join(columns)}")


def _find_columns(values: dict[str, str], side: str, place: str) -> tuple[str, ...]:
    """Return the columns of a side, ``source`` or ``target``, in the order of their numbers."""
    numbered = sorted(
        (int(found[2]), column)
        for column in values
        if (found := _COLUMN.fullmatch(column)) and found[1] == side and found[2]
    )
    if side in values and numbered:
        raise UserError(f"{place} has {side} and {numbered[0][1]}: use the one or the others")
    if side not in values and not numbered:
        raise UserError(f"{place} has no {side}: the columns are {_EXPECTED}")
    if [number for number, _ in numbered] != list(range(1, len(numbered) + 1)):
        raise UserError(f"{place}: the columns {', '.join(column for _, column in numbered)} do not count from 1")
    return tuple(column for _, column in numbered) or (side,)


def _format_counts(columns: Sequence[Sequence[str]]) -> str:
    return " and ".join(f"{len(own)} {side}s" for own, side in zip(columns, _SIDES, strict=True) if own)


def _get_path(values: dict[str, str], column: str, place: str) -> str:
    if not values[column]:
        raise UserError(f"{place} has an empty {column}: name a file, or delete the row")
    return values[column]


def _clean_name(name: str, file: str, place: str) -> str:
    """Return the name of a pair: the given one, or the path of its source without the ending."""
    path = PurePosixPath(name or get_stem(file))
    if name and (path.is_absolute() or ".." in path.parts):
        raise UserError(f"{place}: name={name}: a name that stays in its folder is expected")
    return "/".join(part for part in path.parts if part not in ("..", "/")) or "pair"
