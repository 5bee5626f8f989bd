"""Which keys each task uses, and the settings that its outputs depend on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pix2pix_lightning.cli.conf import find_conf_dir
from pix2pix_lightning.cli.conf_files import read_conf_file
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.version import __version__

if TYPE_CHECKING:
    from omegaconf import DictConfig

_FILES = ("output", "overwrite")
_PICTURES = (*_FILES, "strict", "workers", "suffix", "quality")
_USED = {
    "combine": (*_PICTURES, "size", "interpolation", "resize"),
    "split": _PICTURES,
    "edges": (*_PICTURES, "layout", "size", "method"),
    "colorization": (*_PICTURES, "layout", "size"),
    "inpainting": (*_PICTURES, "layout", "size", "mask", "fill"),
    "index": _FILES,
    "from_junyanz": (),
}
_WITH = {  # further keys, by a key and its value
    ("method", "canny"): ("canny",),
    ("method", "xdog"): ("xdog",),
    ("method", "onnx"): ("onnx", "edges_model"),
    ("mask", "random"): ("seed",),
}
_NOT_OF_OUTPUTS = ("output", "overwrite", "strict", "workers")


def check_keys(cfg: DictConfig) -> None:
    """Check that no key was given that the task does not use.

    Args:
        cfg: The configuration, with the key ``task``.

    Raises:
        UserError: One was: its value is not the default.
    """
    used = list_used_keys(cfg)
    for key, found in read_conf_file(find_conf_dir() / "prepare.yaml").keys.items():
        top = key.partition(".")[0]
        if found.is_node or top in (*used, "task", "input") or _select(cfg, key, found.value) == found.value:
            continue
        raise UserError(f"{key}={_select(cfg, key, None)} has no part in {_describe(cfg, top)}: leave it out")


def list_used_keys(cfg: DictConfig) -> list[str]:
    """List the keys that the task uses, without ``task`` and ``input``."""
    used = [*_USED[cfg.task]]
    for (key, value), further in _WITH.items():
        if key in used and cfg.get(key) == value:
            used += further
    return used


def collect_settings(cfg: DictConfig) -> dict[str, Any]:
    """Collect what the outputs of a task depend on, as plain data.

    Args:
        cfg: The configuration.

    Returns:
        Values by key, with the package's version.
    """
    from omegaconf import OmegaConf

    sources = [cfg.input] if isinstance(cfg.input, str) else [*cfg.input]
    settings: dict[str, Any] = {"task": cfg.task, "input": [str(Path(str(source)).absolute()) for source in sources]}
    for key in list_used_keys(cfg):
        if key not in _NOT_OF_OUTPUTS:
            settings[key] = OmegaConf.to_container(cfg[key]) if OmegaConf.is_config(cfg[key]) else cfg[key]
    return {**settings, "version": __version__}


def _select(cfg: DictConfig, key: str, default: Any) -> Any:
    """Return the value of a dotted key as plain data."""
    from omegaconf import OmegaConf

    value = OmegaConf.select(cfg, key, default=default)
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _describe(cfg: DictConfig, key: str) -> str:
    """Describe the task as far as it makes a key unused, and where the key belongs."""
    for (choice, value), further in _WITH.items():
        if key in further and choice in _USED[cfg.task]:
            return f"{choice}={cfg[choice]}, it belongs to {choice}={value}"
    return f"task={cfg.task}, it belongs to {', '.join(_list_tasks(key))}"


def _list_tasks(key: str) -> Iterator[str]:
    choice = next((choice for (choice, _), further in _WITH.items() if key in further), key)
    return (task for task, used in _USED.items() if choice in used)
