"""Where ``conf/`` is, composing it from Python, and building an object from its description."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

TARGET = "_target_"
# taken as they are by a door
PATHS = ("checkpoint", "data.root", "init_from", "input", "output", "resume", "run_dir", "runs", "runtime")
SAME_BATCHES = {f"data.{key}" for key in ("cache", "num_workers", "pin_memory", "prefetch_factor")}
_NOT_REPEATED = ("command", "resume", "run_dir", "sweep")
_OF_DISCRIMINATOR = ("adversarial", "feature_matching")
_TRUSTED = ("pix2pix_lightning", "torch.nn", "torch.optim")


def conf_dir() -> Path:
    """The folder of the configuration: inside the installed package, or at the root of a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def compose(config_name: str, overrides: Sequence[str] = (), *, config_dir: str | Path | None = None) -> DictConfig:
    """The configuration of a door, as its command line would compose it.

    Args:
        config_name: The door's name.
        overrides: As on the command line, ``["experiment=facades", "data.size=128"]``.
        config_dir: A folder of the user's own configuration files, for names that the package does not have.

    Returns:
        The configuration; resolved when it is read.

    Raises:
        hydra.errors.HydraException: A key or a name is unknown.
        ValueError: A sweep is chosen, which is several configurations.
    """
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import open_dict

    run = resumed(overrides, config_name)
    if run is not None:
        return run
    extra = [f"hydra.searchpath=[file://{Path(config_dir).resolve()}]"] if config_dir else []
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
            cfg = hydra.compose(config_name, [*overrides, *extra], return_hydra_config=True)
    finally:
        GlobalHydra.instance().hydra = before
    with open_dict(cfg):
        choices = cfg.pop("hydra").runtime.choices
    if choices.get("sweep"):
        raise ValueError(f"sweep={choices['sweep']} is several configurations: compose each by its own choices")
    folder = ["--config-dir", str(config_dir)] if config_dir else []
    settle(cfg, choices, [*folder, *overrides])
    check_describes_resumed(cfg, overrides)
    return cfg


def resumed(words: Sequence[str], config_name: str = "train") -> DictConfig | None:
    """The configuration of the run that ``resume=`` names, with single keys changed.

    Args:
        words: Overrides, as Hydra's grammar has them.
        config_name: Of the door, whose other keys a run of an earlier version may lack.

    Returns:
        None where ``resume`` names no run with a ``config.yaml``, or groups are chosen, which describe a whole run.

    Raises:
        ValueError: The run has no such key, or its values are of another kind.
    """
    if not any(word.startswith("resume=") for word in words):
        return None
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    overrides = OverridesParser.create().parse_overrides(list(words))
    values = {o.key_or_group: o.value() for o in overrides if not (o.is_sweep_override() or o.is_delete())}
    saved = _saved_by(values.get("resume"))
    if saved is None or len(values) < len(overrides) or any(o.package or _is_group(o.key_or_group) for o in overrides):
        return None
    cfg: DictConfig = OmegaConf.load(saved)  # type: ignore[assignment]
    present = compose(config_name, ["speed=off"] if config_name == "train" else [])  # as runs were before they said it
    for name in present.keys() - cfg.keys():
        cfg[name] = present[name]
    for override in overrides:
        _change(cfg, override.key_or_group, override.value(), add=override.is_add() or override.is_force_add())
    if "speed.precision" in values and "trainer.precision" not in values:
        cfg.trainer.precision = cfg.speed.precision
    cfg.run_dir = values.get("run_dir")
    changed = [_unquoted(word) for word in words if word.partition("=")[0].lstrip("+") not in _NOT_REPEATED]
    if cfg.command and changed:
        cfg.command = shlex.join([*shlex.split(cfg.command), *changed])
    _leave_out_unused(cfg)
    return cfg


def _saved_by(resume: Any) -> Path | None:
    """The ``config.yaml`` of the run that ``resume`` names."""
    if resume in (None, "auto"):
        return None
    named = Path(str(resume))
    saved = (named if named.is_dir() else named.parent.parent) / "config.yaml"
    return saved if saved.is_file() else None


def _is_group(key: str) -> bool:
    return (conf_dir() / key).is_dir()


def _change(cfg: DictConfig, key: str, value: Any, *, add: bool) -> None:
    from omegaconf import OmegaConf

    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    is_there = OmegaConf.is_dict(node) and leaf in node
    if not is_there and not add:
        known = [name for name, _ in _leaves(OmegaConf.to_container(cfg, resolve=False))]
        close = difflib.get_close_matches(key, known, 1)
        raise ValueError(
            f"{key} is no key of the run that is resumed"
            + (f": did you mean {close[0]}?" if close else ", whose keys are in its config.yaml")
        )
    expected = node[leaf] if is_there else None
    if not is_kind(value, expected):
        raise ValueError(f"{key}={value} is of another kind than expected: a value like {key}={expected}")
    OmegaConf.update(cfg, key, value, force_add=True)


def is_kind(given: Any, expected: Any) -> bool:
    """Whether a value is of the kind of another that stands in its place.

    A node can be switched off, and a name can look like anything; numbers and switches are only such.
    """
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


def check_describes_resumed(cfg: DictConfig, words: Sequence[str]) -> None:
    """A command that chooses groups describes a whole run, and has to describe the one that ``resume`` names.

    Args:
        cfg: As it was composed from ``words``.
        words: Overrides.

    Raises:
        ValueError: Data or module are not the run's.
    """
    from omegaconf import OmegaConf

    saved = _saved_by(cfg.get("resume"))
    if saved is None:
        return
    before: DictConfig = OmegaConf.load(saved)  # type: ignore[assignment]
    keys = {word.partition("=")[0].lstrip("+~") for word in words}
    other = [key for key in differences(before, cfg, ("data", "module")) if key not in keys]
    if other:
        raise ValueError(
            f"resume={cfg.resume} with groups describes a whole run, but {other[0]} is not that run's: give "
            "single keys alone, or the run's own command"
        )


def differences(one: DictConfig, other: DictConfig, nodes: Sequence[str]) -> list[str]:
    """The keys below ``nodes`` at which two configurations differ, but for how batches come about."""
    from omegaconf import OmegaConf

    flat = [dict(_leaves(OmegaConf.to_container(cfg, resolve=True), nodes)) for cfg in (one, other)]
    keys = (flat[0].keys() | flat[1].keys()) - SAME_BATCHES
    return sorted(key for key in keys if flat[0].get(key) != flat[1].get(key))


def _leaves(node: Any, nodes: Sequence[str] = (), prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if nodes and key not in nodes:
            continue
        if isinstance(value, dict) and value:
            yield from _leaves(value, (), f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def settle(cfg: DictConfig, choices: Mapping[str, str | None], words: Sequence[str]) -> None:
    """Fill in what follows from the rest, in place.

    ``name`` is the experiment's where it is open, ``command`` the command line without what says where the run lies,
    and a discriminator that no term of the loss uses is left out.

    Args:
        cfg: As it was composed.
        choices: The groups, and what was chosen for them.
        words: Of the command line, behind the door's name.
    """
    if "name" in cfg and cfg.name is None:
        cfg.name = choices.get("experiment") or "default"
    if "command" in cfg:
        kept = [_unquoted(word) for word in words if word.partition("=")[0].lstrip("+") not in _NOT_REPEATED]
        cfg.command = shlex.join(["python", "-m", "pix2pix_lightning.train", *kept])
    if "module" in cfg:
        _leave_out_unused(cfg)


def _leave_out_unused(cfg: DictConfig) -> None:
    """Without a weight for any of its terms there is no discriminator."""
    weights = cfg.module.get("weights") or {}
    if weights.get("adversarial") == 0 and not weights.get("feature_matching"):
        cfg.module.discriminator = None
        cfg.module.weights = {name: weight for name, weight in weights.items() if name not in _OF_DISCRIMINATOR}


def _unquoted(word: str) -> str:
    """A path without the quotes that Hydra needs, which a door puts there."""
    found = re.fullmatch(r"([\w.]+)='([^'\\]*)'", word)
    return f"{found[1]}={found[2]}" if found and found[1] in PATHS else word


def build(description: Mapping[str, Any], *args: Any) -> Any:
    """Build an object, and the objects in it, from a description ``{"_target_": "package.Class", ...}``.

    Args:
        description: The class and its keyword arguments.
        *args: Positional arguments before them.

    Raises:
        ValueError: The class cannot be found, or does not take these arguments.
    """
    target = description[TARGET]
    cls = locate(target)
    kwargs = {key: _built(value) for key, value in description.items() if key != TARGET}
    try:
        inspect.signature(cls).bind(*args, **kwargs)
    except TypeError as error:
        raise ValueError(f"{target}: {error}; it takes {', '.join(_parameters(cls))}") from None
    return cls(*args, **kwargs)


def check_trusted(
    descriptions: Any,
    trust: Sequence[str] = (),
    *,
    kinds: tuple[type, ...] | None = None,
    packages: Sequence[str] = _TRUSTED,
    whence: str = "the checkpoint",
) -> None:
    """Refuse descriptions, nested ones too, that would call anything but a class of a trusted package.

    A target is accepted when it is a class of an importable module, is a subclass of one of ``kinds``, and both the
    module that is named and the one that defines the class lie in a trusted package. Nothing else is imported or
    called.

    Args:
        descriptions: Plain data.
        trust: Packages beside ``packages``.
        kinds: Classes; by default ``nn.Module``, ``Optimizer`` and ``LRScheduler``.
        packages: That are trusted; by default this one, ``torch.nn`` and ``torch.optim``.
        whence: What the descriptions come from, for the message.

    Raises:
        ValueError: A target is not accepted.
    """
    import torch

    kinds = kinds or (torch.nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)
    packages = (*packages, *([trust] if isinstance(trust, str) else trust))
    for target in _targets(descriptions):
        module = target.rpartition(".")[0] if isinstance(target, str) else ""
        if not _lies_in(module, packages):
            raise ValueError(
                f"{whence} names {target!r}, which lies outside {', '.join(packages)}: if you know and trust "
                f"it, say so by trust=[{module.partition('.')[0] or '<package>'}]"
            )
        cls = locate(target)
        if not (isinstance(cls, type) and issubclass(cls, kinds) and _lies_in(cls.__module__, packages)):
            raise ValueError(
                f"{whence} names {target!r}, which is no class of {', '.join(packages)} that is expected here"
            )


def is_description(value: Any) -> bool:
    """Whether ``value`` is a mapping with a ``_target_``."""
    return isinstance(value, Mapping) and TARGET in value


def locate(target: str) -> Any:
    """The class by its name: an importable module and a name in it, never an attribute of an attribute."""
    module_name, _, name = target.rpartition(".") if isinstance(target, str) else ("", "", "")
    try:
        return getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"_target_={target!r} cannot be found ({error}): <importable module>.<Class> is expected"
        ) from None


def _built(value: Any) -> Any:
    if is_description(value):
        return build(value)
    if isinstance(value, Mapping):
        return {key: _built(item) for key, item in value.items()}
    return [_built(item) for item in value] if isinstance(value, list | tuple) else value


def _targets(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        if TARGET in value:
            yield value[TARGET]
        value = value.values()
    elif not isinstance(value, list | tuple):
        return
    for item in value:
        yield from _targets(item)


def _lies_in(module: str, packages: Sequence[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _parameters(cls: Any) -> list[str]:
    return [name for name in inspect.signature(cls).parameters if name not in ("self", "args", "kwargs")]
