"""The words of a command line as Hydra reads them, and the configuration that they give."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pix2pix_lightning.cli.choices import complete_choices, find_conf_dirs, list_choices
from pix2pix_lightning.cli.conf import PATH_KEYS, complete_config, compose_files, is_group, quote
from pix2pix_lightning.cli.presets import check_choices, drop_replaced_keys, warn_without_effect
from pix2pix_lightning.cli.resume import check_same_as_resumed, check_type
from pix2pix_lightning.cli.words import find_option
from pix2pix_lightning.compat import parse_overrides
from pix2pix_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

HYDRA_QUIET = (
    "hydra.run.dir=.",
    "hydra.output_subdir=null",
    "hydra/job_logging=none",
    "hydra/hydra_logging=none",
)
"""Overrides that keep Hydra from writing folders, files and logs of its own."""


@contextmanager
def set_hydra_argv(argv: list[str]) -> Iterator[None]:
    """Give Hydra a command line for a block, and let it raise errors instead of printing them.

    Hydra reads ``sys.argv``, and hands exceptions on only when the environment says so.

    Args:
        argv: Words of the command line, without the program's name.
    """
    before, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [before[0], *argv]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        sys.argv = before
        if full is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full


def quote_path(word: str) -> str:
    """Quote the value of a path's key: a path may hold spaces, ``=``, commas and brackets, which are Hydra's grammar.

    Args:
        word: An override. Words of other keys, ``null``, ``auto`` and quoted values are returned as they are.

    Returns:
        The override, with each path in single quotes and ``~`` expanded.
    """
    key, _, value = word.partition("=")
    if key not in PATH_KEYS or not value or value in ("null", "auto") or value[0] in "'\"":
        return word
    if value.startswith("[") and value.endswith("]") and not Path(value).exists():
        return f"{key}=[{','.join(_expand(item.strip()) for item in value[1:-1].split(',') if item.strip())}]"
    return f"{key}={_expand(value)}"


def _expand(path: str) -> str:
    return quote(path if "://" in path else str(Path(path).expanduser()))


def check_group_names(words: list[str]) -> None:
    """Refuse a group that is set to or left out by anything but names, for which Hydra has no clear message.

    That is null, a number or a dict, also in a list; of the values of a sweep null alone.

    Raises:
        UserError: A word does so.
    """
    for word in words:
        group, equals, _ = word.partition("=")
        group = group.lstrip("+~").partition("@")[0]
        if not is_group(group) or (word.startswith("~") and not equals):
            continue
        (override,) = parse_overrides([word])
        if override.is_sweep_override():
            if "null" in word.partition("=")[2].split(","):
                raise UserError(f"{word}: a group is chosen by names, of which null is none: {_list_names(group)}")
            continue
        value = override.value()
        if isinstance(value, list) and not all(isinstance(name, str) for name in value):
            raise UserError(f"{word}: a group is chosen by names: {_list_names(group)}")
        if not isinstance(value, str | list):
            raise UserError(f"{word}: a group is chosen by a name; leave {group}= out for the default")


def _list_names(group: str) -> str:
    return f"there are {', '.join(list_choices(group, find_conf_dirs()))}"


def complete_job_config(cfg: DictConfig, config_name: str, flags: list[str], hydra_cfg: Any) -> DictConfig:
    """Check and complete what Hydra has composed, in place.

    Args:
        cfg: The configuration of the job.
        config_name: Name of the command.
        flags: Flags of the command line, for the command that repeats the run.
        hydra_cfg: Hydra's own configuration of the job.

    Returns:
        ``cfg``.

    Raises:
        UserError: A value has another type than expected, choices exclude each other, or the run that is to be
            resumed is another one.
    """
    import hydra

    def compose_groups(groups: list[str]) -> DictConfig:
        # with flags, such as --config-dir, by the Hydra of this job, which has read them
        return hydra.compose(config_name, groups) if flags else compose_files(config_name, groups)[0]

    words = list(hydra_cfg.overrides.task)
    config_dir = find_option("--config-dir", flags)
    choices = complete_choices(hydra_cfg.runtime.choices, words, config_dir)
    check_choices(choices, words, config_dir)
    check_types(cfg, words, choices, compose_groups)
    drop_replaced_keys(cfg, choices, words, config_name, config_dir)
    complete_config(cfg, hydra_cfg.runtime.choices, [*flags, *words])
    warn_without_effect(cfg, choices, words, config_dir)
    check_same_as_resumed(cfg, words)
    return cfg


def check_types(
    cfg: DictConfig, words: Sequence[str], groups: Collection[str], compose_groups: Callable[[list[str]], DictConfig]
) -> None:
    """Compare the type of each given value with that of the value in the files.

    Args:
        cfg: The configuration that was composed from ``words``.
        words: Overrides in Hydra's grammar.
        groups: Names of the groups of ``cfg``.
        compose_groups: Composes the configuration of the words that choose groups, without those of single keys.

    Raises:
        UserError: A value has another type than expected.
    """
    from omegaconf import OmegaConf

    parsed = parse_overrides(words)
    chosen = [o for o in parsed if o.key_or_group in groups or f"{o.key_or_group}@{o.package}" in groups]
    keys = {o.key_or_group for o in parsed if o not in chosen and not o.is_delete()} - set(PATH_KEYS)
    if not keys:
        return
    defaults = compose_groups([o.input_line for o in chosen if o.input_line])
    for key in keys:
        expected = OmegaConf.select(defaults, key, throw_on_resolution_failure=False)
        given = OmegaConf.select(cfg, key, throw_on_resolution_failure=False)
        check_type(key, given, expected)
