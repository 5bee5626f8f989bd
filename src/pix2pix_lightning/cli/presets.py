"""Presets, such as an experiment: which of them go together, and their settings for what another choice replaced."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pix2pix_lightning.cli.choices import (
    PRESETS,
    SEVERAL,
    find_conf_dirs,
    list_made,
    read_choice,
    read_command,
    split_names,
)
from pix2pix_lightning.cli.conf import is_group
from pix2pix_lightning.cli.conf_files import ConfFile
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.processes import is_first_process

if TYPE_CHECKING:
    from omegaconf import DictConfig

_log = logging.getLogger(__name__)
_MERGED = (*SEVERAL, "ingredient")
"""Groups of which several choices go together."""
_OF_DISCRIMINATOR: Sequence[str] = (
    *("discriminator", "adversarial", "module.discriminator", "module.adversarial", "module.conditional"),
    *("module.diff_augment", "module.discriminator_steps", "module.optimizer_d", "module.r1_every", "module.r1_weight"),
)
"""Groups and keys without effect where no discriminator is trained."""
_LEAVE_OUT = ("module.discriminator=null", "discriminator=null")
"""Words by which no discriminator is trained, so that they are not without effect."""


def drop_replaced_keys(
    cfg: DictConfig,
    choices: Mapping[str, str | None],
    words: Sequence[str],
    config_name: str,
    config_dir: str | Path | None = None,
) -> None:
    """Remove the keys that a preset sets for a choice of its own, where another choice was made, in place.

    ``experiment=quickstart`` chooses a schedule and sets ``module.schedule.hold_epochs``, which ``schedule=constant``
    does not have. Keys that both choices have keep the preset's values, and keys that words set stay in any case.

    Args:
        cfg: The configuration as it was composed.
        choices: The name that was chosen for each group, several as ``complete_choices`` returns them.
        words: Overrides that ``cfg`` was composed from.
        config_name: Name of the command.
        config_dir: Folder with further configuration files of the user, or None.
    """
    folders = find_conf_dirs(config_dir)
    given = [key for word in words if not is_group(key := word.partition("=")[0].lstrip("+~").partition("@")[0])]
    usual = {entry.group: entry.name for entry in read_command(config_name).defaults}
    names = [(group, name) for group in PRESETS for name in split_names(choices.get(group))]
    for preset in (read_choice(group, name, folders) for group, name in names):
        if preset is None:
            continue
        made = {entry.group: entry.name for entry in preset.defaults if entry.overrides}
        for chosen, name in (usual | made).items():
            if name is None or name == choices.get(chosen) or chosen in (*PRESETS, *SEVERAL):
                continue
            own, other = (read_choice(chosen, str(file), folders) for file in (name, choices.get(chosen)))
            if own is None or other is None:
                continue
            _drop_keys(cfg, [key for key in preset.names & own.names - other.names if not _is_below(key, given)], other)
            if chosen in made and "about" in preset.keys and cfg.get("about") == preset.keys["about"].value:
                cfg.about = None  # it tells what the preset's own choices do


def check_choices(
    choices: Mapping[str, str | None], words: Sequence[str], config_dir: str | Path | None = None
) -> None:
    """Check that no choice is without effect, since another one or a word chooses or sets otherwise.

    Hydra would mix several choices of a group, or take the last one, and not say so. A word that sets a single key may
    differ from an ingredient.

    Args:
        choices: The name that was chosen for each group, several as ``complete_choices`` returns them.
        words: Overrides of the command line.
        config_dir: Folder with further configuration files of the user, or None.

    Raises:
        UserError: A group that is chosen once has several names, a recipe would not undo that of the experiment, two
            ingredients exclude each other, or an ingredient and a word do.
    """
    for group, value in choices.items():
        if value is not None and group not in _MERGED and (len(split_names(value)) > 1 or value == "[]"):
            several = "" if value == "[]" else f"; -m {group}={value[1:-1]} runs one after another"
            raise UserError(f"{group}={value}: one name is expected{several}")
    folders = find_conf_dirs(config_dir)
    for word in words:
        if word.startswith("recipe=") and (included := _find_included("recipe", choices, folders)) not in (None, word):
            raise UserError(
                f"{word} cannot undo experiment={choices['experiment']}, which has {included}: leave it out"
            )
    names = dict.fromkeys(split_names(choices.get("ingredient")))
    settings = {name: _list_settings(file) for name in names if (file := read_choice("ingredient", name, folders))}
    for one, other in combinations(settings, 2):
        for key in settings[one].keys() & settings[other].keys():
            if settings[one][key] != settings[other][key]:
                raise UserError(
                    f"ingredient=[{one},{other}]: one sets {key}={settings[one][key]}, the other "
                    f"{key}={settings[other][key]}: leave one of them out"
                )
    for word in words:
        group, _, value = word.partition("=")
        for name, made in settings.items():
            if is_group(group) and made.get(group, value) != value:
                raise UserError(
                    f"ingredient={name} is {group}={made[group]}, but {word} is given: leave one of them out"
                )


def warn_without_effect(
    cfg: DictConfig, choices: Mapping[str, str | None], words: Sequence[str], config_dir: str | Path | None = None
) -> None:
    """Warn in one line of ingredients and words that set the discriminator alone, where none is trained.

    They are no errors, so that a sweep over losses has them in all of its jobs.

    Args:
        cfg: The configuration as ``complete_config`` leaves it.
        choices: The name that was chosen for each group, several as ``complete_choices`` returns them.
        words: Overrides that ``cfg`` was composed from.
        config_dir: Folder with further configuration files of the user, or None.
    """
    module = cfg.get("module")
    if module is None or "discriminator" not in module or not is_first_process():
        return
    keys, reason = _OF_DISCRIMINATOR, "no discriminator is trained"
    if module.discriminator is not None:
        keys, reason = ("module.r1_every",), "module.r1_weight is 0"
        if module.get("r1_weight"):
            return
    folders = find_conf_dirs(config_dir)
    found = []
    for name in dict.fromkeys(split_names(choices.get("ingredient"))):
        settings = _list_settings(file) if (file := read_choice("ingredient", name, folders)) else {}
        found += [f"ingredient={name}"] if settings and all(_is_below(key, keys) for key in settings) else []
    found += [word for word in words if _is_below(word.partition("=")[0].lstrip("+"), keys) and word not in _LEAVE_OUT]
    if found:
        _log.warning("%s: no effect, since %s", ", ".join(found), reason)


def _find_included(group: str, choices: Mapping[str, str | None], folders: Sequence[Path]) -> str | None:
    """Return the word for the choice of a group that the experiment is built on, or None."""
    file = read_choice("experiment", str(choices.get("experiment")), folders)
    names = [str(entry.name) for entry in file.defaults] if file else []
    return next((name.lstrip("/").replace("/", "=") for name in names if name.startswith(f"/{group}/")), None)


def _list_settings(file: ConfFile) -> dict[str, Any]:
    """Return the choices that a preset makes and the values of the keys that it sets."""
    settings: dict[str, Any] = {entry.group: entry.name for entry in list_made(file) if entry.overrides}
    for name, key in file.keys.items():
        settings.update(_flatten(name, key.value))
    return settings


def _flatten(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flatten(f"{name}.{key}", inner)
    else:
        yield name, value


def _is_below(key: str, nodes: Sequence[str]) -> bool:
    return any(key == node or key.startswith(f"{node}.") for node in nodes)


def _drop_keys(cfg: DictConfig, keys: Sequence[str], choice: ConfFile) -> None:
    """Remove keys; a node that becomes empty is null where the choice has null."""
    from omegaconf import OmegaConf, open_dict

    for key in sorted(keys, reverse=True):  # those in a node before the node
        place, _, leaf = key.rpartition(".")
        node = OmegaConf.select(cfg, place) if place else cfg
        if not OmegaConf.is_dict(node) or leaf not in node:
            continue
        with open_dict(cfg):
            del node[leaf]
            if not node and place in choice.keys and choice.keys[place].value is None:
                OmegaConf.update(cfg, place, None)
