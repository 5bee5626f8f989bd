"""Check that a learning rate schedule lasts as long as the training."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch.optim.lr_scheduler import ReduceLROnPlateau

from pix2pix_lightning.models.components import build_or_call
from pix2pix_lightning.training.schedulers import LinearDecay, WarmupCosine
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.instantiate import TARGET, is_description

_LINEAR, _COSINE = (f"{cls.__module__}.{cls.__qualname__}" for cls in (LinearDecay, WarmupCosine))
_DEFAULTS = {"hold_epochs": 100, "decay_epochs": 100, "total_epochs": 200}
"""Of the schedules' classes."""
_MAX_EPOCHS = 10_000
"""Epochs up to which a schedule of another package is tried."""


def check_schedule_length(cfg: DictConfig) -> None:
    """Check that no epoch of a training has the learning rate 0, but the last one of a cosine.

    Args:
        cfg: Configuration of a training; ``module`` and ``trainer`` are read.

    Raises:
        UserError: The schedule ends before the training; the line says what to set.
    """
    node, epochs = cfg.module.get("schedule"), cfg.trainer.max_epochs
    if not OmegaConf.is_dict(node):
        return
    schedule: Any = OmegaConf.to_container(node, resolve=True)
    is_open = epochs is None or epochs < 0
    if schedule.get(TARGET) not in (_LINEAR, _COSINE):
        optimizer = cfg.module.get("optimizer_g")
        if not is_open and is_description(schedule) and OmegaConf.is_dict(optimizer):
            _try_schedule(schedule, OmegaConf.to_container(optimizer, resolve=True), epochs)
        return
    num_epochs = _count_epochs(schedule)
    if is_open and not _is_limited_otherwise(cfg.trainer):
        if num_epochs is None and isinstance(schedule.get("total_epochs"), int) and schedule["total_epochs"] > 0:
            return  # a cosine that goes on with its last rate
        fix = num_epochs if num_epochs and num_epochs > 0 else _DEFAULTS["total_epochs"]
        raise UserError(
            f"trainer.max_epochs={'null' if epochs is None else epochs} sets no end, and module.schedule has one: set "
            f"trainer.max_epochs={fix}, or module.schedule=null for a constant rate"
        )
    if is_open or num_epochs is None or epochs <= num_epochs:
        return
    key = "decay_epochs" if schedule[TARGET] == _LINEAR else "total_epochs"
    stretched = schedule.get(key, _DEFAULTS[key]) + epochs - num_epochs
    raise UserError(
        f"trainer.max_epochs={epochs}, but the learning rate of module.schedule is 0 after epoch {num_epochs}, so that "
        f"nothing more would be learnt: set module.schedule.{key}={stretched} to stretch the schedule, or "
        f"trainer.max_epochs={num_epochs}"
    )


def _is_limited_otherwise(trainer: Mapping[str, Any]) -> bool:
    return trainer.get("max_steps") not in (None, -1) or trainer.get("max_time") is not None


def _count_epochs(schedule: Mapping[str, Any]) -> int | None:
    """Count the epochs of a schedule of this package that ends with the rate 0; None if it does not."""
    if schedule[TARGET] == _LINEAR:
        counts = [schedule.get(key, _DEFAULTS[key]) for key in ("hold_epochs", "decay_epochs")]
        return sum(counts) if all(isinstance(count, int) for count in counts) else None
    if not schedule.get("final_factor", 0.0):
        total = schedule.get("total_epochs", _DEFAULTS["total_epochs"])
        return total if isinstance(total, int) else None
    return None


def _try_schedule(schedule: Mapping[str, Any], optimizer: Any, epochs: int) -> None:
    """Step a schedule of another package through all epochs of a training, with an optimizer of one weight.

    Raises:
        UserError: It refuses a step, or has the learning rate 0 in the last epochs.
    """
    try:
        weights = build_or_call("module.optimizer_g", optimizer, [torch.nn.Parameter(torch.zeros(1))])
        stepped = build_or_call("module.schedule", schedule, weights)
    except UserError:  # of wrong arguments, or of a single weight: the module's own are tried next
        return
    if isinstance(stepped, ReduceLROnPlateau):  # which the module refuses
        return
    count = min(epochs, _MAX_EPOCHS)
    num_learning = 0  # epochs up to the last one with a rate above 0
    advice = "set its arguments for all epochs, or module.schedule=null for a constant rate"
    with warnings.catch_warnings(action="ignore"):  # no step of the optimizer comes before those of the schedule
        for epoch in range(count):
            if any(group["lr"] > 0 for group in weights.param_groups):
                num_learning = epoch + 1
            try:
                stepped.step()
            except (TypeError, ValueError) as error:
                raise UserError(
                    f"trainer.max_epochs={epochs}, but module.schedule ends after epoch {epoch} "
                    f"({' '.join(str(error).split())}): {advice}"
                ) from None
    if 0 < num_learning < count - 1:
        raise UserError(
            f"trainer.max_epochs={epochs}, but the learning rate of module.schedule is 0 after epoch {num_learning}, "
            f"so that nothing more would be learnt: {advice}, or trainer.max_epochs={num_learning}"
        )
