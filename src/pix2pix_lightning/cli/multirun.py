"""Run the jobs of a sweep, each in a folder that is named after the values that differ."""

from __future__ import annotations

import math
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pix2pix_lightning.cli.conf import find_conf_dir
from pix2pix_lightning.cli.errors import format_error
from pix2pix_lightning.cli.overrides import HYDRA_QUIET, complete_job_config, quote_path, set_hydra_argv
from pix2pix_lightning.compat import parse_overrides
from pix2pix_lightning.utils.errors import CTRL_C_STATUS, Interrupted, UserError
from pix2pix_lightning.utils.processes import count_processes
from pix2pix_lightning.utils.saved_files import read_json
from pix2pix_lightning.utils.text import escape_controls

if TYPE_CHECKING:
    from omegaconf import DictConfig


_DIRECTIONS = {"min": "minimize", "max": "maximize", "lower": "minimize", "higher": "maximize"}
"""The sweeper's word for each mode of ``best.ckpt``, and for the better values of a metric."""
_SHOWS_ONE = ("--cfg", "-c", "--info", "-i")
"""Options of Hydra that show a configuration and run nothing."""


class _JobError(Exception):
    """A job failed in a launcher's process, which has printed the error."""


class _Refused(BaseException):
    """An error of the whole sweep; as a BaseException it ends Hydra's loop over the jobs."""


def find_sweep(words: list[str]) -> str | None:
    """Return the name that ``sweep=`` chooses, or None.

    Args:
        words: Overrides.

    Raises:
        UserError: Several sweeps are chosen.
    """
    values = [word.removeprefix("sweep=") for word in words if word.startswith("sweep=")]
    if not values or values[-1] in ("", "null"):
        return None
    if "," in values[-1]:
        raise UserError(f"sweep={values[-1]}: one sweep at a time is expected")
    return values[-1]


def run_multirun(config_name: str, run: Callable[[DictConfig], Any], flags: list[str], overrides: list[str]) -> None:
    """Run the jobs of a sweep; one that fails does not stop the others.

    Args:
        config_name: Name of the command.
        run: Function of a job's configuration.
        flags: Flags of the command line, without ``-m``.
        overrides: Overrides of the command line, with several values for a key that is swept.

    Raises:
        UserError: Jobs failed, and the error of each was printed; or the sweep itself is not possible.
        Interrupted: Ctrl-C.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig

    if shown := [flag for flag in flags if flag.partition("=")[0] in _SHOWS_ONE]:
        raise UserError(f"{shown[0]} shows one configuration, and a sweep has several: leave out sweep= and -m")
    words = [_quote_unless_swept(word) for word in overrides]
    failed: list[str] = []
    folders: list[str] = []
    process = os.getpid()

    @hydra.main(config_path=str(find_conf_dir()), config_name=config_name, version_base="1.3")
    def job(cfg: DictConfig) -> Any:
        hydra_cfg = HydraConfig.get()
        folders.append(hydra_cfg.sweep.dir)
        _check_sweep(words, hydra_cfg)
        try:
            cfg = complete_job_config(cfg, config_name, flags, hydra_cfg)
            _check_one_process(cfg)
            _set_run_dir(cfg, hydra_cfg)
            return _get_objective(cfg, run(cfg), hydra_cfg)
        except Exception as error:
            line = format_error(error, config_name, cfg)
            name = _format_job_name(hydra_cfg)
            print(f"error in {name}: {escape_controls(line)}" if line else traceback.format_exc(), file=sys.stderr)
            if os.getpid() != process:
                raise _JobError(_format_job_name(hydra_cfg)) from None
            failed.append(_format_job_name(hydra_cfg))
            return None

    again = "when the cause is fixed, the same command continues with these alone"
    with TemporaryDirectory() as scratch:
        folder = None if config_name == "train" else scratch  # for what Hydra writes itself
        options = [*HYDRA_QUIET, *_build_sweep_options(words, find_sweep(overrides), folder)]
        try:
            with set_hydra_argv(["--multirun", *flags, *words, *options]):
                job()
        except _JobError as error:
            raise UserError(f"jobs failed, {error} and perhaps others: {again}") from None
        except _Refused as refused:
            raise UserError(str(refused)) from None
        except (Interrupted, KeyboardInterrupt) as stop:
            status = stop.status if isinstance(stop, Interrupted) else CTRL_C_STATUS
            raise Interrupted("the same command continues the sweep", status) from None
    if failed:
        raise UserError(f"{len(failed)} jobs failed: {', '.join(failed)}; {again}")
    results = Path(folders[-1]) / "optimization_results.yaml" if folders else None
    if results is not None and results.is_file():
        print(f"{results}:\n{results.read_text()}")


def _get_objective(cfg: DictConfig, result: Any, hydra_cfg: Any) -> Any:
    """Return the metric that a search optimizes: by default the one that ``best.ckpt`` follows."""
    is_search = hydra_cfg.runtime.choices["hydra/sweeper"] != "basic"
    if "objective" not in cfg or not isinstance(result, Mapping) or not is_search:
        return None
    best = next((name for name in result if name.startswith("best/")), None)
    objective = best if cfg.objective == "auto" else cfg.objective
    if objective not in result:
        raise _Refused(
            f"objective={cfg.objective} is no metric of a run: one of {', '.join(sorted(result))} is expected"
        )
    direction = str(hydra_cfg.sweeper.get("direction")).rpartition(".")[2]
    needed = _DIRECTIONS.get(_find_better(cfg, str(objective), best))
    if needed and direction in _DIRECTIONS.values() and direction != needed:
        raise _Refused(
            f"hydra.sweeper.direction={direction} finds the worst {objective}: set hydra.sweeper.direction={needed}"
        )
    value = result[objective]
    if value is None or not math.isfinite(value):
        raise _Refused(f"objective={objective} is {value} here, and no trial can be compared with it: set another one")
    return value


def _find_better(cfg: DictConfig, metric: str, best: str | None) -> str:
    """Return which values of a metric are better, a key of ``_DIRECTIONS``, or another word where that is not known."""
    from omegaconf import OmegaConf

    if metric == best:
        return str(OmegaConf.select(cfg, "callbacks.best.mode"))
    summary = Path(cfg.run_dir) / "summary.json"
    described = read_json(summary).get("metric_info") if summary.is_file() else None
    return str(((described or {}).get(metric) or {}).get("direction"))


def _check_sweep(words: list[str], hydra_cfg: Any) -> None:
    """Refuse one value for a key that the sweep varies, and one folder for several jobs."""
    for key, values in (hydra_cfg.sweeper.get("params") or {}).items():
        if any(word.startswith(f"{key}=") and not _is_swept(word) for word in words):
            raise _Refused(
                f"sweep={hydra_cfg.runtime.choices['sweep']} varies {key}={values}: leave {key}= out, or give "
                "several values"
            )
    for word in words:
        key, _, value = word.partition("=")
        given = value.strip("'")
        if key == "run_dir":
            raise _Refused(
                f"run_dir={given} is one folder, and each job needs its own: leave it out; name= names the folder above"
            )
        if key == "resume" and value != "auto":
            raise _Refused(f"resume={given}: a sweep resumes its own jobs; leave it out")


def _check_one_process(cfg: DictConfig) -> None:
    """Refuse several processes: Lightning would start a job's others by the sweep's command, which runs all."""
    if "trainer" not in cfg:
        return
    asked = count_processes(cfg.trainer)
    if asked > 1:
        values = f"trainer.devices={cfg.trainer.devices} trainer.num_nodes={cfg.trainer.num_nodes}"
        raise _Refused(
            f"{values}: these are {asked} processes, and a job of a sweep is one: set trainer.devices=1 "
            "trainer.num_nodes=1, or give each job a command of its own"
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise _Refused("torchrun starts a sweep several times: leave it out, a sweep's job is one process")


def _is_swept(word: str) -> bool:
    return "," in word or re.search(r"=\s*(choice|range|glob|interval)\(", word) is not None


def _quote_unless_swept(word: str) -> str:
    is_path = Path(word.partition("=")[2]).expanduser().exists()
    return word if _is_swept(word) and not is_path else quote_path(word)


def _build_sweep_options(words: list[str], sweep: str | None, folder: str | None) -> list[str]:
    """Return Hydra's options for the folders: a job's is named after the keys that differ between the jobs.

    Args:
        words: Overrides.
        sweep: Name of the chosen sweep, or None.
        folder: Folder for what Hydra writes itself; None is the sweep's own.
    """
    overrides = parse_overrides(words)
    swept = [o.key_or_group for o in overrides if o.is_sweep_override()]
    same = [o.key_or_group for o in overrides if o.key_or_group not in swept]
    name = sweep or "_".join(re.split(r"[./@]", key)[-1] for key in swept) or "one"
    single = {o.key_or_group: o.value() for o in overrides if not (o.is_sweep_override() or o.is_delete())}
    folder = folder or f"runs/{single.get('name') or single.get('experiment') or 'default'}/sweep_{name}"
    return [
        f"hydra.job.config.override_dirname.exclude_keys={[str(key) for key in same]}".replace(" ", ""),
        f"hydra.sweep.dir={folder}",
        "hydra.sweep.subdir=.",
        "hydra.job.config.override_dirname.kv_sep=-",  # a folder's name that a command line can hold
        "hydra.job.config.override_dirname.item_sep=__",
    ]


def _set_run_dir(cfg: DictConfig, hydra_cfg: Any) -> None:
    """Give a job the folder of its name, and let it resume what is in it."""
    if "run_dir" in cfg and cfg.run_dir is None:
        cfg.run_dir = str(Path(hydra_cfg.sweep.dir) / _format_job_name(hydra_cfg))
        cfg.resume = cfg.resume or "auto"


def _format_job_name(hydra_cfg: Any) -> str:
    return re.sub(r"[^\w.-]+", "_", hydra_cfg.job.override_dirname) or "job"
