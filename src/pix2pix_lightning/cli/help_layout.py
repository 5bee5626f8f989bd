"""How entries of a help page are laid out: a key with its value, and the explanation next to it."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

_LONG = 48  # characters of a mapping, which is shortened
_ROOM = 24  # columns behind a long key from which on an explanation begins there


class Entry(NamedTuple):
    """A line of a help page.

    Attributes:
        head: ``key=value``, or a node's name alone.
        text: The explanation.
        indent: Columns before it.
    """

    head: str
    text: str
    indent: int = 2

    @property
    def key(self) -> str:
        """The dotted key."""
        return self.head.partition("=")[0]


def format_assignment(key: str, value: Any) -> str:
    """Format ``key=value``, of a long mapping its first value alone."""
    text = format_value(value)
    return f"{key}={text.partition(',')[0]},...}}" if text.startswith("{") and len(text) > _LONG else f"{key}={text}"


def format_value(value: Any) -> str:
    """Format a plain value as it is written on a command line; a reference to another key is ``<key>``."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if isinstance(value, list | tuple):
        return f"[{','.join(map(format_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{format_value(inner)}' for key, inner in value.items())}}}"
    if value == "???":
        return "<required>"
    text = re.sub(r"\$\{oc\.env:(\w+),([^}]*)\}", lambda found: os.environ.get(found[1], found[2]), str(value))
    return re.sub(r"\$\{(?:oc\.select:)?([\w.]+)(?:,[^}]*)?\}", r"<\1>", text)


def format_sections(sections: Mapping[str, Iterable[Entry]], width: int) -> list[str]:
    """Return the lines of sections, without those that are empty.

    Args:
        sections: Entries by the title of their section.
        width: Columns, within which explanations are wrapped. They begin in one column where the keys leave room.
    """
    lines: list[str] = []
    shown = {title: list(entries) for title, entries in sections.items()}
    heads = [e.indent + len(e.head) + 2 for entries in shown.values() for e in entries]
    most = width // 3 + 2
    column = max((length for length in heads if length <= most), default=most)
    for title, entries in shown.items():
        if entries:
            lines += ["", title, *(line for entry in entries for line in _format_entry(entry, column, width))]
    return lines


def _format_entry(entry: Entry, column: int, width: int) -> list[str]:
    indent = " " * entry.indent
    head = f"{indent}{entry.head}"
    gap = " " * column
    lines = _wrap(entry.text, width - column)
    if lines and len(head) + 2 <= column:
        return [f"{head:{column}}{lines[0]}", *(gap + line for line in lines[1:])]
    first_width = width - len(head) - 2  # the explanation begins behind a long key, where there is room
    if not lines or first_width < _ROOM:
        heads = textwrap.wrap(entry.head, width, initial_indent=indent, subsequent_indent=f"{indent}  ")
        return [*heads, *(gap + line for line in lines)]
    begin, *rest = _wrap(entry.text, first_width)
    rest = _wrap(" ".join(rest), width - column)
    return [f"{head}  {begin}", *(gap + line for line in rest)]


def _wrap(text: str, width: int) -> list[str]:
    """Break a text into lines, none of them within ``<run folder>``."""
    whole = re.sub(r"<[^<>]*>", lambda found: found[0].replace(" ", "\0"), text)
    return [line.replace("\0", " ") for line in textwrap.wrap(whole, width, break_on_hyphens=False)]
