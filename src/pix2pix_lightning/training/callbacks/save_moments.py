"""Choose the type of the optimizers' moments in checkpoints."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from pix2pix_lightning.checkpoints.moments import find_moments, narrow_moments
from pix2pix_lightning.utils.errors import UserError

CHOICES = ("exact", "bfloat16")


class SaveMoments(Callback):
    """Save the moments of the optimizers exactly, or rounded to bfloat16, which makes checkpoints a third smaller.

    Training itself computes with exact moments, weights are saved exactly, and the moments become float32 again when a
    run is resumed. A run that is resumed from rounded moments does not equal one that was not stopped.

    Args:
        moments: ``exact`` or ``bfloat16``.

    Raises:
        UserError: ``moments`` is neither of them.
    """

    def __init__(self, moments: str = "exact") -> None:
        if moments not in CHOICES:
            raise UserError(f"saving.moments={moments}: {' or '.join(CHOICES)} is expected")
        self._is_narrowing = moments == "bfloat16"
        self._is_checked = not self._is_narrowing

    def on_train_batch_end(self, trainer: Trainer, *args: object, **kwargs: object) -> None:
        """Check after the first step of an optimizer that there is something to round.

        Raises:
            UserError: No optimizer has float32 moments.
        """
        if self._is_checked or not trainer.global_step:
            return
        if not find_moments([optimizer.state_dict() for optimizer in trainer.optimizers], torch.float32):
            names = ", ".join(sorted({type(optimizer).__name__ for optimizer in trainer.optimizers}))
            raise UserError(
                f"saving.moments=bfloat16 has no effect, since {names} has no float32 moments here: leave it out"
            )
        self._is_checked = True

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Round the moments in the checkpoint, not those of the optimizers."""
        if self._is_narrowing and "optimizer_states" in checkpoint:
            checkpoint["optimizer_states"] = narrow_moments(checkpoint["optimizer_states"])
