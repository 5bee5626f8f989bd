"""The jobs of a sweep, each in a folder that is called by what sets it apart."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pix2pix_lightning.cli.conf import conf_dir
from pix2pix_lightning.cli.errors import user_message
from pix2pix_lightning.cli.overrides import HYDRA_QUIET, complete_job_config, quote_path, set_hydra_argv
from pix2pix_lightning.utils.errors import Interrupted
from pix2pix_lightning.utils.processes import count_processes

if TYPE_CHECKING:
    from omegaconf import DictConfig


class _JobError(Exception):
    """What a launcher's process tells the one that it works for; what was wrong has been said."""


class _Refused(BaseException):
    """A mistake that is not one job's but the whole sweep's; it ends Hydra's loop over the jobs."""


def find_sweep(words: list[str]) -> str | None:
    """The sweep that is chosen, whose jobs need Hydra's multirun."""
    values = [word.removeprefix("sweep=") for word in words if word.startswith("sweep=")]
    if not values or values[-1] in ("", "null"):
        return None
    if "," in values[-1]:
        raise ValueError(f"sweep={values[-1]}: one sweep at a time is expected")
    return values[-1]


def run_multirun(config_name: str, run: Callable[[DictConfig], Any], flags: list[str], overrides: list[str]) -> None:
    """Run the jobs of a sweep, each whatever becomes of the others.

    Args:
        config_name: Of the door.
        run: Takes a job's configuration.
        flags: Of the command line.
        overrides: Likewise.

    Raises:
        ValueError: Jobs failed, and what was wrong with each has been said; or the sweep itself is a mistake.
        Interrupted: Ctrl-C.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig

    words = [_quoted_unless_swept(word) for word in overrides]
    failed: list[str] = []
    folders: list[str] = []
    process = os.getpid()

    @hydra.main(config_path=str(conf_dir()), config_name=config_name, version_base="1.3")
    def job(cfg: DictConfig) -> Any:
        hydra_cfg = HydraConfig.get()
        folders.append(hydra_cfg.sweep.dir)
        _check_swept(words, hydra_cfg)
        try:
            cfg = complete_job_config(cfg, config_name, flags, hydra_cfg)
            _check_one_process(cfg)
            _place_in_sweep(cfg, hydra_cfg)
            return _objective(cfg, run(cfg), hydra_cfg)
        except Exception as error:
            line = user_message(error, config_name)
            print(f"error in {_named(hydra_cfg)}: {line}" if line else traceback.format_exc(), file=sys.stderr)
            if os.getpid() != process:
                raise _JobError(_named(hydra_cfg)) from None
            failed.append(_named(hydra_cfg))
            return None

    again = "where the cause is mended, the same command goes on with these alone"
    with TemporaryDirectory() as scratch:
        folder = None if config_name == "train" else scratch  # for what Hydra writes itself
        options = [*HYDRA_QUIET, *_sweep_options(words, find_sweep(overrides), folder)]
        try:
            with set_hydra_argv(["--multirun", *flags, *words, *options]):
                job()
        except _JobError as error:
            raise ValueError(f"jobs failed, {error} and perhaps others: {again}") from None
        except _Refused as refused:
            raise ValueError(str(refused)) from None
        except (Interrupted, KeyboardInterrupt):
            raise Interrupted("the same command goes on with the sweep") from None
    if failed:
        raise ValueError(f"{len(failed)} jobs failed: {', '.join(failed)}; {again}")
    found = Path(folders[-1]) / "optimization_results.yaml" if folders else None
    if found is not None and found.is_file():
        print(f"{found}:\n{found.read_text()}")


def _objective(cfg: DictConfig, result: Any, hydra_cfg: Any) -> Any:
    """What a search looks at."""
    if "objective" not in cfg or not isinstance(result, Mapping):
        return None
    if cfg.objective not in result and hydra_cfg.runtime.choices["hydra/sweeper"] != "basic":
        raise _Refused(
            f"objective={cfg.objective} is no metric of a run: one of {', '.join(sorted(result))} is expected"
        )
    return result.get(cfg.objective)


def _check_swept(words: list[str], hydra_cfg: Any) -> None:
    """One value for a key would leave a sweep nothing to go through, and one folder is not enough for its jobs."""
    for key, values in (hydra_cfg.sweeper.get("params") or {}).items():
        if any(word.startswith(f"{key}=") and not _is_swept(word) for word in words):
            raise _Refused(
                f"sweep={hydra_cfg.runtime.choices['sweep']} goes through {key}={values}: leave {key}= out, or give "
                "several values"
            )
    for word in words:
        key, _, value = word.partition("=")
        named = value.strip("'")
        if key == "run_dir":
            raise _Refused(
                f"run_dir={named} is one folder, and each job needs its own: leave it out; name= is of the folder above"
            )
        if key == "resume" and value != "auto":
            raise _Refused(f"resume={named}: a sweep goes on with its own jobs; leave it out")


def _check_one_process(cfg: DictConfig) -> None:
    """Lightning would start a job's other processes by the sweep's command, and each would run the whole sweep."""
    if "trainer" not in cfg:
        return
    asked = count_processes(cfg.trainer)
    if asked > 1:
        values = f"trainer.devices={cfg.trainer.devices} trainer.num_nodes={cfg.trainer.num_nodes}"
        raise _Refused(
            f"{values}: these are {asked} processes, and a job of a sweep is one: say trainer.devices=1 "
            "trainer.num_nodes=1, or give each job a command of its own"
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise _Refused("torchrun starts a sweep several times: leave it out, a sweep's job is one process")


def _is_swept(word: str) -> bool:
    return "," in word or re.search(r"=\s*(choice|range|glob|interval)\(", word) is not None


def _quoted_unless_swept(word: str) -> str:
    is_path = Path(word.partition("=")[2]).expanduser().exists()
    return word if _is_swept(word) and not is_path else quote_path(word)


def _sweep_options(words: list[str], sweep: str | None, folder: str | None) -> list[str]:
    """A job's folder is called by what differs between the jobs, so the keys that do not are left out of it.

    Args:
        words: Overrides.
        sweep: That is chosen.
        folder: What Hydra writes itself goes here; None is the sweep's own.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    overrides = OverridesParser.create().parse_overrides(words)
    swept = [o.key_or_group for o in overrides if o.is_sweep_override()]
    same = [o.key_or_group for o in overrides if o.key_or_group not in swept]
    name = sweep or "_".join(re.split(r"[./@]", key)[-1] for key in swept) or "one"
    choice = [o.value() for o in overrides if o.key_or_group in ("name", "experiment") and not o.is_sweep_override()]
    folder = folder or f"runs/{choice[-1] if choice else 'default'}/sweep_{name}"
    return [
        f"hydra.job.config.override_dirname.exclude_keys={[str(key) for key in same]}".replace(" ", ""),
        f"hydra.sweep.dir={folder}",
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
