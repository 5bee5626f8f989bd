"""Log one line for each epoch, with its metrics and its speed."""

from __future__ import annotations

import logging
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from pix2pix_lightning.training.callbacks.pace import Pace, format_epoch
from pix2pix_lightning.training.validation_values import collect_validation_values

_log = logging.getLogger(__name__)


class Journal(Callback):
    """Log each validation's metrics, and the epoch's images per second without validation and checkpoints.

    After the first epoch, log how long the training will still take.
    """

    def __init__(self) -> None:
        self._images = 0
        self._seconds = 0.0
        self._pace = Pace()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._pace.start_training(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock for an epoch; after the first one, log the time left."""
        self._pace.start_epoch(trainer)
        if self._pace.num_epochs == 1 and (left := self._pace.format_time_left(trainer, about="about ")):
            _log.info("%s", left)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the images of all processes."""
        self._pace.end_batch(trainer, batch, batch_idx)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the line, in epochs with a validation."""
        self._images += self._pace.images
        self._seconds += self._pace.seconds
        if (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1):
            return
        metrics = [f"{name} {value:.4f}" for name, value in collect_validation_values(trainer).items()]
        speed = f"{self._pace.images_per_second:.1f} images/s"
        _log.info("%s", "  ".join([format_epoch(trainer), *metrics, speed]))

    def summarize(self, trainer: Trainer) -> dict[str, Any]:
        """Return speed, epochs and device of the whole training, for ``summary.json``."""
        device = trainer.strategy.root_device
        return {
            "images_per_second": round(self._images / self._seconds, 3) if self._seconds else None,
            "epochs": trainer.current_epoch,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
            "num_devices": trainer.world_size,
            "precision": str(trainer.precision),
        }
