"""Log the learning rates of an epoch, and step their schedules."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule


def log_rates(module: LightningModule) -> None:
    """Log ``train/lr_g`` and ``train/lr_d``, to the loggers at once.

    Lightning hands what is logged at an epoch's end to the loggers after the checkpoints are saved: a process that is
    killed in between would resume in the next epoch, and the rates of this one would be missing.

    Args:
        module: A `Pix2PixModule` at the end of an epoch.
    """
    optimizers = module.trainer.optimizers
    rates = {f"train/lr_{name}": float(o.param_groups[0]["lr"]) for name, o in zip("gd", optimizers, strict=False)}
    module.log_dict(rates, logger=False, sync_dist=True)
    if module.trainer.is_global_zero:
        step = max(0, int(module.batches_seen) - 1)  # type: ignore[arg-type]
        for logger in module.trainer.loggers:
            logger.log_metrics({"epoch": module.current_epoch, **rates}, step)


def step_schedules(module: LightningModule) -> None:
    """Step the schedules of a module's learning rates: with manual optimization the trainer does not."""
    schedules: Any = module.lr_schedulers()
    for schedule in schedules if isinstance(schedules, list) else [schedules] if schedules else []:
        schedule.step()
