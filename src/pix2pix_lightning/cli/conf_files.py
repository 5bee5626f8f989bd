"""The files of ``conf/`` as text: their keys with defaults, and what their comments say.

A file begins with a comment: a title, and for a command examples. The comment of a key stands behind it or in the lines
above it. In the file of a command, ``# -- Title: names`` begins a section of its help, with the keys below it; names
that follow the title are groups and keys of groups that are shown there too, ``generator=*`` a group with a line for
each choice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yaml import Node  # type: ignore[import-untyped]

GLOBAL = "_global_"
_PACKAGE = re.compile(r"# @package (\S+)")
_HEADING = re.compile(r"# -- ([^:]+)(?:: (.*))?")
_OVERRIDE = "override "


@dataclass(frozen=True)
class Key:
    """A key of a configuration.

    Attributes:
        value: Default, as plain data; references to other keys are text, ``${seed}``.
        comment: What the file says of the key; empty where it says nothing.
        is_node: Whether keys of their own follow for what is in it.
    """

    value: Any
    comment: str
    is_node: bool = False


@dataclass(frozen=True)
class Default:
    """An entry of a file's defaults list: the choice of a group, or another file of the same folder.

    Attributes:
        group: Group such as ``generator`` or ``network@optimizer_g``; empty for another file of the same folder.
        name: The choice, several with commas between them; None where nothing is chosen.
        comment: What the file says of the group.
        overrides: Whether the entry replaces a choice that was made elsewhere.
    """

    group: str
    name: str | None
    comment: str = ""
    overrides: bool = False


@dataclass
class ConfFile:
    """A file of ``conf/``.

    Attributes:
        package: Dotted key below which its keys lie; empty for keys of the root.
        title: First line of its comment.
        examples: Command lines without the program, by what each does.
        defaults: Its defaults list.
        keys: Its keys by dotted name from the root, each node before the keys in it.
        sections: Names that help shows, by the title of their section; groups end with ``=`` or ``=*``.
    """

    package: str = ""
    title: str = ""
    examples: dict[str, str] = field(default_factory=dict)
    defaults: list[Default] = field(default_factory=list)
    keys: dict[str, Key] = field(default_factory=dict)
    sections: dict[str, list[str]] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        """Dotted names of all keys, also of those in a mapping that is written in braces."""
        return {inner for name, key in self.keys.items() for inner in _list_names(name, key.value)}


def read_conf_file(path: Path, group: str = "") -> ConfFile:
    """Read a file.

    Args:
        path: The file.
        group: Group that it is a choice of, below whose name its keys lie unless it says otherwise; empty for a
            command's own file.

    Returns:
        What is in it. A file that is no YAML has no keys here; Hydra names its error when it is composed.
    """
    return _read(path, group, path.stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _read(path: Path, group: str, changed: int) -> ConfFile:
    """Read a file; ``changed`` tells its versions apart."""
    import yaml

    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.splitlines()
    package, title, examples, length = _read_header(lines)
    package = group.replace("/", ".") if package is None else package.removeprefix(GLOBAL)
    file = ConfFile(package, title, examples)
    starts: dict[int, str] = {}
    try:
        root = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        for key, value in root.value if isinstance(root, yaml.MappingNode) else ():
            if key.value == "defaults":
                file.defaults = [_read_default(entry, lines) for entry in value.value]
            elif key.value != "hydra":  # Hydra's own settings
                starts[key.start_mark.line] = str(key.value)
                file.keys.update(_read_keys(key, value, lines, length, f"{package}." if package else ""))
    except yaml.YAMLError:
        return ConfFile(package, title)
    _read_sections(file, lines, starts)
    return file


def _list_names(name: str, value: Any) -> Iterator[str]:
    yield name
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield from _list_names(f"{name}.{key}", inner)


def read_title(path: Path) -> str:
    """Return the title of a file, without reading its keys."""
    return _read_header(path.read_text(encoding="utf-8").splitlines())[1]


def _read_header(lines: Sequence[str]) -> tuple[str | None, str, dict[str, str], int]:
    """Return package, title and examples of the comment that a file begins with, and its number of lines."""
    package, title, examples, purpose = None, "", {}, ""
    length = next((i for i, line in enumerate(lines) if not line.startswith("#") or _HEADING.match(line)), len(lines))
    for line in lines[:length]:
        text = line.removeprefix("#").removeprefix(" ")
        if found := _PACKAGE.match(line):
            package = found[1]
        elif not title:
            title = text
        elif text.startswith("  "):
            examples[purpose] = text.strip()
        else:
            purpose = text.removesuffix(":")
    return package, title, examples, length


def _read_default(entry: Node, lines: Sequence[str]) -> Default:
    if isinstance(entry.value, str):
        return Default("", entry.value)
    ((key, value),) = entry.value
    several = [str(item.value) for item in value.value] if isinstance(value.value, list) else None
    name = None if value.tag.endswith(":null") else ",".join(several) if several else str(value.value)
    group = key.value.removeprefix(_OVERRIDE).strip("/ ")
    return Default(group, name, _read_comment(key, value, lines, 0), key.value.startswith(_OVERRIDE))


def _read_keys(key: Node, value: Node, lines: Sequence[str], header: int, prefix: str) -> Iterator[tuple[str, Key]]:
    """Yield a key and those in it. A mapping in braces is one value."""
    import yaml

    name = f"{prefix}{key.value}"
    plain = yaml.constructor.SafeConstructor().construct_document(value)
    is_node = isinstance(plain, dict) and not value.flow_style
    yield name, Key(plain, _read_comment(key, value, lines, header), is_node)
    for child, inner in value.value if is_node else ():
        yield from _read_keys(child, inner, lines, header, f"{name}.")


def _read_comment(key: Node, value: Node, lines: Sequence[str], header: int) -> str:
    """Return the comment behind a key, else that in the lines above it, without those of the file's header."""
    row = key.start_mark.line
    end = value.end_mark.column if value.end_mark.line == row else key.end_mark.column
    behind = re.search(r"(?:^|\s)# (.*)", lines[row][end:])
    if behind:
        return behind[1].strip()
    above: list[str] = []
    indent = " " * key.start_mark.column + "# "
    while row > header and lines[row - 1].startswith(indent) and not _HEADING.match(lines[row - 1]):
        row -= 1
        above.insert(0, lines[row].strip().removeprefix("# "))
    return " ".join(above)


def _read_sections(file: ConfFile, lines: Sequence[str], starts: dict[int, str]) -> None:
    shown: list[str] | None = None
    for row, line in enumerate(lines):
        if found := _HEADING.match(line):
            shown = file.sections.setdefault(found[1].strip(), [])
            shown += [name if "." in name or "=" in name else f"{name}=" for name in (found[2] or "").split()]
        elif row in starts and shown is not None:
            shown.append(starts[row])
