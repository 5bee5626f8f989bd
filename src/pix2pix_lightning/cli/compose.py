"""Compose a command's configuration from Python, as its command line would."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pix2pix_lightning.cli.choices import choose_by_keys, complete_choices
from pix2pix_lightning.cli.conf import complete_config, compose_files
from pix2pix_lightning.cli.overrides import check_group_names, check_types, quote_path
from pix2pix_lightning.cli.presets import check_choices, drop_replaced_keys, warn_without_effect
from pix2pix_lightning.cli.resume import check_same_as_resumed, load_resumed_config
from pix2pix_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

_log = logging.getLogger(__name__)


def compose(config_name: str, overrides: Sequence[str] = (), *, config_dir: str | Path | None = None) -> DictConfig:
    """Compose the configuration of a command, as its command line would.

    Args:
        config_name: Name of the command, such as ``"train"``.
        overrides: Words of its command line, ``["experiment=facades", "data.size=128"]``. The value of a path's key may
            hold spaces, commas and brackets, as in ``f"data.root={folder}"``.
        config_dir: Folder with further configuration files of the user, or None.

    Returns:
        The configuration. Interpolations are resolved when a value is read.

    Raises:
        hydra.errors.HydraException: A key or a name is unknown.
        UserError: A value has another type than expected; choices exclude each other; or a sweep is chosen, which is
            several configurations.
    """
    words = [quote_path(word) for word in overrides]
    check_group_names(words)
    resumed = load_resumed_config(words, config_name)
    if resumed is not None:
        return resumed
    chosen = choose_by_keys(words, config_name, config_dir)
    for choice, key in chosen.items():
        _log.info("%s is chosen, since %s is given", choice, key)
    words = [*chosen, *words]
    cfg, choices = compose_files(config_name, words, config_dir=config_dir)
    if choices.get("sweep"):
        raise UserError(f"sweep={choices['sweep']} is several configurations: compose each by its own choices")
    every = complete_choices(choices, words, config_dir)
    check_choices(every, words, config_dir)
    check_types(cfg, words, every, lambda groups: compose_files(config_name, groups, config_dir=config_dir)[0])
    drop_replaced_keys(cfg, every, words, config_name, config_dir)
    folder = ["--config-dir", str(config_dir)] if config_dir else []
    complete_config(cfg, choices, [*folder, *words])
    warn_without_effect(cfg, every, words, config_dir)
    check_same_as_resumed(cfg, words)
    return cfg
