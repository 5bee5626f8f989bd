"""Write ``metrics.csv`` before each checkpoint."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from pix2pix_lightning.training.loggers import MetricsCSV


class FlushMetrics(Callback):
    """Write all rows of ``metrics.csv`` before a checkpoint is written, of whatever kind and whoever saves it.

    A run that resumes from the checkpoint does not log them again. After the checkpoint would be too late: the process
    may be killed in between.
    """

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Write the rows, also the last one, which may still grow.

        An error of the disk does not cost the checkpoint: the logger meets and raises it right afterwards.
        """
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSV):
                with suppress(OSError):
                    logger.write_growing()
