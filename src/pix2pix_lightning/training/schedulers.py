"""Learning rate schedules, stepped once after each epoch.

Each is a closed form of the epoch, so that a saved state is plain numbers and a resumed run has the same rates.
For a constant rate no schedule is set.
"""

import math
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pix2pix_lightning.utils.errors import UserError

__all__ = ["LinearDecay", "WarmupCosine"]


class _EpochSchedule(LRScheduler):
    """A schedule that continues from a checkpoint's epoch with its own present arguments, not those of the checkpoint.

    A run that is made longer follows the longer schedule at once.
    """

    argument_names: tuple[str, ...]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the epoch and the base rates, and set the rates that this schedule has for them."""
        arguments = {name: getattr(self, name) for name in self.argument_names}
        super().load_state_dict({**state_dict, **arguments})
        for group, rate in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = rate

    def get_last_lr(self) -> list[float | Tensor]:
        """Return the present rate of each parameter group, also right after a state was loaded."""
        return [group["lr"] for group in self.optimizer.param_groups]


class LinearDecay(_EpochSchedule):
    """Hold the learning rate, then decrease it linearly. It is above 0 in the last epoch.

    The factor of epoch e, from 0, is `max(0, 1 - max(0, e + 1 - hold_epochs) / (decay_epochs + 1))`. It is the
    schedule of junyanz; the paper's rate is constant.

    Args:
        optimizer: Optimizer whose learning rates are held, then decreased.
        hold_epochs: Epochs with the full rate, 0 or more.
        decay_epochs: Epochs with a decreasing rate, 0 or more. The rate would be 0 in the epoch after them.

    Raises:
        UserError: A number of epochs is negative, or both are 0.

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

    argument_names = ("hold_epochs", "decay_epochs")

    def __init__(self, optimizer: Optimizer, *, hold_epochs: int = 100, decay_epochs: int = 100) -> None:
        if hold_epochs < 0 or decay_epochs < 0 or hold_epochs + decay_epochs == 0:
            raise UserError(
                f"hold_epochs={hold_epochs}, decay_epochs={decay_epochs} is no schedule: "
                "set both to 0 or more, and one to 1 or more"
            )
        self.hold_epochs = hold_epochs
        self.decay_epochs = decay_epochs
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """Compute the rate of each parameter group in the present epoch."""
        decay = max(0, self.last_epoch + 1 - self.hold_epochs) / (self.decay_epochs + 1)
        factor = max(0.0, 1 - decay)
        return [base * factor for base in self.base_lrs]


class WarmupCosine(_EpochSchedule):
    """Increase the learning rate linearly, then decrease it along half a cosine (arXiv 1608.03983, equation 5).

    The factor of epoch e, from 0, is `(e + 1) / (warmup_epochs + 1)` while e < warmup_epochs, 1 in epoch
    warmup_epochs, and `final_factor` in the last epoch, total_epochs - 1, and after it.

    Args:
        optimizer: Optimizer whose learning rates are the highest ones.
        warmup_epochs: Epochs before the full rate, 0 or more.
        total_epochs: All epochs including the warm-up, at least ``warmup_epochs + 2``.
        final_factor: Factor in the last epoch, from 0 to 1.

    Raises:
        UserError: An argument is out of range.

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

    argument_names = ("warmup_epochs", "total_epochs", "final_factor")

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        warmup_epochs: int = 5,
        total_epochs: int = 200,
        final_factor: float = 0.0,
    ) -> None:
        if warmup_epochs < 0:
            raise UserError(f"warmup_epochs={warmup_epochs} is negative: 0 or more is expected")
        if total_epochs < warmup_epochs + 2:
            raise UserError(
                f"total_epochs={total_epochs} is too short for warmup_epochs={warmup_epochs}: "
                f"set total_epochs={warmup_epochs + 2} or more, or shorten the warm-up"
            )
        if not 0 <= final_factor <= 1:
            raise UserError(f"final_factor={final_factor}: a factor from 0 to 1 is expected")
        self.warmup_epochs = warmup_epochs
        self.total_epochs = total_epochs
        self.final_factor = final_factor
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """Compute the rate of each parameter group in the present epoch."""
        factor = self._compute_factor(self.last_epoch)
        return [base * factor for base in self.base_lrs]

    def _compute_factor(self, epoch: int) -> float:
        if epoch < self.warmup_epochs:
            return (epoch + 1) / (self.warmup_epochs + 1)
        progress = min(1.0, (epoch - self.warmup_epochs) / (self.total_epochs - 1 - self.warmup_epochs))
        return self.final_factor + (1 - self.final_factor) * (1 + math.cos(math.pi * progress)) / 2
