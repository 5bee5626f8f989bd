"""The groups of a command and their choices: which keys each choice has, and which choice a given key asks for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pix2pix_lightning.cli.conf import PATH_KEYS, find_conf_dir, is_group
from pix2pix_lightning.cli.conf_files import ConfFile, Default, Key, read_conf_file
from pix2pix_lightning.utils.errors import UserError

SEVERAL = ("callbacks", "logger")
"""Groups of which several choices are taken together, ``callbacks=[default,ema]``."""
PRESETS = ("experiment", "recipe", "ingredient", "debug", "sweep")
"""Groups whose files make choices of others, and set keys of what they choose; a later one counts more."""
_SWEPT = "hydra.sweeper.params."


def find_conf_dirs(config_dir: str | Path | None = None) -> tuple[Path, ...]:
    """Return the folders that hold configuration files, by precedence.

    Args:
        config_dir: Folder with further files of the user, or None.
    """
    return (find_conf_dir(), *([Path(config_dir).resolve()] if config_dir else []))


def list_choices(group: str, folders: Sequence[Path]) -> list[str]:
    """Return the names that a group can be set to, in alphabetical order."""
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def read_command(config_name: str) -> ConfFile:
    """Read the file of a command, with defaults and keys of the command that it is built on.

    Args:
        config_name: Name of the command.

    Returns:
        The file. Its sections are its own.
    """
    file = read_conf_file(find_conf_dir() / f"{config_name}.yaml")
    bases = [read_command(str(entry.name)) for entry in file.defaults if not entry.group and entry.name != "_self_"]
    defaults = [entry for base in bases for entry in base.defaults] + [entry for entry in file.defaults if entry.group]
    keys = {name: key for base in bases for name, key in base.keys.items()} | file.keys
    return replace(file, defaults=defaults, keys=keys)


def read_choice(group: str, name: str, folders: Sequence[Path]) -> ConfFile | None:
    """Read a choice of a group, with the keys of the choices that it is built on, and with the choices that these make.

    Args:
        group: Name of the group.
        name: Name of the choice.
        folders: Folders of configuration files.

    Returns:
        The choice, its own keys last; None where no folder has its file.
    """
    path = next((path for folder in folders if (path := folder / group / f"{name}.yaml").is_file()), None)
    if path is None:
        return None
    file = read_conf_file(path, group)
    keys: dict[str, Key] = {}
    made: list[Default] = []
    for entry in file.defaults:
        if entry.overrides or entry.name in ("_self_", None):
            continue
        subgroup, _, package = entry.group.partition("@")
        place = f"{group}/{subgroup}" if subgroup else group
        leading, slash, base_name = str(entry.name).rpartition("/")  # /callbacks/ema: a choice of another group
        base = read_choice(leading.strip("/") if slash else place, base_name, folders)
        made += [choice for choice in base.defaults if choice.overrides] if base else []
        for key, found in base.keys.items() if base else ():
            below = f"{base.package}." if base and package else ""
            keys[f"{file.package}.{package}.{key.removeprefix(below)}" if package else key] = found
    for key, found in file.keys.items():
        if key in keys and not found.comment:
            found = replace(found, comment=keys[key].comment)
        keys[key] = found
    return replace(file, keys=keys, defaults=[*made, *file.defaults])


def read_choices(group: str, folders: Sequence[Path]) -> dict[str, ConfFile]:
    """Read all choices of a group, by name."""
    files = {name: read_choice(group, name, folders) for name in list_choices(group, folders)}
    return {name: file for name, file in files.items() if file is not None}


def collect_comments(command: ConfFile, files: Mapping[str, Mapping[str, ConfFile]]) -> dict[str, str]:
    """Return what is said of each key: by the command's file, else by a default choice, else by any choice.

    Args:
        command: File of the command.
        files: Choices of each group, by name.
    """
    default = [file for entry in command.defaults if (file := files[entry.group].get(str(entry.name)))]
    every = [file for choices in files.values() for file in choices.values()]
    comments: dict[str, str] = {}
    for file in (command, *default, *every):
        for name, key in file.keys.items():
            if key.comment:
                comments.setdefault(name, key.comment)
    return comments


def list_all_keys(config_name: str) -> list[str]:
    """Return the keys that a command can have, whatever is chosen."""
    command, folders = read_command(config_name), find_conf_dirs()
    keys = dict.fromkeys([*command.keys, *sorted(command.names)])
    for entry in command.defaults:
        keys[entry.group] = None
        for file in read_choices(entry.group, folders).values():
            keys.update(dict.fromkeys([*file.keys, *sorted(file.names)]))
    return [key for key in keys if not key.startswith("hydra.")]


def find_key_like(name: str, config_name: str, *, may_guess: bool = True) -> str | None:
    """Return the key that is meant by a name without the node in front of it, or with other signs in it, or None.

    Args:
        name: Such as ``batch-size``, ``max_epochs`` or ``epochs``.
        config_name: Name of the command.
        may_guess: Whether a similar name counts.
    """
    keys = list_all_keys(config_name)
    key = name.replace("-", "_")
    leaves = {known.rpartition(".")[2]: known for known in reversed(keys)}
    if key in keys:
        return key
    if key in leaves:
        return leaves[key]
    if (dotted := key.replace("_", ".", 1)) in (*keys, *PATH_KEYS):
        return dotted
    if len(key) == 1:
        return next((known for known in keys if known[0] == key and "." not in known), None)
    close = difflib.get_close_matches(key, leaves, 1, cutoff=0.75) if may_guess else []
    return leaves[close[0]] if close else None


def find_choices_with(key: str, config_name: str) -> tuple[str, list[str]] | None:
    """Find out which choices have a key.

    Args:
        key: Dotted name.
        config_name: Name of the command.

    Returns:
        The group, and the names of its choices that have the key; None where no choice has it.
    """
    folders = find_conf_dirs()
    groups = [entry.group for entry in read_command(config_name).defaults]
    for group in sorted(groups, key=lambda group: group in PRESETS):
        if names := _having((key,), read_choices(group, folders)):
            return group, names
    return None


def _having(keys: Iterable[str], files: Mapping[str, ConfFile]) -> list[str]:
    """Return the choices that have all the keys, without those that are built on another one of them."""
    names = [name for name, file in files.items() if file.names >= set(keys)]
    return [name for name in names if not {entry.name for entry in files[name].defaults} & set(names)]


def choose_by_keys(words: Sequence[str], config_name: str, config_dir: str | Path | None = None) -> dict[str, str]:
    """Return choices that are asked for by keys that only they have: ``data.root=pairs`` asks for ``data=folder``.

    Only groups are chosen whose keys lie below their own name, and that no word sets. Where several choices have the
    keys, none is chosen.

    Args:
        words: Overrides of the command line.
        config_name: Name of the command.
        config_dir: Folder with further configuration files of the user, or None.

    Returns:
        The key that asks, by the override that it asks for: ``{"data=folder": "data.root"}``.

    Raises:
        UserError: An experiment, or another file that makes choices, has chosen otherwise; or several are to be tried.
    """
    folders = find_conf_dirs(config_dir)
    given = [key for word in words if "." in (key := word.partition("=")[0]) and key[0] not in "+~"]
    command = read_command(config_name)
    if not given or not command.defaults:
        return {}
    presets = _read_presets(words, folders)
    if presets is None:
        _check_keys_of_several(words, given, command, folders)
        return {}
    present = command.names.union(*(file.names for file in presets.values()))
    given = [key for key in given if key not in present]
    is_set = {word.partition("=")[0].lstrip("+~").partition("@")[0] for word in words}
    made = {entry.group: (preset, entry.name) for preset, file in presets.items() for entry in list_made(file)}
    asked: dict[str, str] = {}
    for entry in command.defaults:
        if entry.group in is_set or entry.name is None or not given:
            continue
        preset, name = made.get(entry.group, (None, entry.name))
        choice = _choose(replace(entry, name=name), given, folders)
        if choice and preset is not None:
            (override, key), *_ = choice.items()
            is_swept = preset.startswith("sweep=")
            fix = "leave one of them out" if is_swept else f"set {override} too to take it instead, or leave {key} out"
            raise UserError(f"{key} goes with {override}, but {preset} chooses {entry.group}={name}: {fix}")
        asked |= choice
    return asked


def _choose(entry: Default, given: Sequence[str], folders: Sequence[Path]) -> dict[str, str]:
    files = read_choices(entry.group, folders)
    own = {name: file for name, file in files.items() if file.package.rpartition(".")[2] == entry.group}
    known = {key for file in own.values() for key in file.names}
    made = {key for name in str(entry.name).split(",") if name in files for key in files[name].names}
    needed = [key for key in given if key in known - made]
    if not needed:
        return {}
    if entry.group in SEVERAL:
        found = [_having((key,), own) for key in needed]
        if any(len(names) != 1 for names in found):
            return {}
        together = dict.fromkeys([str(entry.name), *(name for (name,) in found)])
        return {f"{entry.group}=[{','.join(together)}]": needed[0]}
    names = _having(needed, own)
    return {f"{entry.group}={names[0]}": needed[0]} if len(names) == 1 else {}


def split_names(value: str | None) -> list[str]:
    """Return the names that a group is set to: none for ``null``, several for ``[default,ema]``."""
    if value is None or value == "null":
        return []
    is_list = value.startswith("[") and value.endswith("]") and "[" not in value[1:]
    return [name for part in value[1:-1].split(",") if (name := part.strip(" '\""))] if is_list else [value]


def complete_choices(
    choices: Mapping[str, Any], words: Sequence[str], config_dir: str | Path | None = None
) -> dict[str, Any]:
    """Add choices of several names, which Hydra does not tell: those of words, else those that presets make.

    Args:
        choices: The name that was chosen for each group, as Hydra tells it.
        words: Overrides of the command line.
        config_dir: Folder with further configuration files of the user, or None.

    Returns:
        The choices, several names as ``[default,ema]``.
    """
    folders = find_conf_dirs(config_dir)
    completed = dict(choices)
    for word in words:
        group, _, value = word.partition("=")
        if is_group(group := group.lstrip("+")):  # of two words for a group the last one counts
            completed[group] = value if value.startswith("[") else choices.get(group)
    for group in reversed(PRESETS):
        for name in split_names(completed.get(group)):
            preset = read_choice(group, name, folders)
            for entry in preset.defaults if preset else ():
                if entry.overrides and "," in str(entry.name):
                    completed.setdefault(entry.group, f"[{entry.name}]")
    return completed


def _read_presets(words: Sequence[str], folders: Sequence[Path]) -> dict[str, ConfFile] | None:
    """Return the files of the presets that words choose; None where one is not found, or several are to be tried."""
    values: dict[str, str] = {}
    for word in words:
        key, _, value = word.partition("=")
        if (group := key.lstrip("+~").partition("@")[0]) in PRESETS:
            values[group] = value.strip("'\"") if key[0] != "~" else "null"
    names = [(group, name) for group in PRESETS for name in split_names(values.get(group))]
    files = {f"{group}={name}": read_choice(group, name, folders) for group, name in names}
    return None if None in files.values() else {name: file for name, file in files.items() if file is not None}


def _check_keys_of_several(
    words: Sequence[str], given: Sequence[str], command: ConfFile, folders: Sequence[Path]
) -> None:
    """Refuse a key that the default choices lack where several presets are tried: Hydra composes without them first."""
    presets = [word for word in words if word.lstrip("+").startswith(tuple(f"{group}=" for group in PRESETS))]
    several = [word for word in presets if any("," in name for name in split_names(word.partition("=")[2]))]
    single = _read_presets([word for word in presets if word not in several], folders) or {}
    chosen = {entry.group: str(entry.name) for entry in command.defaults if entry.name}
    chosen |= {entry.group: str(entry.name) for file in single.values() for entry in file.defaults if entry.overrides}
    chosen |= {
        group: value
        for word in words
        if (group := word.partition("=")[0]) in chosen and (value := word[len(group) + 1 :])
    }
    files = [
        read_choice(group, name, folders) for group, value in chosen.items() for name in value.strip("[]").split(",")
    ]
    known = command.names.union(*(file.names for file in (*files, *single.values()) if file is not None))
    every = {
        key for entry in command.defaults for file in read_choices(entry.group, folders).values() for key in file.names
    }
    missing = [key for key in given if key in every - known]
    if several and missing:
        raise UserError(
            f"{missing[0]} is no key of the default choices, and {several[0]} makes several others: write "
            f"++{missing[0]}=<value>, or give each a command of its own"
        )


def list_made(file: ConfFile) -> Iterator[Default]:
    """Yield the choices that a preset makes: in its defaults list, or as the values of a sweep."""
    yield from (entry for entry in file.defaults if entry.group)
    for key, found in file.keys.items():
        if key.startswith(_SWEPT):
            yield Default(key.removeprefix(_SWEPT), str(found.value))
