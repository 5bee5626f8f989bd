"""Save checkpoints by time, also within an epoch."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer

from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.training.ddp import average_buffers
from pix2pix_lightning.utils.errors import UserError


class SaveByTime(Callback):
    """Save a checkpoint every few minutes, before the next batch, so that a killed run loses at most as much.

    A resumed run continues with that batch and equals one that was not stopped. With accumulated gradients the
    checkpoint waits for the end of a step. Several processes follow the clock of the first, for which they ask it about
    a hundred times between two checkpoints, not at each batch. Lightning's ``ModelCheckpoint(train_time_interval=...)``
    never saves with manual optimization.

    Args:
        path: Path of the checkpoint, which is replaced.
        every_minutes: Minutes between two checkpoints, above 0.

    Raises:
        UserError: ``every_minutes`` is out of range.
    """

    def __init__(self, path: str | Path, every_minutes: float) -> None:
        is_number = isinstance(every_minutes, int | float) and not isinstance(every_minutes, bool)
        if not (is_number and 0 < every_minutes < math.inf):
            raise UserError(f"saving.every_minutes={every_minutes}: a finite number above 0 is expected, or null")
        self._path = Path(path)
        self._seconds = 60.0 * every_minutes
        self._saved_at = self._looked_at = 0.0  # on the clock
        self._looked_batches = 0
        self._next_look = 0  # number of batches at which the processes look at the clock again

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._restart(pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Save if it is time, in all processes before the same batch.

        Raises:
            OSError: An earlier checkpoint could not be written.
        """
        module = cast(Pix2PixModule, pl_module)
        if module.batches_seen < self._next_look or not module.window.is_last:
            return
        is_due, self._next_look = trainer.strategy.broadcast(self._look(module.batches_seen, trainer.world_size))
        if not is_due:
            return
        if trainer.world_size > 1:
            average_buffers(pl_module, trainer.strategy)  # the checkpoint has those of one process
        trainer.save_checkpoint(self._path)
        self._restart(pl_module)

    def _restart(self, pl_module: LightningModule) -> None:
        self._saved_at = self._looked_at = time.monotonic()
        self._looked_batches = cast(Pix2PixModule, pl_module).batches_seen
        self._next_look = self._looked_batches + 1

    def _look(self, batches_seen: int, world_size: int) -> tuple[bool, int]:
        """Return whether it is time to save, and the number of batches at which to look again."""
        now = time.monotonic()
        remaining = self._saved_at + self._seconds - now
        if world_size == 1:
            return remaining <= 0, batches_seen + 1
        per_batch = max((now - self._looked_at) / (batches_seen - self._looked_batches), 1e-6)
        self._looked_at, self._looked_batches = now, batches_seen
        wait = min(remaining / 2, self._seconds / 100)  # short, since the next batches may be slower
        return remaining <= 0, batches_seen + max(1, int(wait / per_batch))
