"""From a command line to a configuration and an exit status: what all the doors share."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pix2pix_lightning.config import PATHS, conf_dir, going_on, settle
from pix2pix_lightning.mistakes import mistake

if TYPE_CHECKING:
    from omegaconf import DictConfig

_MISTAKE, _UNREADABLE, _INTERRUPTED = 1, 2, 130
_QUIET = [
    "hydra.run.dir=.",
    "hydra.output_subdir=null",
    "hydra/job_logging=none",
    "hydra/hydra_logging=none",
]


class Interrupted(BaseException):
    """The user stopped a command; the message says how to go on."""


def open_door(config_name: str, run: Callable[[DictConfig], Any], argv: Sequence[str] | None = None) -> int:
    """Compose a configuration from a command line, run, and turn mistakes into one line.

    Args:
        config_name: A file of ``conf/``.
        run: Takes the configuration; for a multirun it is called once a job.
        argv: The command line without the program's name; by default the process's.

    Returns:
        The exit status: 0, 1 for a mistake, 2 for a command line that cannot be read, 130 after Ctrl-C.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        cfg = _composed(config_name, run, argv)
        if cfg is not None:
            run(cfg)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else _MISTAKE
    except (Interrupted, KeyboardInterrupt) as stop:
        print(f"stopped: {stop}" if str(stop) else "stopped", file=sys.stderr)
        return _INTERRUPTED
    except Exception as error:
        line = mistake(error, config_name)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        return _UNREADABLE if type(error).__name__ == "OverrideParseException" else _MISTAKE
    return 0


def _composed(config_name: str, run: Callable[[DictConfig], Any], argv: list[str]) -> DictConfig | None:
    """The configuration of a single run, or None where Hydra has done all there was to do.

    Raises:
        ValueError: Jobs of a sweep failed; what was wrong with each has been said.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig

    composed: list[DictConfig] = []
    failed: list[str] = []
    process = os.getpid()

    overrides = [word for word in argv if not word.startswith("-") and ("=" in word or word.startswith("~"))]
    flags = [word for word in argv if word not in overrides]
    sweep = _sweep_of(overrides)
    is_multirun = bool({"-m", "--multirun"} & set(flags)) or sweep is not None
    flags = [word for word in flags if word not in ("-m", "--multirun")]

    def settled(cfg: DictConfig, hydra_cfg: Any) -> DictConfig:
        words = list(hydra_cfg.overrides.task)
        _check_swept(overrides, hydra_cfg)
        _check_kinds(cfg, config_name, hydra_cfg)
        settle(cfg, hydra_cfg.runtime.choices, [*flags, *words])
        if is_multirun:
            _place_in_sweep(cfg, hydra_cfg)
        return going_on(cfg, words, hydra_cfg.runtime.choices)

    # A single run starts after Hydra has let go: Lightning's launcher of processes would else replay Hydra's job.
    @hydra.main(config_path=str(conf_dir()), config_name=config_name, version_base="1.3")
    def job(cfg: DictConfig) -> Any:
        hydra_cfg = HydraConfig.get()
        if not is_multirun:
            composed.append(settled(cfg, hydra_cfg))
            return None
        try:
            result = run(settled(cfg, hydra_cfg))
            return result.get(cfg.objective) if isinstance(result, Mapping) and "objective" in cfg else None
        except Exception as error:
            if os.getpid() != process:  # a launcher's, which tells this one
                raise
            line = mistake(error, config_name)
            print(f"error in {_named(hydra_cfg)}: {line}" if line else traceback.format_exc(), file=sys.stderr)
            failed.append(_named(hydra_cfg))
            return None

    if is_multirun:
        words = [
            "--multirun",
            *flags,
            *map(_quoted_unless_swept, overrides),
            *_QUIET,
            *_sweep_options(overrides, sweep),
        ]
    else:
        words = [*flags, *map(_quoted, overrides), *_QUIET]
    with _command_line(words):
        job()
    if failed:
        raise ValueError(f"{len(failed)} jobs failed: {', '.join(failed)}; the same command repeats these alone")
    return composed[0] if composed else None


def _sweep_of(words: list[str]) -> str | None:
    """The sweep that is chosen, whose jobs need Hydra's multirun."""
    values = [word.removeprefix("sweep=") for word in words if word.startswith("sweep=")]
    if not values or values[-1] in ("", "null"):
        return None
    if "," in values[-1]:
        raise ValueError(f"sweep={values[-1]}: one sweep at a time is expected")
    return values[-1]


@contextmanager
def _command_line(argv: list[str]) -> Iterator[None]:
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


def _quoted(word: str) -> str:
    """A path may hold what Hydra's grammar takes for its own: spaces, ``=``, commas, brackets."""
    key, _, value = word.partition("=")
    if key not in PATHS or not value or value in ("null", "auto") or value[0] in "'\"":
        return word
    escaped = str(Path(value).expanduser()).replace("'", "\\'")
    return f"{key}='{escaped}'"


def _check_swept(words: list[str], hydra_cfg: Any) -> None:
    """One value for a key would leave a sweep nothing to go through."""
    for key, values in (hydra_cfg.sweeper.get("params") or {}).items():
        if any(word.startswith(f"{key}=") and "," not in word for word in words):
            raise ValueError(
                f"sweep={hydra_cfg.runtime.choices['sweep']} goes through {key}={values}: leave {key}= out, or give "
                "several values"
            )


def _quoted_unless_swept(word: str) -> str:
    return word if "," in word or "(" in word else _quoted(word)


def _sweep_options(words: list[str], sweep: str | None) -> list[str]:
    """A job's folder is called by what differs between the jobs, so the keys that do not are left out of it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    overrides = OverridesParser.create().parse_overrides(words)
    swept = [o.key_or_group for o in overrides if o.is_sweep_override()]
    same = [o.key_or_group for o in overrides if o.key_or_group not in swept]
    name = sweep or "_".join(re.split(r"[./@]", key)[-1] for key in swept) or "one"
    choice = [o.value() for o in overrides if o.key_or_group in ("name", "experiment") and not o.is_sweep_override()]
    return [
        f"hydra.job.config.override_dirname.exclude_keys={[str(key) for key in same]}".replace(" ", ""),
        f"hydra.sweep.dir=runs/{choice[-1] if choice else 'default'}/sweep_{name}",
        "hydra.sweep.subdir=.",
        "hydra.job.config.override_dirname.kv_sep=-",  # a folder's name that a command line can hold
        "hydra.job.config.override_dirname.item_sep=__",
    ]


def _place_in_sweep(cfg: DictConfig, hydra_cfg: Any) -> None:
    """A job has its folder by its name, and goes on with what it finds there."""
    if "run_dir" in cfg and cfg.run_dir is None:
        cfg.run_dir = str(Path(hydra_cfg.sweep.dir) / _named(hydra_cfg))
        cfg.resume = cfg.resume or "auto"


def _named(hydra_cfg: Any) -> str:
    return re.sub(r"[^\w.-]+", "_", hydra_cfg.job.override_dirname) or "job"


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
        if not _is_kind(given, expected):
            raise ValueError(f"{key}={given} is of another kind than expected: a value like {key}={expected}")


def _is_kind(given: Any, expected: Any) -> bool:
    """A node can be switched off, and a name can look like anything; numbers and switches are only such."""
    from omegaconf import OmegaConf

    if OmegaConf.is_config(expected):
        if OmegaConf.is_list(expected):
            return OmegaConf.is_list(given) or isinstance(given, str)
        return given is None or OmegaConf.is_dict(given)
    if isinstance(expected, bool):
        return isinstance(given, bool)
    if isinstance(expected, int):
        return isinstance(given, int) and not isinstance(given, bool)
    if isinstance(expected, float):
        return isinstance(given, int | float) and not isinstance(given, bool)
    return True
