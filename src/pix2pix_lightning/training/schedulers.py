"""Learning rate schedules, stepped once an epoch.

Each is a closed form of the epoch, so that a saved state is plain numbers and a resumed run goes on exactly.
A constant rate is the absence of a schedule.
"""

import math
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pix2pix_lightning.utils.errors import UserError

__all__ = ["LinearDecay", "WarmupCosine"]

_STATE = ("base_lrs", "last_epoch", "_step_count", "_last_lr")  # what a checkpoint says


class _EpochSchedule(LRScheduler):
    """A schedule that goes on from a checkpoint's epoch with the arguments that it was made with now."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the epoch and the base rates over, and set the rate that this schedule has for them."""
        own = {key: value for key, value in vars(self).items() if key not in _STATE}
        super().load_state_dict({key: value for key, value in state_dict.items() if key not in own})
        self._last_lr = self.get_lr()
        for group, rate in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = rate


class LinearDecay(_EpochSchedule):
    """Hold the learning rate, then let it fall linearly; the last epoch still learns.

    The factor of epoch e, counted from 0, is `1 - max(0, e + 1 - hold_epochs) / (decay_epochs + 1)`, and 0
    where that is negative. It is the schedule of the widespread PyTorch implementation of pix2pix; the
    paper's rate is constant.

    Args:
        optimizer: Its groups' learning rates are the rates that are held.
        hold_epochs: Epochs at the full rate, 0 or more.
        decay_epochs: Epochs of the fall, 0 or more; the rate would be 0 in the epoch after them.

    Raises:
        ValueError: If a number of epochs is negative, or both are 0.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3.0)
        >>> schedule = LinearDecay(optimizer, hold_epochs=1, decay_epochs=2)
        >>> for _ in range(3):
        ...     print(schedule.get_last_lr())
        ...     optimizer.step()
        ...     schedule.step()
        [3.0]
        [2.0]
        [1.0]
    """

    def __init__(self, optimizer: Optimizer, *, hold_epochs: int = 100, decay_epochs: int = 100) -> None:
        if hold_epochs < 0 or decay_epochs < 0 or hold_epochs + decay_epochs == 0:
            raise UserError(
                f"hold_epochs={hold_epochs}, decay_epochs={decay_epochs} is no schedule: "
                "neither may be negative, and one must be at least 1"
            )
        self.hold_epochs = hold_epochs
        self.decay_epochs = decay_epochs
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """Return the rate of each parameter group in the present epoch."""
        fall = max(0, self.last_epoch + 1 - self.hold_epochs) / (self.decay_epochs + 1)
        factor = max(0.0, 1 - fall)
        return [base * factor for base in self.base_lrs]


class WarmupCosine(_EpochSchedule):
    """Raise the learning rate linearly, then let it fall along half a cosine (arXiv 1608.03983, section 3).

    The factor of epoch e, counted from 0, is `(e + 1) / (warmup_epochs + 1)` while e < warmup_epochs, 1 in
    epoch warmup_epochs, and `final_factor` in the last epoch, total_epochs - 1, and after it.

    Args:
        optimizer: Its groups' learning rates are the rates at the top.
        warmup_epochs: Epochs before the full rate, 0 or more.
        total_epochs: All epochs, the warm-up's among them; at least two more than those.
        final_factor: What is left of the rate in the last epoch, from 0 to 1.

    Raises:
        ValueError: If an argument is outside these bounds.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
        >>> schedule = WarmupCosine(optimizer, warmup_epochs=1, total_epochs=4)
        >>> for _ in range(4):
        ...     print(round(schedule.get_last_lr()[0], 6))
        ...     optimizer.step()
        ...     schedule.step()
        1.0
        2.0
        1.0
        0.0
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        warmup_epochs: int = 5,
        total_epochs: int = 200,
        final_factor: float = 0.0,
    ) -> None:
        if warmup_epochs < 0:
            raise UserError(f"warmup_epochs must not be negative, got {warmup_epochs}: 0 is no warm-up")
        if total_epochs < warmup_epochs + 2:
            raise UserError(
                f"total_epochs={total_epochs} leaves nothing to fall after warmup_epochs={warmup_epochs}: "
                f"make it at least {warmup_epochs + 2}, or shorten the warm-up"
            )
        if not 0 <= final_factor <= 1:
            raise UserError(f"final_factor must be from 0 to 1, got {final_factor}: it is a fraction of the rate")
        self.warmup_epochs = warmup_epochs
        self.total_epochs = total_epochs
        self.final_factor = final_factor
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """Return the rate of each parameter group in the present epoch."""
        factor = self._factor(self.last_epoch)
        return [base * factor for base in self.base_lrs]

    def _factor(self, epoch: int) -> float:
        if epoch < self.warmup_epochs:
            return (epoch + 1) / (self.warmup_epochs + 1)
        fallen = min(1.0, (epoch - self.warmup_epochs) / (self.total_epochs - 1 - self.warmup_epochs))
        return self.final_factor + (1 - self.final_factor) * (1 + math.cos(math.pi * fallen)) / 2
