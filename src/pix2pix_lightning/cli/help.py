"""What ``<command> --help`` prints: the keys of the command with what the files of ``conf/`` say of them."""

from __future__ import annotations

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
    complete_choices,
    find_conf_dirs,
    list_all_keys,
    read_choices,
    read_command,
    split_names,
)
from pix2pix_lightning.cli.conf import compose_files
from pix2pix_lightning.cli.conf_files import Default, Key
from pix2pix_lightning.cli.help_layout import Entry, format_assignment, format_sections
from pix2pix_lightning.cli.presets import drop_replaced_keys
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
_PROGRAM = "pix2pix-lightning"


class Composed(NamedTuple):
    """What the words of a command line give.

    Attributes:
        values: Plain values by dotted key, nodes too.
        choices: Names that were chosen, by group.
    """

    values: Mapping[str, Any]
    choices: Mapping[str, Any]


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
    return "\n".join([*format_sections(sections, width), *page.format_footer(width, topic)])


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
    choices = complete_choices(choices, words, config_dir)
    drop_replaced_keys(cfg, choices, words, config_name, config_dir)
    return Composed(dict(_flatten(OmegaConf.to_container(cfg, resolve=False))), choices)


def _flatten(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        yield f"{prefix}{key}", value
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")


def is_topic(word: str, config_name: str) -> bool:
    """Return whether there is help on a word: ``all``, a group, a key, or a node of keys."""
    return word == ALL or word in list_all_keys(config_name)


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
        return split_names(name)

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
        return [*lines, *format_sections(sections, width), *self.format_footer(width)]

    def _collect_section(self, names: Sequence[str]) -> list[Entry]:
        """Return the entries of a section's names: groups, groups with all choices, and keys with those in them."""
        entries: list[Entry] = []
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

    def _collect_keys(self, keys: Mapping[str, Key], name: str = "", *, is_chosen: bool = True) -> list[Entry]:
        """Return the entries of a key and of those in it, or of all keys; with present values for what is chosen."""
        values = self.composed.values if self.composed is not None and is_chosen else {}
        switched_off = tuple(f"{key}." for key, value in values.items() if value is None)
        entries: list[Entry] = []
        for key, found in keys.items():
            if (name and key != name and not key.startswith(f"{name}.")) or key.startswith(switched_off):
                continue
            comment = found.comment or self.comments.get(key) or _OF_HYDRA.get(key.rpartition(".")[2], "")
            value = values.get(key, found.value)
            is_node = found.is_node and isinstance(value, Mapping)
            entries.append(Entry(key if is_node else format_assignment(key, value), comment))
        return entries

    def _collect_group(self, group: str, *, is_detailed: bool) -> list[Entry]:
        """Return the entry of a group, and of its choices where they are to be explained."""
        chosen = self.chosen[group]
        given = f"[{','.join(chosen)}]" if len(chosen) > 1 else (chosen or ["null"])[0]
        choices = self.files[group]
        text = self.groups[group].comment
        if is_detailed:
            explained = [Entry(f"{group}={name}", file.title, 4) for name, file in choices.items()]
            return [Entry(f"{group}={given}", f"{text}:"), *explained]
        others = ", ".join(name for name in choices if name not in chosen)
        if not chosen and len(choices) == 1:
            text = "".join(f"{name}: {file.title}" for name, file in choices.items())
        elif others:
            text = f"{text}; also {others}" if chosen else f"{text}: {others}"
        return [Entry(f"{group}={given}", text)]

    def collect_all(self) -> dict[str, list[Entry]]:
        """Return all keys and choices, by the section: those of the command, then each group."""
        sections: dict[str, list[Entry]] = {}
        listed: set[str] = set()
        for title, names in self.command.sections.items():
            own = [name for name in names if name in self.command.keys]
            listed.update(own)
            sections[title] = [entry for name in own for entry in self._collect_keys(self.command.keys, name)]
        rest = [key for key in self.command.keys if key.partition(".")[0] not in listed and "." not in key]
        sections.setdefault(FURTHER, []).extend(
            entry for name in rest for entry in self._collect_keys(self.command.keys, name)
        )
        known = {entry.key for entries in sections.values() for entry in entries}
        for group in self.groups:
            sections[group] = self._collect_all_of(group, known)
        if self.composed is not None:
            sections["Keys of your own files"] = self._collect_unlisted(sections)
        return sections

    def _collect_unlisted(self, sections: Mapping[str, Iterable[Entry]]) -> list[Entry]:
        """Return the entries of composed keys that are in no section: of files that are no choices of a group."""
        entries = [entry for section in sections.values() for entry in section]
        listed = {entry.key for entry in entries}
        whole = tuple(f"{entry.key}." for entry in entries if "=" in entry.head)  # with all that is in it
        values = self.composed.values if self.composed else {}
        keys = {
            key: Key(value, "")
            for key, value in values.items()
            if key not in listed and not key.startswith(whole) and not isinstance(value, Mapping)
        }
        return self._collect_keys(keys)

    def _collect_all_of(self, group: str, known: set[str]) -> list[Entry]:
        """Return choices and keys of a group: the keys of what is chosen, then what other choices have in addition."""
        entries = self._collect_group(group, is_detailed=True)
        files = self.files[group]
        is_preset = all(not file.package or file.package.startswith("hydra") for file in files.values())
        chosen = [name for name in self.chosen[group] if name in files]
        others = sorted(files.keys() - chosen, key=lambda name: (len(files[name].defaults), name))
        for name in () if is_preset else (*chosen, *others):
            keys = {key: found for key, found in files[name].keys.items() if key not in known}
            known.update(keys)
            collected = self._collect_keys(keys, is_chosen=name in chosen)
            if collected and name not in chosen:
                together = f"{group}=[{','.join([*chosen, name])}]" if group in SEVERAL else f"{group}={name}"
                entries.append(Entry(f"with {together}", ""))
            entries += collected
        return entries

    def format_footer(self, width: int, topic: str | None = None) -> list[str]:
        """Return the last lines: how to see the rest."""
        parts = []
        if topic is None and self.groups:
            group = next((group for group in self.groups if group == "generator"), next(iter(self.groups)))
            parts.append(f"--help all: all keys and choices; --help {group}: one group.")
        parts.append("null: not set." if topic is None else "null: not set; <key>: as that key.")
        return ["", *textwrap.wrap(" ".join(parts), width)]


def _is_about(entry: Entry, title: str, topic: str) -> bool:
    is_in_braces = "=" in entry.head and topic.startswith(f"{entry.key}.")
    return topic in (title, entry.key) or entry.key.startswith(f"{topic}.") or is_in_braces
