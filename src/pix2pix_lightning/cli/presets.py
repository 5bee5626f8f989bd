"""Settings of a preset, such as an experiment, that belong to a choice which the command line has replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pix2pix_lightning.cli.choices import PRESETS, SEVERAL, find_conf_dirs, read_choice, read_command
from pix2pix_lightning.cli.conf import is_group
from pix2pix_lightning.cli.conf_files import ConfFile

if TYPE_CHECKING:
    from omegaconf import DictConfig


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
        choices: The name that was chosen for each group.
        words: Overrides that ``cfg`` was composed from.
        config_name: Name of the command.
        config_dir: Folder with further configuration files of the user, or None.
    """
    folders = find_conf_dirs(config_dir)
    given = [key for word in words if not is_group(key := word.partition("=")[0].lstrip("+~").partition("@")[0])]
    usual = {entry.group: entry.name for entry in read_command(config_name).defaults}
    for group in PRESETS:
        preset = read_choice(group, name, folders) if (name := choices.get(group)) else None
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
