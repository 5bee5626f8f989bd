"""Build data, module, trainer and callbacks of a training from its configuration."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from pix2pix_lightning.checkpoints.files import LAST
from pix2pix_lightning.checkpoints.io import AtomicCheckpointIO, BackgroundCheckpointIO
from pix2pix_lightning.checkpoints.restore import check_same_pairs
from pix2pix_lightning.data.data_module import PairedDataModule
from pix2pix_lightning.training.callbacks.flush_metrics import FlushMetrics
from pix2pix_lightning.training.callbacks.keep_settings import KeepSettings
from pix2pix_lightning.training.callbacks.performance import Performance
from pix2pix_lightning.training.callbacks.repeat_validation import RepeatValidation
from pix2pix_lightning.training.callbacks.save_by_time import SaveByTime
from pix2pix_lightning.training.callbacks.save_moments import SaveMoments
from pix2pix_lightning.training.callbacks.skip_stale_best import SkipStaleBest
from pix2pix_lightning.training.callbacks.watch_numbers import WatchNumbers
from pix2pix_lightning.training.config_checks import (
    check_built_module,
    check_monitors,
    check_without_validation,
    name_key,
)
from pix2pix_lightning.training.ddp import NAME as DDP_PER_NETWORK
from pix2pix_lightning.training.ddp import uses_plain_ddp
from pix2pix_lightning.training.init_weights import load_initial_weights
from pix2pix_lightning.training.loggers import FaultTolerantLogger, MetricsCSV, warn_left_out
from pix2pix_lightning.training.monitor_choice import resolve_monitor
from pix2pix_lightning.training.performance_choice import Choice, choose_compile, choose_options, computes_float
from pix2pix_lightning.training.side_choice import keep_sides, restore_saved_sides
from pix2pix_lightning.utils.allocator import keep_memory
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.instantiate import TARGET, build, locate

_log = logging.getLogger(__name__)


class Training(NamedTuple):
    """What a training consists of.

    Attributes:
        data: The data module, set up for training.
        module: The module.
        trainer: The trainer, with callbacks and loggers.
        callbacks: Callbacks by their name in the configuration.
        choices: What ``speed=auto`` stands for on this machine.
    """

    data: LightningDataModule
    module: LightningModule
    trainer: Trainer
    callbacks: dict[str, Callback]
    choices: list[Choice]


def build_training(cfg: DictConfig, saved: Path | None = None, checkpoint: Path | None = None) -> Training:
    """Build everything that a training needs. Nothing is written.

    Args:
        cfg: Configuration of the training, with ``run_dir`` set. What ``speed``, ``saving.monitor``, ``data.a`` and
            ``data.b`` leave to ``auto`` is filled in.
        saved: The ``config.yaml`` of the run that is resumed. Its values of ``speed`` are kept.
        checkpoint: The checkpoint that is resumed. What its images mean is compared before the files are looked at.

    Returns:
        The parts, ready for ``trainer.fit``.

    Raises:
        UserError: A setting is out of range, or contradicts another.
    """
    resolve_monitor(cfg)
    choices = choose_options(cfg, saved)
    restore_saved_sides(cfg, saved)
    data = instantiate(cfg.data, _convert_="all")
    keep_sides(cfg, data)
    if checkpoint is not None and isinstance(data, PairedDataModule):
        check_same_pairs(data.pair_spec, checkpoint)
    data.setup("fit")
    choices += choose_compile(cfg, data)
    seed_everything(cfg.seed, workers=True, verbose=False)
    with name_key("module", cfg.module):
        module = instantiate(cfg.module, pair_spec=data.pair_spec.to_dict())
        check_built_module(module, data.pair_spec)
    if cfg.get("init_from") and saved is None:
        files = cfg.init_from if isinstance(cfg.init_from, str) else list(cfg.init_from)
        load_initial_weights(module, files, weights=cfg.get("init_weights", "trained"))
    if not keep_memory(cfg.speed.keep_memory) and cfg.speed.keep_memory:
        _log.warning("speed.keep_memory=true has no effect here: it is for Linux with glibc")
    if cfg.speed.get("winograd_convolutions") is True and not computes_float(cfg.trainer):
        _log.warning("speed.winograd_convolutions=true has no effect here: it is for float32 and float64 on a CPU")
    callbacks = _build_callbacks(cfg.get("callbacks") or {})
    if cfg.trainer.get("limit_val_batches") == 0:
        check_without_validation(callbacks)
    else:
        check_monitors(callbacks, module)
    settings: Any = OmegaConf.to_container(cfg.trainer, resolve=True)
    saving = cfg.get("saving") or {}
    own = [Performance(cfg.speed), FlushMetrics(), KeepSettings(), RepeatValidation(), SkipStaleBest()]
    own.append(SaveMoments(saving.get("moments", "exact")))
    # first: what a batch that is left out has changed is restored before others look
    settings["callbacks"] = [*own, *sorted(callbacks.values(), key=lambda one: not isinstance(one, WatchNumbers))]
    settings["logger"] = _build_loggers(cfg.get("logger") or {})
    # null is the current folder, where under Slurm Lightning starts from a checkpoint that it finds
    if cfg.run_dir and not settings.get("default_root_dir"):
        settings["default_root_dir"] = str(cfg.run_dir)
    for key, kind in (("enable_checkpointing", Checkpoint), ("enable_progress_bar", ProgressBar)):
        # Lightning adds one of its own where none is configured
        settings.setdefault(key, any(isinstance(callback, kind) for callback in callbacks.values()))
    minutes = saving.get("every_minutes")
    if minutes is not None and settings["enable_checkpointing"] and cfg.run_dir:
        settings["callbacks"].append(SaveByTime(Path(cfg.run_dir, LAST), minutes))
    trainer = _build_trainer(settings)
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # not one that a strategy or a plugin brings
        in_background = cfg.speed.async_checkpoints
        trainer.strategy.checkpoint_io = (
            BackgroundCheckpointIO(trainer.state) if in_background else AtomicCheckpointIO()
        )
    return Training(data, module, trainer, callbacks, choices)


def _build_callbacks(nodes: Mapping[Any, Any]) -> dict[str, Callback]:
    callbacks: dict[str, Callback] = {}
    for name, node in nodes.items():
        if node is not None:
            with name_key(f"callbacks.{name}", node, always=True):
                callbacks[str(name)] = instantiate(node)
    return callbacks


def _build_trainer(settings: Mapping[str, Any]) -> Trainer:
    trainer = _create_trainer(settings)
    if uses_plain_ddp(trainer, settings.get("strategy", "auto")):
        trainer = _create_trainer({**settings, "strategy": DDP_PER_NETWORK})
    on_cpu = trainer.strategy.root_device.type == "cpu"
    if on_cpu and trainer.num_devices > 1 and settings.get("accelerator") == "auto":
        raise UserError(
            f"trainer.devices={trainer.num_devices}: {_describe_devices()}: set trainer.devices=1, or "
            f"trainer.accelerator=cpu for {trainer.num_devices} processes that share the CPU"
        )
    return trainer


def _create_trainer(settings: Mapping[str, Any]) -> Trainer:
    try:
        trainer: Trainer = build({"_target_": "lightning.pytorch.Trainer", **settings})
    except (TypeError, ValueError) as error:
        is_precision = re.search(r"[Pp]recision", str(error).partition("; it takes")[0])
        key = f"trainer.precision={settings.get('precision')}" if is_precision else "trainer"
        raise UserError(f"{key}: {error}") from None
    except (MisconfigurationException, ImportError) as error:
        is_setting = isinstance(error, MisconfigurationException)
        if is_setting and not re.search(r"(?i)accelerator|device|strategy|gpu|tpu|num_nodes", str(error)):
            raise UserError(f"trainer: {error}") from None
        asked = " ".join(f"trainer.{key}={settings.get(key)}" for key in ("accelerator", "devices"))
        raise UserError(f"{asked}: {error} {_describe_devices()}: set trainer.accelerator=auto") from None
    return trainer


def _describe_devices() -> str:
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return f"torch {torch.__version__} finds {', '.join(gpus) or 'no GPU'} here"


def _build_loggers(nodes: Mapping[Any, Any]) -> list[Logger]:
    """Build the loggers. All but ``metrics.csv``, the run's own record, are left out when they fail."""
    loggers: list[Logger] = []
    for key, node in nodes.items():
        if node is None:
            continue
        locate(node[TARGET])  # an unknown name is an error, a missing package is not
        try:
            logger = instantiate(node)
        except InstantiationException as error:
            if not isinstance(error.__cause__, ImportError):
                raise
            warn_left_out(str(key), error.__cause__)
            continue
        loggers.append(logger if isinstance(logger, MetricsCSV) else FaultTolerantLogger(logger, str(key)))
    return loggers
