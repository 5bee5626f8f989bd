"""A checkpoint for the case that training does not come to its end."""

from __future__ import annotations

import logging
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from pix2pix_lightning.checkpoints.io import BackgroundCheckpointIO

_log = logging.getLogger(__name__)


class SaveOnInterrupt(Callback):
    """Saves where Ctrl-C, a signal or an error ends training; resuming goes on with the next batch.

    Args:
        path: Of the checkpoint; the one of the last epoch's end is overwritten.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._has_started = False

    def on_train_batch_end(self, trainer: Trainer, *args: object, **kwargs: object) -> None:
        """Until a batch is done there is nothing to save, and a resumed checkpoint would be lost.

        Raises:
            OSError: A checkpoint that was being written beside training found no room.
        """
        self._has_started = True
        if isinstance(trainer.strategy.checkpoint_io, BackgroundCheckpointIO):
            trainer.strategy.checkpoint_io.check()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The epoch's end has its own checkpoint."""
        self._has_started = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save, unless other processes would be waited for that may not come; a full disk does not hide why."""
        if not self._has_started or (trainer.world_size > 1 and not isinstance(exception, KeyboardInterrupt)):
            return
        try:
            trainer.save_checkpoint(self._path)
        except OSError as error:
            _log.warning("%s stays as it was, what was trained since is lost: %s", self._path, error.strerror)
            return
        _log.info("saved %s", self._path)
