"""Check what the ``config.yaml`` of a run would build and where it would write, before the run is resumed.

A run's folder may be from elsewhere, so its configuration is data, like a checkpoint.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.instantiate import (
    TARGET,
    TRUSTED,
    check_trusted,
    is_description,
    list_untrusted_packages,
    locate,
)

if TYPE_CHECKING:
    from omegaconf import DictConfig

_LIGHTNING = "lightning.pytorch"
_PACKAGES: dict[str, tuple[str, ...]] = {
    "data": ("pix2pix_lightning", "albumentations"),
    "module": (*TRUSTED, "torchmetrics"),
    "callbacks": ("pix2pix_lightning", f"{_LIGHTNING}.callbacks"),
    "logger": ("pix2pix_lightning", f"{_LIGHTNING}.loggers"),
    "trainer": ("pix2pix_lightning", *(f"{_LIGHTNING}.{name}" for name in ("strategies", "plugins", "profilers"))),
}
"""Packages whose classes each node may name; the other nodes of a configuration name none."""
_WRITING = ("callbacks", "logger", "trainer")
_PATH_KEY = re.compile(r"(^|_)(cache|dir|dirpath|file|folder|path|root)$")


def check_resumed_config(
    cfg: DictConfig, folder: Path, *, trust: Sequence[str] = (), given: Sequence[str] = ()
) -> None:
    """Refuse a run's configuration that names classes of unknown packages, or folders outside of the run's.

    Args:
        cfg: The configuration as `load_saved_config` returns it.
        folder: The run's folder.
        trust: Packages whose classes it may name, from the command line and not from the file.
        given: Keys that the command line sets itself; what the file has in their places does not count.

    Raises:
        UserError: It does.
    """
    file = folder / "config.yaml"
    plain = _resolve(cfg, folder)
    for key in given:
        _drop(plain, key)
    packages = _list_packages(plain, trust)
    if packages:
        raise UserError(
            f"{file} names classes of {' and '.join(packages)}: if you know and trust them, "
            f"add trust=[{','.join(dict.fromkeys([*trust, *packages]))}]"
        )
    for name, node in plain.items():
        kinds = _find_kinds(name)
        allowed = (*_PACKAGES.get(name, ()), *trust)
        check_trusted(node, kinds=kinds, packages=allowed, origin=str(file))
    data: Any = plain.get("data")
    if is_description(data) and not issubclass(locate(data[TARGET]), _import_data_module()):
        raise UserError(f"{file} names {data[TARGET]!r}, which is no data module")
    for key, value in _list_outside_paths(plain, folder):
        raise UserError(
            f"{file} has {key}={value}, which is outside of the run's folder: if it is yours, add {key}={value}"
        )
    _check_links(folder)


def format_resume_words(cfg: DictConfig, folder: Path) -> list[str]:
    """Format the words that ``resume=<folder>`` needs besides: what the user has to know and trust.

    Args:
        cfg: The configuration as `load_saved_config` returns it.
        folder: The run's folder.

    Returns:
        ``trust=[...]`` for classes of other packages, and each key that names another folder.
    """
    plain = _resolve(cfg, folder)
    packages = _list_packages(plain)
    paths = [f"{key}={value}" for key, value in _list_outside_paths(plain, folder)]
    return [*([f"trust=[{','.join(packages)}]"] if packages else []), *paths]


def _list_packages(plain: Mapping[str, Any], trust: Sequence[str] = ()) -> list[str]:
    """List the packages, besides those that each node may name and ``trust``, whose classes a configuration names."""
    found = [
        package
        for name, node in plain.items()
        for package in list_untrusted_packages(node, (*_PACKAGES.get(name, ()), *trust))
    ]
    return list(dict.fromkeys(found))


def _find_kinds(node: str) -> tuple[type, ...]:
    """Return the base classes that the targets of a node may have."""
    import torch
    from lightning.pytorch import Callback
    from lightning.pytorch.loggers import Logger

    kinds: dict[str, tuple[type, ...]] = {
        "module": (torch.nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler),
        "callbacks": (Callback,),
        "logger": (Logger,),
    }
    return kinds.get(node, (object,))


def _drop(plain: dict[str, Any], key: str) -> None:
    parent, _, leaf = key.rpartition(".")
    node: Any = plain
    for part in parent.split(".") if parent else ():
        node = node.get(part) if isinstance(node, dict) else None
    if isinstance(node, dict):
        node.pop(leaf, None)


def _import_data_module() -> type:
    from lightning.pytorch import LightningDataModule

    return LightningDataModule


def _resolve(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """Return plain data, in which the run lies in ``folder`` whatever the file says."""
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(OmegaConf.merge(cfg, {"run_dir": str(folder)}), resolve=True)
    return {name: value for name, value in plain.items() if name != "run_dir"}


def _list_outside_paths(plain: Mapping[str, Any], folder: Path) -> Iterator[tuple[str, str]]:
    """Yield key and value of each path to write to that is not in the run's folder."""
    nodes = {name: plain.get(name) for name in _WRITING}
    data = plain.get("data")
    cache = data.get("cache") if isinstance(data, Mapping) else None
    home = folder.resolve()
    for key, text in _list_texts({**nodes, "data": {"cache": cache}}):
        path = Path(os.path.expanduser(text))  # noqa: PTH111 (Path's raises for a user that does not exist)
        is_path = path.is_absolute() or ".." in path.parts
        if (is_path or _PATH_KEY.search(key.rpartition(".")[2])) and not _is_inside(path, home):
            yield key, text


def _is_inside(path: Path, home: Path) -> bool:
    try:
        return path.resolve().is_relative_to(home)
    except (OSError, ValueError):  # no path at all
        return False


def _list_texts(node: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(node, str):
        yield prefix, node
    items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        if key != TARGET:
            yield from _list_texts(value, f"{prefix}.{key}" if prefix else str(key))


def _check_links(folder: Path) -> None:
    """Refuse links that lead out of a run's folder, since a run writes in it alone."""
    home = folder.resolve()
    for path in [*folder.iterdir(), *folder.glob("checkpoints/*"), *folder.glob("gallery/*")]:
        if path.is_symlink() and not _is_inside(path, home):
            raise UserError(f"{path} is a link out of the run's folder: put what it leads to in its place")
