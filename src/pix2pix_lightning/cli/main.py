"""Run a command: from its command line to a configuration and an exit status."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pix2pix_lightning.cli.choices import choose_by_keys
from pix2pix_lightning.cli.conf import find_conf_dir
from pix2pix_lightning.cli.errors import format_error
from pix2pix_lightning.cli.help import compose_values, format_help
from pix2pix_lightning.cli.multirun import find_sweep, run_multirun
from pix2pix_lightning.cli.overrides import (
    HYDRA_QUIET,
    check_group_names,
    complete_job_config,
    quote_path,
    set_hydra_argv,
)
from pix2pix_lightning.cli.resume import load_resumed_config
from pix2pix_lightning.cli.words import UsageError, check_words, find_help_topic, find_option, iterate_overrides
from pix2pix_lightning.utils.errors import CTRL_C_STATUS, Interrupted
from pix2pix_lightning.utils.imports import pause_gc
from pix2pix_lightning.utils.processes import is_first_process
from pix2pix_lightning.utils.text import EscapedFormatter, escape_controls, print_escaped
from pix2pix_lightning.utils.version import __version__

if TYPE_CHECKING:
    from omegaconf import DictConfig

_USER_ERROR, _UNREADABLE = 1, 2
_LIBRARIES = "lightning.pytorch"  # with torch and torchmetrics
_LIGHT = ("download", "prepare")  # commands that do without


def run_command(config_name: str, run: Callable[[DictConfig], Any], argv: Sequence[str] | None = None) -> int:
    """Compose the configuration of a command line, run it, and print a user's error as one line.

    Args:
        config_name: Name of the command, which is that of a file in ``conf/``.
        run: Function of the configuration; in a multirun it is called once for each job.
        argv: Words of the command line after the command; default those of the process.

    Returns:
        The exit status: 0, 1 for a user's error, 2 for a command line that cannot be read, 130 after Ctrl-C, 75 for a
        training that another signal has stopped and that can be resumed.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if logging.lastResort is not None:  # which shows the warnings of commands that set up no log
        logging.lastResort.setFormatter(EscapedFormatter())
    if "--version" in argv:
        print(f"pix2pix_lightning {__version__}")
        return 0
    cfg: DictConfig | None = None
    try:
        cfg = _compose_or_multirun(config_name, run, argv)
        if cfg is not None:
            _import_libraries(config_name)
            run(cfg)
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print_escaped(stop.code, file=sys.stderr)
        return stop.code if isinstance(stop.code, int) else _USER_ERROR if stop.code else 0
    except (Interrupted, KeyboardInterrupt) as stop:
        print_escaped(f"stopped: {stop}" if str(stop) else "stopped", file=sys.stderr)
        return stop.status if isinstance(stop, Interrupted) else CTRL_C_STATUS
    except Exception as error:
        line = format_error(error, config_name, cfg)
        if line is None:
            raise
        print(f"error: {escape_controls(line)}", file=sys.stderr)
        is_unreadable = isinstance(error, UsageError) or type(error).__name__ == "OverrideParseException"
        return _UNREADABLE if is_unreadable else _USER_ERROR
    return 0


def _import_libraries(config_name: str) -> None:
    """Import what a command needs in any case."""
    if config_name not in _LIGHT and _LIBRARIES not in sys.modules:
        with pause_gc():
            import_module(_LIBRARIES)


def _compose_or_multirun(config_name: str, run: Callable[[DictConfig], Any], argv: list[str]) -> DictConfig | None:
    """Return the configuration of a single run, or run all jobs of a sweep and return None."""
    check_words(argv, config_name)
    overrides = list(iterate_overrides(argv))
    config_dir = find_option("--config-dir", argv)
    if {"-h", "--help"} & {word.partition("=")[0] for word in argv}:
        composed = compose_values(config_name, [quote_path(word) for word in overrides], config_dir)
        _print_help(format_help(config_name, find_help_topic(argv), composed=composed, config_dir=config_dir))
        return None
    flags = [word for word in argv if word not in overrides]
    check_group_names(overrides)
    is_single = find_sweep(overrides) is None and not {"-m", "--multirun"} & set(flags)
    words = [quote_path(word) for word in overrides]
    if is_single and not flags and (cfg := load_resumed_config(words, config_name)) is not None:
        return cfg
    has_own_file = any(find_option(name, argv) for name in ("--config-name", "--config-path"))
    chosen = [] if has_own_file else _choose_groups(overrides, config_name, config_dir)
    if is_single:
        return _compose_single(config_name, flags, [*chosen, *words])
    flags = [word for word in flags if word not in ("-m", "--multirun")]
    run_multirun(config_name, run, flags, [*chosen, *overrides])
    return None


def _print_help(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # a pager was left; Python would flush once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _choose_groups(overrides: Sequence[str], config_name: str, config_dir: str | None) -> list[str]:
    """Return the choices that given keys ask for, and say them."""
    chosen = choose_by_keys(overrides, config_name, config_dir)
    for choice, key in chosen.items() if is_first_process() else ():
        print_escaped(f"{choice} is chosen, since {key} is given", file=sys.stderr)
    return list(chosen)


def _compose_single(config_name: str, flags: list[str], words: list[str]) -> DictConfig | None:
    import hydra
    from hydra.core.hydra_config import HydraConfig

    composed: list[DictConfig] = []
    errors: list[Exception] = []

    # A single run starts after Hydra has returned: Lightning's launcher of processes would replay Hydra's job.
    @hydra.main(config_path=str(find_conf_dir()), config_name=config_name, version_base="1.3")
    def job(cfg: DictConfig) -> None:
        try:
            composed.append(complete_job_config(cfg, config_name, flags, HydraConfig.get()))
        except Exception as error:  # Hydra would print words of its own
            errors.append(error)

    with set_hydra_argv([*words, *HYDRA_QUIET, *flags]):  # --info takes a word that follows
        job()
    if errors:
        raise errors[0]
    return composed[0] if composed else None  # None after --cfg and the like
