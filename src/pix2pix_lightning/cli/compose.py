"""Compose a command's configuration from Python, as its command line would."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pix2pix_lightning.cli.choices import choose_by_keys
from pix2pix_lightning.cli.conf import complete_config, compose_files
from pix2pix_lightning.cli.resume import check_same_as_resumed, load_resumed_config
from pix2pix_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def compose(config_name: str, overrides: Sequence[str] = (), *, config_dir: str | Path | None = None) -> DictConfig:
    """Compose the configuration of a command, as its command line would.

    Args:
        config_name: Name of the command, such as ``"train"``.
        overrides: Words of its command line, ``["experiment=facades", "data.size=128"]``.
        config_dir: Folder with further configuration files of the user, or None.

    Returns:
        The configuration. Interpolations are resolved when a value is read.

    Raises:
        hydra.errors.HydraException: A key or a name is unknown.
        UserError: A sweep is chosen, which is several configurations.
    """
    resumed = load_resumed_config(overrides, config_name)
    if resumed is not None:
        return resumed
    overrides = [*choose_by_keys(overrides, config_name, config_dir), *overrides]
    cfg, choices = compose_files(config_name, overrides, config_dir=config_dir)
    if choices.get("sweep"):
        raise UserError(f"sweep={choices['sweep']} is several configurations: compose each by its own choices")
    folder = ["--config-dir", str(config_dir)] if config_dir else []
    complete_config(cfg, choices, [*folder, *overrides])
    check_same_as_resumed(cfg, overrides)
    return cfg
