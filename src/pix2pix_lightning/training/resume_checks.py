"""Compare a configuration with that of a run that exists."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pix2pix_lightning.training.side_choice import restore_sides
from pix2pix_lightning.utils.configs import LOADING_KEYS, WATCHING, list_differences
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.instantiate import TARGET
from pix2pix_lightning.utils.saved_config import load_saved_config
from pix2pix_lightning.utils.saved_files import build_damaged_error

_log = logging.getLogger(__name__)
_IGNORED = ("about", "command", "objective", "run_dir", "resume", "saving", "speed", "trust")
_STRETCHED = "module.schedule.total_epochs"
_DETECTED = ("accelerator", "devices", "strategy")  # config.yaml has the machine's values in place of auto


def check_resumable_config(saved: Path, cfg: DictConfig) -> None:
    """Check that a configuration has the data and the module of a run. Other settings, such as its length, may differ.

    Args:
        saved: The run's ``config.yaml``. A file that does not exist is not checked.
        cfg: Configuration with which the run is to continue.

    Raises:
        UserError: Data or module differ.
    """
    if not saved.is_file():
        return
    before = load_saved_training(saved)
    cfg = restore_sides(cfg, before)
    differences = list_differences(before, cfg, ("data", "module"))
    if _is_stretched(before, cfg):
        differences = [key for key in differences if key != _STRETCHED]
    if differences:
        key = differences[0]
        values = [OmegaConf.select(node, key) for node in (before, cfg)]
        is_single = None not in values and not key.endswith(TARGET)
        to_change = f"to change it set resume={saved.parent} {key}={values[1]} alone, else " if is_single else ""
        raise UserError(
            f"run_dir={saved.parent} holds a run with {key}={values[0]}, not {values[1]}: {to_change}choose another "
            "run_dir (of a sweep, another name), or move that run away"
        )


def check_finished_config(saved: Path, cfg: DictConfig) -> None:
    """Check that a finished run has the settings that are asked for, since nothing is trained.

    Args:
        saved: The run's ``config.yaml``.
        cfg: Configuration of the training that is asked for. ``trainer.max_epochs`` may differ.

    Raises:
        UserError: Another setting differs.
    """
    trained = load_saved_training(saved)
    cfg = restore_sides(cfg, trained)
    before, present = _make_comparable(trained, cfg), _make_comparable(cfg, cfg)
    del before["trainer"]["max_epochs"], present["trainer"]["max_epochs"]
    differences = list_differences(OmegaConf.create(before), OmegaConf.create(present), ())
    if differences:
        key = differences[0]
        values = [OmegaConf.select(OmegaConf.create(node), key) for node in (before, present)]
        raise UserError(
            f"{saved.parent} is finished, with {key}={values[0]}, not {values[1]}: choose another run_dir "
            "(of a sweep, another name), or raise trainer.max_epochs"
        )


def check_initial_weights(saved: Path, cfg: DictConfig) -> None:
    """Check that a run that has trained is not given other initial weights, which it would not use.

    Args:
        saved: The run's ``config.yaml``.
        cfg: Configuration with which the run is to continue.

    Raises:
        UserError: ``init_from`` or ``init_weights`` differs.
    """
    saved_training = load_saved_training(saved)
    for key, usual in (("init_from", None), ("init_weights", "trained")):
        before = saved_training.get(key, usual)
        if cfg.get(key, usual) != before:
            raise UserError(
                f"{key}={cfg.get(key)} has no effect on {saved.parent}, which has trained and begun with "
                f"{key}={before}: leave it out, or start a new run without resume="
            )


def configs_match(saved: Path, cfg: DictConfig) -> bool:
    """Return whether a run's ``config.yaml`` exists, is sound, and describes the training of ``cfg``."""
    if not saved.is_file():
        return False
    try:
        before = load_saved_training(saved)
    except UserError as error:
        _log.warning("passed over: %s", error)
        return False
    cfg = restore_sides(cfg, before)
    one, other = (OmegaConf.create(_make_comparable(node, cfg)) for node in (before, cfg))
    return not list_differences(one, other, ())


def load_saved_training(saved: Path) -> DictConfig:
    """Load the ``config.yaml`` of a training.

    Returns:
        The configuration.

    Raises:
        UserError: The file is damaged, or is not of a training.
    """  # noqa: DOC501  build_damaged_error returns a UserError
    cfg = load_saved_config(saved)
    for name in ("data", "module", "trainer"):
        if not OmegaConf.is_dict(cfg.get(name)):
            raise build_damaged_error(saved, f"{name} is missing")
    if not isinstance(epochs := cfg.trainer.get("max_epochs", ""), int | None):
        raise build_damaged_error(saved, f"trainer.max_epochs={epochs}")
    return cfg


def _is_stretched(before: DictConfig, cfg: DictConfig) -> bool:
    """Return whether a schedule is as long as the training in both, as ``schedule=cosine`` makes it."""
    return all(OmegaConf.select(node, _STRETCHED) == node.trainer.max_epochs for node in (before, cfg))


def _make_comparable(cfg: Any, asked: DictConfig) -> dict[str, Any]:
    """Return plain data without what may differ between equal runs: loading, speed, watching, what is ``auto``."""
    placed = OmegaConf.merge(cfg, {"run_dir": "."})  # the folder may have been moved
    plain: dict[str, Any] = OmegaConf.to_container(placed, resolve=True)  # type: ignore[assignment]
    detected = (*_DETECTED, "precision") if asked.trainer.precision == "auto" else _DETECTED
    plain["trainer"] = {key: value for key, value in plain["trainer"].items() if key not in detected}
    plain["data"] = {key: value for key, value in plain["data"].items() if f"data.{key}" not in LOADING_KEYS}
    if isinstance(callbacks := plain.get("callbacks"), dict):
        plain["callbacks"] = {key: value for key, value in callbacks.items() if key not in WATCHING}
    return {key: value for key, value in plain.items() if key not in _IGNORED}
