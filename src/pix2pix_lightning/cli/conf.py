"""The folder ``conf/``: finding it, composing a configuration from it, and completing what was composed."""

from __future__ import annotations

import pickle
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pix2pix_lightning.compat import apply_overrides, isolate_hydra, parse_overrides
from pix2pix_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

PATH_KEYS = (
    "calibrate",
    "checkpoint",
    "data.archive.url",
    "data.root",
    "edges_model",
    "init_from",
    "input",
    "output",
    "resume",
    "run_dir",
    "runs",
    "runtime",
    "url",
)
"""Keys whose value is a path or an address, which a command takes as it is typed."""
NOT_REPEATED = ("command", "resume", "run_dir", "sweep", "trust")
"""Keys that say where a run lies or comes from, not what it is: the command that repeats the run leaves them out."""
_DISCRIMINATOR_TERMS = ("adversarial", "feature_matching")


def find_conf_dir() -> Path:
    """Return the folder of the configuration: inside the installed package, or at the root of a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def is_group(key: str) -> bool:
    """Return whether ``key`` is a group of configuration files, such as ``generator``."""
    return re.fullmatch(r"\w+(/\w+)*", key) is not None and (find_conf_dir() / key).is_dir()


def list_keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of a configuration, each group before the keys in it.

    Args:
        node: A configuration.
        prefix: Put before each key.
    """
    from omegaconf import OmegaConf

    for key in node:
        yield f"{prefix}{key}"
        if not OmegaConf.is_missing(node, key) and OmegaConf.is_dict(node[key]):
            yield from list_keys(node[key], f"{prefix}{key}.")


def compose_files(
    config_name: str, overrides: Sequence[str] = (), *, config_dir: str | Path | None = None
) -> tuple[DictConfig, Mapping[str, Any]]:
    """Compose the files of ``conf/`` and nothing else.

    Args:
        config_name: Name of the command.
        overrides: Words of its command line, ``["experiment=facades", "data.size=128"]``.
        config_dir: Folder with further configuration files of the user, or None.

    Returns:
        The configuration, and the name that was chosen for each group.

    Raises:
        hydra.errors.HydraException: A key or a name is unknown.
    """
    if config_dir:
        searchpath = f"hydra.searchpath=[{quote(f'file://{Path(config_dir).resolve()}')}]"
        return _compose([config_name, *overrides, searchpath])
    parsed = parse_overrides(overrides)
    if any(override.is_hydra_override() for override in parsed):  # which may name further files
        return _compose([config_name, *overrides])
    keys = [override for override in parsed if _sets_key(override)]
    groups = tuple(override.input_line for override in parsed if override not in keys)
    cfg, choices = pickle.loads(_compose_groups(find_conf_dir(), _list_versions(), config_name, *groups))
    apply_overrides(cfg, keys)
    return cfg, choices


def _compose(words: Sequence[str]) -> tuple[DictConfig, Mapping[str, Any]]:
    """Compose the files; ``words`` are the command's name and its overrides."""
    import hydra
    from omegaconf import OmegaConf, open_dict

    with isolate_hydra(), hydra.initialize_config_dir(str(find_conf_dir()), version_base="1.3"):
        cfg = hydra.compose(words[0], list(words[1:]), return_hydra_config=True)
    with open_dict(cfg):
        choices = dict(cfg.pop("hydra").runtime.choices)
    OmegaConf.clear_cache(cfg)  # the time that names a run is read anew
    return cfg, choices


@lru_cache(maxsize=512)
def _compose_groups(folder: Path, versions: frozenset[tuple[str, int]], *words: str) -> bytes:
    """Compose the files without overrides of single keys; ``versions`` tells their contents apart."""
    return pickle.dumps(_compose(words))


def _list_versions() -> frozenset[tuple[str, int]]:
    return frozenset((str(path), path.stat().st_mtime_ns) for path in find_conf_dir().rglob("*.yaml"))


def _sets_key(override: Any) -> bool:
    """Return whether an override is of a single key; Hydra refuses the one with several values, and a package's."""
    if override.is_sweep_override() or override.package is not None:
        return False
    return not is_group(override.key_or_group) or isinstance(override.value(), dict)


def complete_config(cfg: DictConfig, choices: Mapping[str, str | None], words: Sequence[str]) -> None:
    """Fill in what follows from the rest, in place.

    ``name`` becomes the experiment's where it is open, ``command`` the command line that repeats the run. A
    discriminator that no term of the loss uses is set to null: that is why ``loss=l1`` goes with
    ``module.discriminator.*`` keys, as a sweep over losses needs on an experiment that has such keys.

    Args:
        cfg: The configuration as it was composed.
        choices: The name that was chosen for each group.
        words: The words of the command line after the command's name.

    Raises:
        UserError: ``trust`` is set, which nothing here needs.
    """
    if "resume" in cfg and cfg.get("trust") is not None:
        raise UserError(
            f"trust={cfg.trust} goes with resume=<run folder> and single keys alone; what a command composes from its "
            "own configuration files is trusted: leave it out"
        )
    if "name" in cfg and cfg.name is None:
        cfg.name = choices.get("experiment") or "default"
    if "command" in cfg:
        cfg.command = shlex.join(["python", "-m", "pix2pix_lightning.train", *select_repeatable_words(words)])
    if "module" in cfg:
        drop_unused_discriminator(cfg)


def drop_unused_discriminator(cfg: DictConfig) -> None:
    """Set the discriminator to null, in place, where all of its terms have the weight 0, and what changes its input."""
    weights = cfg.module.get("weights") or {}
    if weights.get("adversarial") == 0 and not weights.get("feature_matching"):
        cfg.module.discriminator = None
        if cfg.module.get("diff_augment"):
            cfg.module.diff_augment = None
        if cfg.module.get("r1_weight"):
            cfg.module.r1_weight = 0.0
        cfg.module.weights = {name: weight for name, weight in weights.items() if name not in _DISCRIMINATOR_TERMS}


def select_repeatable_words(words: Sequence[str]) -> list[str]:
    """Return the words that repeat a run elsewhere, with paths as they were typed."""
    return [_unquote(word) for word in words if word.partition("=")[0].lstrip("+") not in NOT_REPEATED]


def quote(value: str) -> str:
    """Put a value in single quotes, in which it may hold what Hydra's grammar gives a meaning, such as commas."""
    # backslashes are doubled before a quote alone, the last one too: C:\\data\\ ends with them
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), value)
    return f"'{escaped}'"


def _unquote(word: str) -> str:
    """Remove the quotes around a path, which `overrides.quote_path` adds for Hydra."""
    found = re.fullmatch(r"([\w.]+)='([^'\\]*)'", word)
    return f"{found[1]}={found[2]}" if found and found[1] in PATH_KEYS else word
