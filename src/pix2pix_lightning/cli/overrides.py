"""A command line as Hydra is to see it, and the configuration that it gives."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pix2pix_lightning.cli.conf import PATH_KEYS, complete_config, conf_dir
from pix2pix_lightning.cli.resume import check_same_as_resumed, has_type_of

if TYPE_CHECKING:
    from omegaconf import DictConfig

HYDRA_QUIET = (
    "hydra.run.dir=.",
    "hydra.output_subdir=null",
    "hydra/job_logging=none",
    "hydra/hydra_logging=none",
)


@contextmanager
def set_hydra_argv(argv: list[str]) -> Iterator[None]:
    """Hydra reads ``sys.argv``, and hands exceptions on only when it is asked to in the environment."""
    before, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [before[0], *argv]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        sys.argv = before
        if full is None:
            del os.environ["HYDRA_FULL_ERROR"]


def quote_path(word: str) -> str:
    """A path may hold what Hydra's grammar takes for its own: spaces, ``=``, commas, brackets."""
    key, _, value = word.partition("=")
    if key not in PATH_KEYS or not value or value in ("null", "auto") or value[0] in "'\"":
        return word
    if value.startswith("[") and value.endswith("]") and not Path(value).exists():
        return f"{key}=[{','.join(_in_quotes(item.strip()) for item in value[1:-1].split(','))}]"
    return f"{key}={_in_quotes(value)}"


def _in_quotes(path: str) -> str:
    escaped = str(Path(path).expanduser()).replace("'", "\\'")
    return f"'{escaped}'"


def check_group_names(words: list[str]) -> None:
    """Hydra has no words for a group that is set to null."""
    for word in words:
        group, _, name = word.partition("=")
        if name == "null" and (conf_dir() / group).is_dir():
            raise ValueError(f"{word}: a group is chosen by a name; leave {group}= out for the default")


def complete_job_config(cfg: DictConfig, config_name: str, flags: list[str], hydra_cfg: Any) -> DictConfig:
    """What Hydra has composed, checked and completed.

    Args:
        cfg: The configuration.
        config_name: Of the door.
        flags: Of the command line, which repeats the run.
        hydra_cfg: Hydra's own configuration of this job.

    Raises:
        ValueError: A value is of another kind than expected, or the run that is to be resumed is another one.
    """
    words = list(hydra_cfg.overrides.task)
    _check_kinds(cfg, config_name, hydra_cfg)
    complete_config(cfg, hydra_cfg.runtime.choices, [*flags, *words])
    check_same_as_resumed(cfg, words)
    return cfg


def _check_kinds(cfg: DictConfig, config_name: str, hydra_cfg: Any) -> None:
    """Compare what was given for each key with the kind of what stands in the files."""
    import hydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    parsed = OverridesParser.create().parse_overrides(list(hydra_cfg.overrides.task))
    groups = set(hydra_cfg.runtime.choices)
    chosen = [o for o in parsed if o.key_or_group in groups or f"{o.key_or_group}@{o.package}" in groups]
    defaults = hydra.compose(config_name, [o.input_line for o in chosen if o.input_line])
    for key in {override.key_or_group for override in parsed if override not in chosen}:
        expected = OmegaConf.select(defaults, key, throw_on_resolution_failure=False)
        given = OmegaConf.select(cfg, key, throw_on_resolution_failure=False)
        if not has_type_of(given, expected):
            raise ValueError(f"{key}={given} is of another kind than expected: a value like {key}={expected}")
