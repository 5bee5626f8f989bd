"""Log one line for each epoch, with its metrics and its speed."""

from __future__ import annotations

import logging
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

_log = logging.getLogger(__name__)


class Journal(Callback):
    """Log each validation's metrics, and the epoch's images per second without validation and checkpoints."""

    def __init__(self) -> None:
        self._images = 0
        self._seconds = 0.0
        self._epoch_images = 0
        self._epoch_start = 0.0
        self._epoch_end = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock for an epoch that was begun before, for which Lightning does not call the next method."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._epoch_images = 0
        self._epoch_start = self._epoch_end = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the images of all processes."""
        self._epoch_images += len(batch["source"]) * trainer.world_size
        self._epoch_end = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the line, in epochs with a validation."""
        seconds = self._epoch_end - self._epoch_start
        self._images += self._epoch_images
        self._seconds += seconds
        if (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1):
            return
        metrics = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        line = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        speed = self._epoch_images / seconds if seconds else 0.0
        _log.info("epoch %d  %s  %.1f images/s", trainer.current_epoch + 1, line, speed)

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
