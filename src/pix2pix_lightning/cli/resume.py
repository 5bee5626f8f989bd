"""The configuration of the run that ``resume=`` names."""

from __future__ import annotations

import difflib
import logging
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pix2pix_lightning.cli.conf import (
    compose_files,
    drop_unused_discriminator,
    is_group,
    list_keys,
    select_repeatable_words,
)
from pix2pix_lightning.compat import parse_overrides
from pix2pix_lightning.utils.configs import WATCHING, flatten_config, list_differences
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.foreign_config import check_resumed_config
from pix2pix_lightning.utils.instantiate import TARGET, is_description, parse_trust
from pix2pix_lightning.utils.processes import is_first_process
from pix2pix_lightning.utils.saved_config import load_saved_config
from pix2pix_lightning.utils.saved_files import build_damaged_error

if TYPE_CHECKING:
    from omegaconf import DictConfig

_log = logging.getLogger(__name__)
_TIED = {
    "seed": ("data.seed", "module.seed"),
    "speed.precision": ("trainer.precision",),
    "speed.num_workers": ("data.num_workers",),
    "speed.pin_memory": ("data.pin_memory",),
    "saving.monitor": ("callbacks.best.monitor",),
    "trainer.max_epochs": ("module.schedule.total_epochs",),
    "trainer.check_val_every_n_epoch": ("callbacks.best.every_n_epochs",),
}
"""Keys whose value others take over, by references in ``conf/``. A run's ``config.yaml`` has the values alone."""
_SIZES = ("data.size", "data.crop")
"""Keys that are a side in pixels, or height and width."""
_NULLABLE = ("data.archive.num_bytes", "onnx.threshold", "saving.every_minutes", "xdog.threshold")
"""Numbers that null switches off."""


def load_resumed_config(words: Sequence[str], config_name: str = "train") -> DictConfig | None:
    """Load the configuration of the run that ``resume=`` names, and change single keys of it.

    Args:
        words: Overrides in Hydra's grammar.
        config_name: Name of the command; top-level keys that the run's file lacks are taken from its defaults.

    Returns:
        The configuration. None where ``resume`` names no run with a ``config.yaml``, or where groups are chosen, which
        describe a whole run.

    Raises:
        UserError: The run has no such key, a value has another type than the run's, or the run's file is damaged, or
            names classes or folders that are not trusted.
    """
    if not any(word.startswith("resume=") for word in words):
        return None
    overrides = parse_overrides(words)
    values = {o.key_or_group: o.value() for o in overrides if not (o.is_sweep_override() or o.is_delete())}
    saved = _find_saved_config(values.get("resume"))
    describes_whole_run = len(values) < len(overrides) or any(o.package or is_group(o.key_or_group) for o in overrides)
    if saved is None or describes_whole_run:
        return None
    from omegaconf import OmegaConf

    cfg = load_saved_config(saved)
    trust = parse_trust(values.pop("trust", None))
    cfg.pop("trust", None)  # what the file says of itself does not count
    defaults, _ = compose_files(config_name, ["speed=off"] if config_name == "train" else [])
    _check_structure(cfg, defaults, saved)
    check_resumed_config(cfg, saved.parent, trust=trust, given=list(values))
    if OmegaConf.select(cfg, "data.download"):  # which the command line alone asks for
        cfg.data.download = False
    _add_watching(cfg, defaults, saved, values)
    for name in defaults.keys() - cfg.keys():
        cfg[name] = defaults[name]
    _keep_monitor(cfg)
    tied = _find_tied_keys(cfg, values)
    for override in overrides:
        key = override.key_or_group
        expected = OmegaConf.select(defaults, key)
        _change_key(cfg, key, override.value(), expected, add=override.is_add() or override.is_force_add())
    for key, value in tied.items():
        OmegaConf.update(cfg, key, value)
    if _follows_other_metric(cfg, {*values, *tied}):
        cfg.callbacks.best.mode = "auto"  # what was right for the metric before need not be
    cfg.run_dir = values.get("run_dir")
    changed = select_repeatable_words(words)
    if cfg.command and changed:
        cfg.command = shlex.join([*shlex.split(cfg.command), *changed])
    drop_unused_discriminator(cfg)
    return cfg


def _add_watching(cfg: DictConfig, defaults: DictConfig, saved: Path, given: Collection[str]) -> None:
    """Add the callbacks that watch a training to a run of a version that did not have them, in place; it is logged.

    A run of this version without them has left them out on purpose. It is told by ``saving``, which came with them.
    """
    callbacks = cfg.get("callbacks")
    if "saving" in cfg or "saving" not in defaults or callbacks is None:
        return
    added = [name for name in WATCHING if name not in callbacks]
    for name in added:
        callbacks[name] = defaults.callbacks[name]
    keys = [f"callbacks.{name}" for name in added if f"callbacks.{name}" not in given]
    if keys and is_first_process():
        _log.warning(
            "%s is of an earlier version: %s watch the training from here on (set %s to leave them out)",
            saved,
            " and ".join(keys),
            " ".join(f"{key}=null" for key in keys),
        )


def _keep_monitor(cfg: DictConfig) -> None:
    """Fill in ``saving.monitor``, which runs of earlier versions lack, with the metric of their best checkpoint."""
    from omegaconf import OmegaConf

    monitor = OmegaConf.select(cfg, "callbacks.best.monitor")
    if monitor is not None and OmegaConf.is_dict(cfg.get("saving")):
        cfg.saving.monitor = monitor


def _follows_other_metric(cfg: DictConfig, changed: Collection[str]) -> bool:
    """Return whether changed keys give the best checkpoint another metric, and leave open which value is better."""
    from omegaconf import OmegaConf

    is_changed = not {"saving.monitor", "callbacks.best.monitor"}.isdisjoint(changed)
    has_best = OmegaConf.is_dict(OmegaConf.select(cfg, "callbacks.best"))
    return is_changed and has_best and "callbacks.best.mode" not in changed


def _find_tied_keys(cfg: DictConfig, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that follow a changed one, since the files of ``conf/`` refer to it, with their new values.

    Args:
        cfg: The run's configuration, in which references are resolved.
        values: The changes by key. A key among them, and one that was set to another value before, does not follow.
    """
    from omegaconf import OmegaConf

    tied: dict[str, Any] = {}
    for key, followers in _TIED.items():
        before = OmegaConf.select(cfg, key)
        for follower in followers if key in values else ():
            is_given = any(follower == given or follower.startswith(f"{given}.") for given in values)
            if not is_given and before is not None and OmegaConf.select(cfg, follower) == before:
                tied[follower] = values[key]
    return tied


def check_same_as_resumed(cfg: DictConfig, words: Sequence[str]) -> None:
    """Check that a command that chooses groups describes the run that ``resume`` names.

    Args:
        cfg: The configuration that was composed from ``words``.
        words: Overrides in Hydra's grammar.

    Raises:
        UserError: Data or module are not the run's, in a key that no word sets.
    """
    saved = _find_saved_config(cfg.get("resume"))
    if saved is None:
        return
    before = load_saved_config(saved)
    keys = {word.partition("=")[0].lstrip("+~") for word in words}
    differences = list_differences(before, cfg, ("data", "module"))
    other = [key for key in differences if key not in keys and not _is_of_recognised_side(cfg, key)]
    if other:
        raise UserError(
            f"resume={cfg.resume} with groups describes a whole run, but {other[0]} is not that run's: give "
            "single keys alone, or the run's own command"
        )


def _is_of_recognised_side(cfg: DictConfig, key: str) -> bool:
    """Return whether a key describes a side that is recognised by its files, which the run has kept."""
    from omegaconf import OmegaConf

    side = ".".join(key.split(".")[:2])
    return side in ("data.a", "data.b") and OmegaConf.select(cfg, f"{side}.kind") == "auto"


def check_type(key: str, given: Any, expected: Any) -> None:
    """Check that a value can stand in the place of another.

    A node can be switched off by null, and a name can look like anything; numbers and switches must stay such.

    Args:
        key: The configuration key, for the message.
        given: The value from the command line.
        expected: The value in the configuration files.

    Raises:
        UserError: It cannot.
    """
    from omegaconf import OmegaConf

    is_list = isinstance(given, list) or OmegaConf.is_list(given)
    is_size = key in _SIZES and (is_list or _matches_type(given, 1))  # which the class checks
    if not (_matches_type(given, expected) or is_size or (given is None and key in _NULLABLE)):
        raise UserError(f"{key}={given} has another type than expected: set a value like {key}={expected}")


def _matches_type(given: Any, expected: Any) -> bool:
    from omegaconf import OmegaConf

    if OmegaConf.is_config(expected):
        if OmegaConf.is_list(expected):
            return isinstance(given, list | str) or OmegaConf.is_list(given)
        return given is None or isinstance(given, dict) or OmegaConf.is_dict(given)
    if isinstance(expected, bool):
        return isinstance(given, bool)
    if isinstance(expected, int):
        return isinstance(given, int) and not isinstance(given, bool)
    if isinstance(expected, float):
        return isinstance(given, int | float) and not isinstance(given, bool)
    return True


def _find_saved_config(resume: Any) -> Path | None:
    if resume in (None, "auto"):
        return None
    named = Path(str(resume))
    saved = (named if named.is_dir() else named.parent.parent) / "config.yaml"
    return saved if saved.is_file() else None


def _check_structure(cfg: DictConfig, defaults: DictConfig, saved: Path) -> None:
    """Check that what a run's file has in the places of groups, texts and numbers is such."""
    from omegaconf import OmegaConf

    for name, value in cfg.items():
        expected = defaults.get(name)
        is_text = name in ("name", "command", "about")
        if not (value is None or isinstance(value, str) if is_text else _matches_type(value, expected)):
            raise build_damaged_error(saved, f"{name!s}={value}")
    required = {"data", "module", "trainer", *({"speed"} & cfg.keys())}
    for name in required & set(defaults):
        if not OmegaConf.is_dict(cfg.get(name)):
            raise build_damaged_error(saved, f"{name} is missing")
    if "module" in defaults and not isinstance(cfg.module.get("weights") or {}, Mapping):
        raise build_damaged_error(saved, f"module.weights={cfg.module.weights}")
    try:
        shlex.split(cfg.get("command") or "")
    except ValueError as error:
        raise build_damaged_error(saved, f"command: {error}") from None


def _change_key(cfg: DictConfig, key: str, value: Any, default: Any, *, add: bool) -> None:
    from omegaconf import OmegaConf

    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    exists = OmegaConf.is_dict(node) and leaf in node
    if not exists and not add:
        known = [name for name, _ in flatten_config(OmegaConf.to_container(cfg, resolve=False))]
        close = difflib.get_close_matches(key, known, 1)
        hint = f"did you mean {close[0]}?" if close else "its config.yaml has the keys"
        is_of_today = default is not None or key in list_keys(compose_files("train", ["data=folder"])[0])
        adding = f" (a run of an earlier version takes +{key}={value})" if is_of_today else ""
        raise UserError(f"{key} is no key of the run that is resumed: {hint}{adding}")
    before = node[leaf] if exists else None
    was_whole = isinstance(before, int) and isinstance(default, float)  # a number that was given without a fraction
    check_type(key, value, default if was_whole else before)
    # a class does not take the arguments of the one in whose place it is put
    is_another = before is not None and all(map(is_description, (value, before))) and value[TARGET] != before[TARGET]
    OmegaConf.update(cfg, key, value, merge=not is_another, force_add=True)
