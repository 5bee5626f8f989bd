"""What ``<command> --help`` prints: the keys of the command with what the files of ``conf/`` say of them."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pix2pix_lightning.cli.choices import (
    SEVERAL,
    choose_by_keys,
    collect_comments,
    find_conf_dirs,
    list_all_keys,
    read_choices,
    read_command,
)
from pix2pix_lightning.cli.conf import compose_files
from pix2pix_lightning.cli.conf_files import Default, Key
from pix2pix_lightning.compat import parse_overrides

FURTHER = "Further keys"
"""Title of a section that ``--help all`` alone shows."""
ALL = "all"
_OF_HYDRA = {
    "_target_": "class that is built; of yours: package.Class",
    "_recursive_": "whether Hydra builds what is in it first",
    "_convert_": "which containers Hydra hands to the class",
}
_LEAST_WIDTH, _GREATEST_WIDTH = 60, 120
_LONG = 48  # characters of a mapping, which is shortened
_PROGRAM = "pix2pix-lightning"


class Composed(NamedTuple):
    """What the words of a command line give.

    Attributes:
        values: Plain values by dotted key, nodes too.
        choices: Names that were chosen, by group.
    """

    values: Mapping[str, Any]
    choices: Mapping[str, Any]


class _Entry(NamedTuple):
    head: str
    text: str
    indent: int = 2


def format_help(
    config_name: str,
    topic: str | None = None,
    *,
    composed: Composed | None = None,
    config_dir: str | Path | None = None,
    width: int | None = None,
) -> str:
    """Format the help of a command.

    Args:
        config_name: Name of the command.
        topic: None for what matters first, ``all`` for all keys and choices, or a group, a key, or a node of keys.
        composed: What the words of the command line give, whose values are shown; None shows the defaults.
        config_dir: Folder with further configuration files of the user, or None.
        width: Columns; None takes those of the terminal, from 60 to 120.

    Returns:
        Lines of at most ``width`` columns.
    """
    if width is None:
        width = min(max(shutil.get_terminal_size().columns, _LEAST_WIDTH), _GREATEST_WIDTH)
    page = _Page(config_name, find_conf_dirs(config_dir), composed)
    if topic is None:
        return "\n".join(page.format_first(width))
    sections = page.collect_all()
    if topic != ALL:
        sections = {title: [e for e in entries if _is_about(e, title, topic)] for title, entries in sections.items()}
    return "\n".join([*page.format_sections(sections, width), *page.format_footer(width, topic)])


def compose_values(config_name: str, overrides: Sequence[str], config_dir: str | Path | None = None) -> Composed | None:
    """Compose what a command line gives, for its help.

    Args:
        config_name: Name of the command.
        overrides: Words of its command line. A key with several values, of a sweep, is left at its default.
        config_dir: Folder with further configuration files of the user, or None.

    Returns:
        Values and choices; None without words.

    Raises:
        hydra.errors.HydraException: A key or a name is unknown.
    """
    if not overrides:
        return None
    from omegaconf import OmegaConf

    single = [str(o.input_line) for o in parse_overrides(overrides) if not o.is_sweep_override()]
    words = [*choose_by_keys(single, config_name, config_dir), *single]
    cfg, choices = compose_files(config_name, words, config_dir=config_dir)
    return Composed(dict(_flatten(OmegaConf.to_container(cfg, resolve=False))), choices)


def _flatten(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        yield f"{prefix}{key}", value
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")


def is_topic(word: str, config_name: str) -> bool:
    """Return whether there is help on a word: ``all``, a group, a key, or a node of keys."""
    return word == ALL or word in list_all_keys(config_name)


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


class _Page:
    """The parts of a help page, as sections of entries."""

    def __init__(self, config_name: str, folders: Sequence[Path], composed: Composed | None) -> None:
        self.composed = composed
        self.command = read_command(config_name)
        self.groups = {entry.group: entry for entry in self.command.defaults}
        self.files = {group: read_choices(group, folders) for group in self.groups}
        self.comments = collect_comments(self.command, self.files)
        self.chosen = {group: self._list_chosen(entry) for group, entry in self.groups.items()}

    def _list_chosen(self, entry: Default) -> list[str]:
        name = entry.name if self.composed is None else self.composed.choices.get(entry.group)
        if isinstance(name, str) and name.startswith("["):  # several, as Hydra notes them
            return [part.strip(" '\"") for part in name.strip("[]").split(",")]
        return [name] if isinstance(name, str) else []

    def format_first(self, width: int) -> list[str]:
        """Return the lines of what matters first."""
        program = Path(sys.argv[0]).name
        call = f"{_PROGRAM} " if program == _PROGRAM else "python -m pix2pix_lightning."
        lines = [f"{self.command.title}.", ""]
        for purpose, example in self.command.examples.items():
            lines += [*textwrap.wrap(f"{purpose}:", width, initial_indent="  ", subsequent_indent="  ")]
            lines += [f"    {call}{example}"]
        sections = {
            title: self._collect_section(names) for title, names in self.command.sections.items() if title != FURTHER
        }
        return [*lines, *self.format_sections(sections, width), *self.format_footer(width)]

    def _collect_section(self, names: Sequence[str]) -> list[_Entry]:
        """Return the entries of a section's names: groups, groups with all choices, and keys with those in them."""
        entries: list[_Entry] = []
        for name in names:
            if "=" in name:
                entries += self._collect_group(name.rstrip("=*"), is_detailed=name.endswith("*"))
            elif name in self.command.keys:
                entries += self._collect_keys(self.command.keys, name)
            else:
                entries += self._collect_keys(self._find_keys(name, names), name)
        return entries

    def _find_keys(self, name: str, names: Sequence[str]) -> Mapping[str, Key]:
        """Return the keys of a choice that has ``name``, and those of ``names`` that other choices of its group have.

        It is the chosen one, or, where nothing was chosen by the user, one that others are built on; else nothing.
        """
        for group in self.groups:
            files = self.files[group]
            wanted = [key for key in names if any(key in file.keys for file in files.values() if file.package)]
            if name not in wanted:
                continue
            chosen = [choice for choice in self.chosen[group] if choice in files]
            others = sorted(files.keys() - chosen, key=lambda choice: (len(files[choice].defaults), choice))
            for choice in (*chosen, *(others if self.composed is None else ())):
                if all(key in files[choice].keys for key in wanted):
                    return files[choice].keys
        return {}

    def _collect_keys(self, keys: Mapping[str, Key], name: str = "") -> list[_Entry]:
        """Return the entries of a key and of those in it, or of all keys, with their present values."""
        values = {} if self.composed is None else self.composed.values
        entries: list[_Entry] = []
        for key, found in keys.items():
            if name and key != name and not key.startswith(f"{name}."):
                continue
            comment = self.comments.get(key, "") if not found.comment else found.comment
            comment = comment or _OF_HYDRA.get(key.rpartition(".")[2], "")
            value = values.get(key, found.value)
            if found.is_node and isinstance(value, Mapping):
                entries.append(_Entry(key, comment))
            elif key in values or not any(key.startswith(f"{node}.") for node, v in values.items() if v is None):
                entries.append(_Entry(f"{key}={_shorten(format_value(value))}", comment))
        return entries

    def _collect_group(self, group: str, *, is_detailed: bool) -> list[_Entry]:
        """Return the entry of a group, and of its choices where they are to be explained."""
        chosen = self.chosen[group]
        given = f"[{','.join(chosen)}]" if len(chosen) > 1 else (chosen or ["null"])[0]
        choices = self.files[group]
        text = self.groups[group].comment
        if is_detailed:
            explained = [_Entry(f"{group}={name}", file.title, 4) for name, file in choices.items()]
            return [_Entry(f"{group}={given}", f"{text}:"), *explained]
        others = ", ".join(name for name in choices if name not in chosen)
        if not chosen and len(choices) == 1:
            text = "".join(f"{name}: {file.title}" for name, file in choices.items())
        elif others:
            text = f"{text}; {'also' if chosen else 'one of'} {others}"
        return [_Entry(f"{group}={given}", text)]

    def collect_all(self) -> dict[str, list[_Entry]]:
        """Return all keys and choices, by the section: those of the command, then each group."""
        sections: dict[str, list[_Entry]] = {}
        listed: set[str] = set()
        for title, names in self.command.sections.items():
            own = [name for name in names if name in self.command.keys]
            listed.update(own)
            sections[title] = [entry for name in own for entry in self._collect_keys(self.command.keys, name)]
        rest = [key for key in self.command.keys if key.partition(".")[0] not in listed and "." not in key]
        sections.setdefault(FURTHER, []).extend(
            entry for name in rest for entry in self._collect_keys(self.command.keys, name)
        )
        known = {entry.head.partition("=")[0] for entries in sections.values() for entry in entries}
        for group in self.groups:
            sections[group] = self._collect_all_of(group, known)
        if self.composed is not None:
            sections["Keys of your own files"] = self._collect_unlisted(sections)
        return sections

    def _collect_unlisted(self, sections: Mapping[str, Iterable[_Entry]]) -> list[_Entry]:
        """Return the entries of composed keys that are in no section: of files that are no choices of a group."""
        heads = [entry.head.partition("=") for entries in sections.values() for entry in entries]
        listed = {key for key, _, _ in heads}
        whole = tuple(f"{key}." for key, equals, _ in heads if equals)  # with all that is in it
        values = self.composed.values if self.composed else {}
        keys = {
            key: Key(value, "")
            for key, value in values.items()
            if key not in listed and not key.startswith(whole) and not isinstance(value, Mapping)
        }
        return self._collect_keys(keys)

    def _collect_all_of(self, group: str, known: set[str]) -> list[_Entry]:
        """Return choices and keys of a group: the keys of what is chosen, then what other choices have in addition."""
        entries = self._collect_group(group, is_detailed=True)
        files = self.files[group]
        is_preset = all(not file.package or file.package.startswith("hydra") for file in files.values())
        chosen = [name for name in self.chosen[group] if name in files]
        others = sorted(files.keys() - chosen, key=lambda name: (len(files[name].defaults), name))
        for name in () if is_preset else (*chosen, *others):
            keys = {key: found for key, found in files[name].keys.items() if key not in known}
            known.update(keys)
            collected = self._collect_keys(keys)
            if collected and name not in chosen:
                together = f"{group}=[{','.join([*chosen, name])}]" if group in SEVERAL else f"{group}={name}"
                entries.append(_Entry(f"with {together}", ""))
            entries += collected
        return entries

    def format_sections(self, sections: Mapping[str, Iterable[_Entry]], width: int) -> list[str]:
        """Return the lines of sections, each explanation in the same column."""
        lines: list[str] = []
        shown = {title: list(entries) for title, entries in sections.items()}
        heads = [e.indent + len(e.head) + 2 for entries in shown.values() for e in entries]
        most = width // 3 + 2
        column = max((length for length in heads if length <= most), default=most)
        for title, entries in shown.items():
            if entries:
                lines += ["", title, *(line for entry in entries for line in _format_entry(entry, column, width))]
        return lines

    def format_footer(self, width: int, topic: str | None = None) -> list[str]:
        """Return the last lines: how to see the rest."""
        parts = []
        if topic is None and self.groups:
            group = next((group for group in self.groups if group == "generator"), next(iter(self.groups)))
            parts.append(f"--help all: all keys and choices; --help {group}: one group.")
        parts.append("null: not set.")
        return ["", *textwrap.wrap(" ".join(parts), width)]


def _shorten(value: str) -> str:
    """Return a mapping with its first value alone where it is long."""
    return f"{value.partition(',')[0]},...}}" if value.startswith("{") and len(value) > _LONG else value


def _is_about(entry: _Entry, title: str, topic: str) -> bool:
    key = entry.head.partition("=")[0]
    return title == topic or key == topic or key.startswith(f"{topic}.")


def _format_entry(entry: _Entry, column: int, width: int) -> list[str]:
    indent = " " * entry.indent
    head = f"{indent}{entry.head}"
    if not entry.text:
        return textwrap.wrap(head, width, initial_indent="", subsequent_indent=" " * column, drop_whitespace=False)
    gap = " " * column
    lines = textwrap.wrap(entry.text, width - column, break_on_hyphens=False)
    if len(head) + 2 <= column:
        return [f"{head:{column}}{lines[0]}", *(gap + line for line in lines[1:])]
    first_width = width - len(head) - 2  # the explanation begins behind a long key, where there is room
    if first_width < 24:
        return [*textwrap.wrap(head, width, subsequent_indent=indent + "  "), *(gap + line for line in lines)]
    begin, *rest = textwrap.wrap(entry.text, first_width, break_on_hyphens=False)
    rest = textwrap.wrap(" ".join(rest), width - column, break_on_hyphens=False)
    return [f"{head}  {begin}", *(gap + line for line in rest)]
