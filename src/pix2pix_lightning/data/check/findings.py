"""What the check of a data set has found: warnings, and an error or pairs that are left out."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.text import format_names

_log = logging.getLogger(__name__)
_MAX_LINES = 10
_FILE = "data_check.txt"


@dataclass(frozen=True)
class BadPair:
    """A pair that cannot be trained on.

    Attributes:
        split: Name of its split.
        index: Its number in the split.
        name: Its name.
        text: What is wrong, with the file.
        fix: What to do, where the text does not say it.
    """

    split: str
    index: int
    name: str
    text: str
    fix: str = ""


@dataclass
class Findings:
    """What was found.

    Attributes:
        num_pairs: Number of pairs by split that were checked.
        bad: Pairs that cannot be trained on, one entry each.
        warnings: Lines about pairs that can be trained on, but perhaps should not.
    """

    num_pairs: dict[str, int]
    bad: list[BadPair] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def list_kept(self) -> dict[str, list[int]]:
        """Return the numbers of the pairs that are not bad, by split."""
        bad: dict[str, set[int]] = {split: set() for split in self.num_pairs}
        for pair in self.bad:
            bad[pair.split].add(pair.index)
        return {
            split: [index for index in range(count) if index not in bad[split]]
            for split, count in self.num_pairs.items()
        }

    def report(self, *, skip: bool, folder: Path | None, is_first: bool = True) -> None:
        """Log what was found; if there are bad pairs that are not to be skipped, end with an error.

        Args:
            skip: Whether bad pairs are left out.
            folder: Where a long list is written; None, or a folder that cannot be written to, stands for the system's
                temporary folder.
            is_first: Whether this is the first of several processes, which logs for all.

        Raises:
            UserError: There are bad pairs, and ``skip`` is off; or a split has no other pairs.
        """
        warn = _log.warning if is_first else _log.debug
        for warning in self.warnings:
            warn("%s", warning)
        if not self.bad:
            return
        total, count = sum(self.num_pairs.values()), len(self.bad)
        empty = [split for split, kept in self.list_kept().items() if not kept]
        is_left_out = skip and not empty
        lines = [pair.text for pair in self.bad]
        if count > 1 or is_left_out:
            for line in lines[:_MAX_LINES]:
                warn("%s", line)
        listed = ""
        if count > _MAX_LINES:
            listed = f"; all are listed in {_write_list(lines, folder)}"
            warn("and %d more%s", count - _MAX_LINES, listed)
        if is_left_out:
            names = format_names([pair.name for pair in self.bad])
            warn("data.on_error=skip: %d of %d pairs are left out: %s", count, total, names)
            return
        first = self.bad[0]
        amount = f"{count} of {total} pairs cannot be used, for example: " if count > 1 else ""
        if empty:
            more = f"; no pair of {' and '.join(empty)} is left" if skip else ""
        else:
            more = f"; or set data.on_error=skip to leave {'such pairs' if count > 1 else 'this pair'} out"
        fix = f": {first.fix}" if first.fix else ""
        raise UserError(f"{amount}{first.text}{fix}{more}{listed}")


def _write_list(lines: Sequence[str], folder: Path | None) -> Path:
    content = "\n".join(lines) + "\n"
    if folder is not None:
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(folder / _FILE) as scratch:
                scratch.write_text(content, encoding="utf-8", errors="surrogateescape")
            return folder / _FILE
    number, name = tempfile.mkstemp(prefix="pix2pix_data_check_", suffix=".txt")
    with os.fdopen(number, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(content)
    return Path(name)
