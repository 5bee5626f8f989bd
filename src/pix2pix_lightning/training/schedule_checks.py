"""Check that a learning rate schedule lasts as long as the training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pix2pix_lightning.training.schedulers import LinearDecay, WarmupCosine
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.instantiate import TARGET

_LINEAR, _COSINE = (f"{cls.__module__}.{cls.__qualname__}" for cls in (LinearDecay, WarmupCosine))


def check_schedule_length(cfg: DictConfig) -> None:
    """Check that no epoch of a training has the learning rate 0, but the last one of a cosine.

    Args:
        cfg: Configuration of a training; ``module.schedule`` and ``trainer.max_epochs`` are read. Schedules of other
            packages are not checked.

    Raises:
        UserError: The schedule ends before the training; the line says what to set.
    """
    node, epochs = cfg.module.get("schedule"), cfg.trainer.max_epochs
    if not OmegaConf.is_dict(node) or not isinstance(epochs, int) or epochs < 0:
        return
    schedule: Any = OmegaConf.to_container(node, resolve=True)
    num_epochs = _count_epochs(schedule)
    if num_epochs is None or epochs <= num_epochs:
        return
    key = "decay_epochs" if schedule[TARGET] == _LINEAR else "total_epochs"
    raise UserError(
        f"trainer.max_epochs={epochs}, but the learning rate of module.schedule is 0 after epoch {num_epochs}, so that "
        f"nothing more would be learnt: set module.schedule.{key}={schedule[key] + epochs - num_epochs} to stretch the "
        f"schedule, or trainer.max_epochs={num_epochs}"
    )


def _count_epochs(schedule: Mapping[str, Any]) -> int | None:
    """Count the epochs of a schedule that ends with the rate 0; None if it does not, or is of another package."""
    if schedule.get(TARGET) == _LINEAR:
        counts = [schedule.get(key, 100) for key in ("hold_epochs", "decay_epochs")]
        return sum(counts) if all(isinstance(count, int) for count in counts) else None
    if schedule.get(TARGET) == _COSINE and not schedule.get("final_factor", 0.0):
        total = schedule.get("total_epochs", 200)
        return total if isinstance(total, int) else None
    return None
