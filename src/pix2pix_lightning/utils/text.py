"""Text from files, such as their names, in messages, on a terminal and in a log."""

from __future__ import annotations

import logging
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # controls, also of the writing direction; bytes that are no UTF-8; line ends
_MAX_NAMES = 10


def format_names(names: Sequence[str]) -> str:
    """Return up to ten names in a line, and how many more there are."""
    more = len(names) - _MAX_NAMES
    return ", ".join(names[:_MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


def escape_controls(text: str, *, keep: str = "") -> str:
    r"""Replace characters that a terminal would obey, or that hide what a text is, by escapes such as ``\x1b``.

    Args:
        text: Any text. Bytes of a file's name that are no UTF-8 are surrogates in it, ``\udcff``.
        keep: Characters that stay, such as a line end.

    Returns:
        Text of printable characters and of those in ``keep``.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in keep or unicodedata.category(c) not in _HIDDEN else _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def print_escaped(*lines: object, file: TextIO | None = None) -> None:
    """Print lines with control characters escaped.

    Args:
        *lines: What is printed, each on a line of its own. A line end in it stays.
        file: Where to; default standard output.
    """
    for line in lines:
        print(escape_controls(str(line), keep="\n\t"), file=sys.stdout if file is None else file, flush=True)


class EscapedFormatter(logging.Formatter):
    """Format log records with control characters escaped, and the line ends of what is put into a message too.

    So no file's name can look like a line of the log.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        args = record.args
        if isinstance(args, tuple) and record.msg != "%s":  # which stands for a text of several lines
            record = logging.makeLogRecord(record.__dict__)
            record.args = tuple(escape_controls(str(arg)) if isinstance(arg, str | Path) else arg for arg in args)
        return escape_controls(super().format(record), keep="\n\t")
