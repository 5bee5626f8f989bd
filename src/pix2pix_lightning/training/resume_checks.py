"""Whether a configuration is that of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pix2pix_lightning.utils.configs import LOADING_KEYS, list_differences
from pix2pix_lightning.utils.errors import UserError

_NOT_COMPARED = ("about", "command", "objective", "run_dir", "resume", "speed")
_CHOSEN = ("accelerator", "devices", "strategy")  # by auto


def check_same(saved: Path, cfg: DictConfig) -> None:
    """A run may be made longer, but not go on with other data or another module.

    Args:
        saved: Its ``config.yaml``.
        cfg: With which it is to go on.

    Raises:
        ValueError: Data or module differ.
    """
    if not saved.is_file():
        return
    before: DictConfig = OmegaConf.load(saved)  # type: ignore[assignment]
    other = list_differences(before, cfg, ("data", "module"))
    if other:
        values = [OmegaConf.select(node, other[0]) for node in (before, cfg)]
        raise UserError(
            f"run_dir={saved.parent} holds a run with {other[0]}={values[0]}, not {values[1]}: choose another run_dir "
            "(of a sweep, another name), or move that run away"
        )


def check_nothing_else(saved: Path, cfg: DictConfig) -> None:
    """A run that has come to its end was made with these settings.

    Args:
        saved: Its ``config.yaml``.
        cfg: Of the command that finds it finished.

    Raises:
        ValueError: The command asks for something else, which it would not get.
    """
    before, present = _comparable(OmegaConf.load(saved), cfg), _comparable(cfg, cfg)
    del before["trainer"]["max_epochs"], present["trainer"]["max_epochs"]
    other = list_differences(OmegaConf.create(before), OmegaConf.create(present), ())
    if other:
        values = [OmegaConf.select(OmegaConf.create(node), other[0]) for node in (before, present)]
        raise UserError(
            f"{saved.parent} has come to its end with {other[0]}={values[0]}, not {values[1]}: choose another run_dir "
            "(of a sweep, another name), or raise trainer.max_epochs"
        )


def is_equal(saved: Path, cfg: DictConfig) -> bool:
    """Whether ``saved``, a run's ``config.yaml``, is there and describes the run that ``cfg`` does."""
    if not saved.is_file():
        return False
    folder = str(saved.parent)
    present = OmegaConf.merge(cfg, {"run_dir": folder})
    return _comparable(OmegaConf.load(saved), cfg) == _comparable(present, cfg)


def _comparable(cfg: Any, asked: DictConfig) -> dict[str, Any]:
    """As plain data, without what two runs may differ in; the precision is one of it unless it is asked for."""
    plain: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    chosen = (*_CHOSEN, "precision") if asked.trainer.precision == "auto" else _CHOSEN
    plain["trainer"] = {key: value for key, value in plain["trainer"].items() if key not in chosen}
    plain["data"] = {key: value for key, value in plain["data"].items() if f"data.{key}" not in LOADING_KEYS}
    return {key: value for key, value in plain.items() if key not in _NOT_COMPARED}
