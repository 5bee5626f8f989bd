"""The position of a training in its order of batches, so that a resumed run continues with the next batch."""

from __future__ import annotations

from collections.abc import Mapping

from lightning.pytorch import Callback, LightningModule, Trainer


class PositionCallback(Callback):
    """Count the batches that were trained on, not those that a loader has fetched.

    It stands first among the trainer's callbacks, so that a checkpoint of another callback has the new position.

    Attributes:
        epoch: Epoch of the next training batch, from 0.
        num_batches: Number of batches of that epoch that were trained on.
        offset: What is added to the trainer's number of a batch, in an epoch that began with batches of another size.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self.num_batches = 0
        self.offset = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Move on by one batch; after an epoch's last batch the next epoch follows, even if validation is still due."""
        self.epoch, self.num_batches = trainer.current_epoch, batch_idx + 1 + self.offset
        if self.num_batches >= trainer.num_training_batches:
            self.epoch, self.num_batches = self.epoch + 1, 0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Move on to the next epoch, also from one that was cut short."""
        self.epoch, self.num_batches, self.offset = trainer.current_epoch + 1, 0, 0

    def to_dict(self, batch_size: int) -> dict[str, int]:
        """Return the position as plain data.

        Args:
            batch_size: Pairs in a batch of each process.
        """
        return {
            "epoch": self.epoch,
            "num_batches": self.num_batches,
            "offset": self.offset,
            "batch_size": batch_size,
        }

    def restore(self, saved: Mapping[str, int], batch_size: int) -> None:
        """Go to a position.

        Args:
            saved: What ``to_dict`` returned, with the same or another size of batches.
            batch_size: Pairs in a batch of each process from now on.
        """
        before = saved["num_batches"]
        self.epoch = saved["epoch"]
        self.num_batches = before * saved.get("batch_size", batch_size) // batch_size
        self.offset = saved.get("offset", 0) + self.num_batches - before
