"""Data, module, trainer and callbacks of a training, made from its configuration."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from pix2pix_lightning.checkpoints.io import BackgroundCheckpointIO, WholeCheckpointIO
from pix2pix_lightning.training.callbacks.performance import Performance
from pix2pix_lightning.training.ddp import NAME as DDP_PER_NETWORK
from pix2pix_lightning.training.ddp import uses_plain_ddp
from pix2pix_lightning.training.init_weights import begin_with
from pix2pix_lightning.training.loggers import FaultTolerantLogger, MetricsCSV, say_left_out
from pix2pix_lightning.training.performance import keep_memory
from pix2pix_lightning.training.performance_choice import Choice, choose, choose_compile
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.instantiate import TARGET, build, locate

_log = logging.getLogger(__name__)


class Training(NamedTuple):
    """What is trained, on what, by what; callbacks by their name in the configuration; what ``speed=auto`` came to."""

    data: LightningDataModule
    module: LightningModule
    trainer: Trainer
    callbacks: dict[str, Callback]
    chosen: list[Choice]


def assemble(cfg: DictConfig, saved: Path | None = None) -> Training:
    """Build everything that a training needs; nothing is written yet.

    Args:
        cfg: Of the training, with ``run_dir`` set; what ``speed`` leaves to ``auto`` is filled in.

        saved: The ``config.yaml`` of the run that is resumed, whose choices stay.

    Raises:
        ValueError: A setting is out of range, or does not go with another.
    """
    chosen = choose(cfg, saved)
    data = instantiate(cfg.data, _convert_="all")
    data.setup("fit")
    chosen += choose_compile(cfg, data)
    seed_everything(cfg.seed, workers=True, verbose=False)
    module = instantiate(cfg.module, pair_spec=data.pair_spec.to_dict())
    if cfg.get("init_from") and saved is None:
        begin_with(module, cfg.init_from if isinstance(cfg.init_from, str) else list(cfg.init_from))
    if not keep_memory(cfg.speed.keep_memory) and cfg.speed.keep_memory:
        _log.warning("speed.keep_memory=true does nothing here: it is for Linux with glibc")
    callbacks = {name: instantiate(node) for name, node in (cfg.get("callbacks") or {}).items() if node is not None}
    settings: Any = OmegaConf.to_container(cfg.trainer, resolve=True)
    settings["callbacks"] = [Performance(cfg.speed), *callbacks.values()]
    settings["logger"] = _loggers(cfg.get("logger") or {})
    trainer = _trainer(settings)
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # unless a strategy or a plugin has its own
        in_background = cfg.speed.async_checkpoints
        trainer.strategy.checkpoint_io = BackgroundCheckpointIO(trainer.state) if in_background else WholeCheckpointIO()
    return Training(data, module, trainer, callbacks, chosen)


def _trainer(settings: Mapping[str, Any]) -> Trainer:
    trainer = _built(settings)
    if uses_plain_ddp(trainer, settings.get("strategy", "auto")):
        trainer = _built({**settings, "strategy": DDP_PER_NETWORK})
    on_cpu = trainer.strategy.root_device.type == "cpu"
    if on_cpu and trainer.num_devices > 1 and settings.get("accelerator") == "auto":
        raise UserError(
            f"trainer.devices={trainer.num_devices}: {_what_is_here()}: say trainer.devices=1, or "
            f"trainer.accelerator=cpu for {trainer.num_devices} processes that share the CPU"
        )
    return trainer


def _built(settings: Mapping[str, Any]) -> Trainer:
    try:
        trainer: Trainer = build({"_target_": "lightning.pytorch.Trainer", **settings})
    except (TypeError, ValueError) as error:
        raise UserError(f"trainer: {error}") from None
    except (MisconfigurationException, ImportError) as error:
        asked = " ".join(f"trainer.{key}={settings.get(key)}" for key in ("accelerator", "devices"))
        raise UserError(f"{asked}: {error} {_what_is_here()}: say trainer.accelerator=auto") from None
    return trainer


def _what_is_here() -> str:
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return f"torch {torch.__version__} finds {', '.join(gpus) or 'no GPU'} here"


def _loggers(nodes: Mapping[Any, Any]) -> list[Logger]:
    """``metrics.csv`` is the run's own record; what else fails, or lacks its package, is left out."""
    loggers: list[Logger] = []
    for key, node in nodes.items():
        if node is None:
            continue
        locate(node[TARGET])  # a name that cannot be found is a mistake
        try:
            logger = instantiate(node)
        except InstantiationException as error:
            if not isinstance(error.__cause__, ImportError):
                raise
            say_left_out(str(key), error.__cause__)
            continue
        loggers.append(logger if isinstance(logger, MetricsCSV) else FaultTolerantLogger(logger, str(key)))
    return loggers
