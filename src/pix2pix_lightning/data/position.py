"""The position of a training in its order of batches, so that a resumed run continues with the next batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class PositionCallback(Callback):
    """Count the batches that were trained on, not those that a loader has fetched.

    It stands first among the trainer's callbacks, so that a checkpoint of another callback has the new position.

    Attributes:
        epoch: Epoch of the next training batch, from 0.
        num_batches: Number of batches of that epoch that were trained on.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self.num_batches = 0
        self._saved: Mapping[str, int] | None = None  # until the resumed epoch begins

    def renew(self, trainer: Trainer) -> PositionCallback:
        """Return a new position, which takes the place of this one, the first, among a trainer's callbacks."""
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if self in callbacks:
            callbacks.remove(self)
        callbacks.insert(0, PositionCallback())
        return callbacks[0]  # type: ignore[return-value]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Move on by one batch; after an epoch's last batch the next epoch follows, even if validation is still due."""
        self.epoch, self.num_batches = trainer.current_epoch, batch_idx + 1
        if self.num_batches >= trainer.num_training_batches:
            self.epoch, self.num_batches = self.epoch + 1, 0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Move on to the next epoch, also from one that was cut short."""
        self.epoch, self.num_batches = trainer.current_epoch + 1, 0

    def to_dict(self, batch_size: int, num_processes: int) -> dict[str, int]:
        """Return the position as plain data.

        Args:
            batch_size: Pairs in a batch of each process.
            num_processes: Number of processes.
        """
        return {
            "epoch": self.epoch,
            "num_batches": self.num_batches,
            "batch_size": batch_size,
            "num_processes": num_processes,
        }

    def restore(self, saved: Mapping[str, int]) -> None:
        """Go to a position, which ``to_dict`` returned."""
        self.epoch, self.num_batches = saved["epoch"], saved["num_batches"]
        self._saved = saved

    def skip_seen(self, trainer: Trainer, num_pairs: int, batch_size: int) -> int:
        """Go to the trainer's epoch, and return how many pairs of this process were seen in it, which are left out.

        If batches or accumulated windows have another size than before, the batches are numbered anew, by whole
        windows; the trainer, which ends and validates an epoch by the number of its last batch, counts on from there.

        Args:
            trainer: The trainer, whose progress was restored.
            num_pairs: Pairs of this process in an epoch.
            batch_size: Pairs in a batch of this process.

        Returns:
            The number of pairs.
        """
        if self.epoch < trainer.current_epoch:  # the checkpoint has no position, or an earlier fit is continued
            self.epoch, self.num_batches = trainer.current_epoch, 0
        saved, self._saved = self._saved, None
        if saved is not None:
            before = [saved.get("batch_size", batch_size), saved.get("num_processes", trainer.world_size)]
            num_seen = self.num_batches * math.prod(before) // trainer.world_size
            total, limit = math.ceil(num_pairs / batch_size), trainer.limit_train_batches
            total = min(limit, total) if isinstance(limit, int) else int(total * limit)
            is_within = self.num_batches > 0
            if is_within:
                whole = max(0, min(num_seen // batch_size, total - 1))
                self.num_batches = whole - whole % int(getattr(trainer.lightning_module, "accumulate", 1))
            if is_within or before != [batch_size, trainer.world_size]:
                _renumber(trainer, self.num_batches if is_within else total)
        return self.num_batches * batch_size


def _renumber(trainer: Trainer, num_batches: int) -> None:
    """Let the trainer count as if it had trained on so many batches of the epoch that it is in, if it is in one."""
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress.current
    shift = num_batches - progress.processed if progress.processed else 0
    for name in ("ready", "started", "processed", "completed"):
        setattr(progress, name, getattr(progress, name) + shift)
