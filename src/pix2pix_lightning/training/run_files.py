"""Files of a run: ``config.yaml``, ``train.log`` and ``summary.json``."""

from __future__ import annotations

import json
import math
import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig, OmegaConf

from pix2pix_lightning.training.run_logging import log_to_file
from pix2pix_lightning.training.validation_values import collect_validation_values
from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.csv_file import read_metrics
from pix2pix_lightning.utils.json_text import format_json
from pix2pix_lightning.utils.saved_files import build_damaged_error, read_json

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

CONFIG_FILE, SUMMARY_FILE, LOG_FILE = "config.yaml", "summary.json", "train.log"

_PLACEHOLDER = "RUN-DIR-PLACEHOLDER"


@contextmanager
def open_run(folder: Path, cfg: DictConfig, trainer: Trainer) -> Iterator[None]:
    """Write ``config.yaml``, log to ``train.log`` inside, and give the configuration to the loggers.

    Only the first process writes. A resumed run keeps its ``config.yaml`` and ``summary.json`` until training starts,
    since errors in the settings are found until then.

    Args:
        folder: Folder of the run.
        cfg: Configuration of the training. It is written resolved, with the values that stand for ``auto``.
        trainer: The trainer that was built from it.
    """
    if not trainer.is_global_zero:
        yield
        return
    from lightning.pytorch.callbacks import LambdaCallback

    text = format_config(cfg, trainer)

    def write_config(*args: object) -> None:
        with atomic_write(folder / CONFIG_FILE) as scratch:
            scratch.write_text(text)
        (folder / SUMMARY_FILE).unlink(missing_ok=True)  # it marks a finished run

    folder.mkdir(parents=True, exist_ok=True)
    if (folder / CONFIG_FILE).exists():
        trainer.callbacks.append(LambdaCallback(on_train_start=write_config))  # type: ignore[attr-defined]
    else:
        write_config()
    with log_to_file(folder / LOG_FILE):
        for logger in trainer.loggers:
            logger.log_hyperparams(OmegaConf.to_container(OmegaConf.create(text), resolve=True))  # type: ignore[arg-type]
        yield


def format_config(cfg: DictConfig, trainer: Trainer) -> str:
    """Format a configuration as YAML that repeats the run, from another folder and on another machine too.

    Interpolations are resolved, except those of ``run_dir``.

    Args:
        cfg: Configuration of a training.
        trainer: The trainer that was built from it; it tells what ``auto`` stands for.

    Returns:
        The YAML text.
    """
    movable = cfg.copy()
    movable.run_dir = _PLACEHOLDER
    detected = {
        "accelerator": trainer.strategy.root_device.type,
        "devices": trainer.num_devices,
        "strategy": "auto" if trainer.world_size == 1 else "ddp_per_network",
    }
    for key, value in detected.items():
        if movable.trainer.get(key) == "auto":
            movable.trainer[key] = value
    text = OmegaConf.to_yaml(movable, resolve=True)
    # only the run's own key, not one of that name in a group
    text = re.sub(rf"(?m)^run_dir: {_PLACEHOLDER}$", lambda _: f"run_dir: {json.dumps(cfg.run_dir)}", text)
    return text.replace(_PLACEHOLDER, "${run_dir}")


def collect_metrics(trainer: Trainer, best: Any = None) -> dict[str, float]:
    """Collect the metrics of a finished training.

    Args:
        trainer: The trainer that has trained.
        best: The ``ModelCheckpoint`` that keeps the best checkpoint, if there is one.

    Returns:
        The last epoch's metrics by name and, with a best checkpoint, ``best/<name>``, the value that it monitors.
    """
    progress = ("step", "epoch")  # which the module logs for the rows of metrics.csv
    measured = collect_validation_values(trainer)
    recorded = _read_last_metrics(trainer)  # a run that was stopped after its last batch has logged nothing since
    if measured:  # a judge's value of an earlier epoch is none of the last one
        recorded = {name: value for name, value in recorded.items() if not name.startswith("val/")}
    values = trainer.callback_metrics.items()
    present = {name: float(value) for name, value in values if name not in progress and not name.startswith("val/")}
    present |= measured
    rates = {name: value for name, value in recorded.items() if name.startswith("train/lr_")}  # not as float32
    metrics = recorded | present | rates
    score = getattr(best, "best_model_score", None)
    if score is not None:
        metrics[f"best/{best.monitor.removeprefix('val/')}"] = float(score)
    return metrics


def _read_last_metrics(trainer: Trainer) -> dict[str, float]:
    """Return the last value of each column of ``metrics.csv``, if the training has one."""
    from pix2pix_lightning.training.loggers import MetricsCSV

    last: dict[str, float] = {}
    for logger in trainer.loggers:
        if isinstance(logger, MetricsCSV):
            for row in read_metrics(logger.path):
                last |= {name: value for name, value in row.items() if name not in ("step", "epoch")}
    return last


def write_summary(
    folder: Path,
    metrics: Mapping[str, float],
    *,
    trainer: Trainer,
    module: LightningModule,
    callbacks: Mapping[str, Any],
) -> None:
    """Write ``summary.json``, which marks a finished run. Null stands for a metric that is not finite.

    Args:
        folder: Folder of the run.
        metrics: Metrics by name, as `collect_metrics` returns them.
        trainer: The trainer that has trained.
        module: The module that was trained. Its ``val_metrics`` are described.
        callbacks: Callbacks by their name in the configuration. ``journal`` adds epochs, speed and device, a
            ``Judge`` its metrics.
    """
    from pix2pix_lightning.metrics import describe_metrics
    from pix2pix_lightning.training.callbacks.judge import Judge

    facts = callbacks["journal"].summarize(trainer) if "journal" in callbacks else {}
    described = describe_metrics(cast(Any, module).val_metrics.collection)
    for judge in callbacks.values():
        described |= judge.describe() if isinstance(judge, Judge) else {}
    summary = {
        "metrics": dict(metrics),
        "metric_info": described,
        **facts,
        "versions": collect_versions(),
    }
    with atomic_write(folder / SUMMARY_FILE) as scratch:
        scratch.write_text(format_json(summary))


def read_summary_metrics(folder: Path) -> dict[str, float]:
    """Read the metrics of a finished run from its ``summary.json``; raise a UserError if the file is damaged."""
    metrics = read_json(folder / SUMMARY_FILE).get("metrics")
    if not isinstance(metrics, dict) or not all(isinstance(x, int | float | None) for x in metrics.values()):
        raise build_damaged_error(folder / SUMMARY_FILE, "its metrics are not numbers by name")
    return {name: math.nan if value is None else float(value) for name, value in metrics.items()}


def collect_versions() -> dict[str, str]:
    """Collect the versions of what has trained a run."""
    import lightning
    import torch

    from pix2pix_lightning.utils.version import __version__

    return {
        "pix2pix_lightning": __version__,
        "torch": torch.__version__,
        "lightning": lightning.__version__,
        "python": platform.python_version(),
    }
