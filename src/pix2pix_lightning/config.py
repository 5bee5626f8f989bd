"""Where ``conf/`` is, composing it from Python, and building an object from its description."""

from __future__ import annotations

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
PATHS = ("checkpoint", "data.root", "input", "output", "resume", "run_dir", "runs")  # taken as they are by a door
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
        config_name: ``train`` or ``predict``.
        overrides: As on the command line, ``["experiment=facades", "data.size=128"]``.
        config_dir: A folder of the user's own configuration files, for names that the package does not have.

    Returns:
        The configuration; resolved when it is read.

    Raises:
        hydra.errors.HydraException: A key or a name is unknown.
    """
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import open_dict

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
    folder = ["--config-dir", str(config_dir)] if config_dir else []
    settle(cfg, choices, [*folder, *overrides])
    return going_on(cfg, overrides, choices)


def going_on(cfg: DictConfig, words: Sequence[str], choices: Mapping[str, str | None]) -> DictConfig:
    """The configuration of the run that ``resume`` names, with single keys of the command line on top.

    A command that chooses groups describes a whole run, and has to describe this one.

    Args:
        cfg: As it was composed from ``words``; given back where ``resume`` names no run with a ``config.yaml``.
        words: Overrides.
        choices: The groups, and what was chosen for them.

    Raises:
        ValueError: The command chooses groups, and data or module are not the run's.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    resumed = Path(str(cfg.get("resume")))
    saved = (resumed if resumed.is_dir() else resumed.parent.parent) / "config.yaml"
    if cfg.get("resume") in (None, "auto") or not saved.is_file():
        return cfg
    overrides = OverridesParser.create().parse_overrides(list(words))
    keys = {override.key_or_group for override in overrides}
    before: DictConfig = OmegaConf.load(saved)  # type: ignore[assignment]
    if not any(override.key_or_group in choices or override.package or override.is_delete() for override in overrides):
        for key in [*sorted(keys), "run_dir", "resume"]:
            OmegaConf.update(before, key, OmegaConf.select(cfg, key), force_add=True)
        changed = [word for word in words if word.partition("=")[0].lstrip("+") not in _NOT_REPEATED]
        if before.get("command") and changed:
            before.command = shlex.join([*shlex.split(before.command), *changed])
        return before
    other = [key for key in differences(before, cfg, ("data", "module")) if key not in keys]
    if other:
        raise ValueError(
            f"resume={cfg.resume} with groups describes a whole run, but {other[0]} is not that run's: give "
            "single keys alone, or the run's own command"
        )
    return cfg


def differences(one: DictConfig, other: DictConfig, nodes: Sequence[str]) -> list[str]:
    """The keys below ``nodes`` at which two configurations differ."""
    from omegaconf import OmegaConf

    flat = [dict(_leaves(OmegaConf.to_container(cfg, resolve=True), nodes)) for cfg in (one, other)]
    return sorted(key for key in flat[0].keys() | flat[1].keys() if flat[0].get(key) != flat[1].get(key))


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
    weights = cfg.module.get("weights") if "module" in cfg else None
    if weights is not None and all(weights.get(name) == 0 for name in _OF_DISCRIMINATOR):
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


def check_trusted(descriptions: Any, trust: Sequence[str] = ()) -> None:
    """Refuse descriptions, nested ones too, that would call anything but a network, optimizer or schedule.

    A target is accepted when it is a class of an importable module, is a subclass of ``nn.Module``,
    ``Optimizer`` or ``LRScheduler``, and both the module that is named and the one that defines the class lie in
    this package, ``torch.nn``, ``torch.optim``, or a package of ``trust``. Nothing else is imported or called.

    Raises:
        ValueError: A target is not accepted.
    """
    import torch

    kinds = (torch.nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)
    packages = (*_TRUSTED, *([trust] if isinstance(trust, str) else trust))
    for target in _targets(descriptions):
        module = target.rpartition(".")[0] if isinstance(target, str) else ""
        if not _lies_in(module, packages):
            raise ValueError(
                f"the checkpoint names {target!r}, which lies outside {', '.join(packages)}: if you know and trust "
                f"it, say so by trust=[{module.partition('.')[0] or '<package>'}]"
            )
        cls = locate(target)
        if not (isinstance(cls, type) and issubclass(cls, kinds) and _lies_in(cls.__module__, packages)):
            raise ValueError(
                f"the checkpoint names {target!r}, which is no network, optimizer or schedule of {packages}"
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
