"""Save a checkpoint when training is stopped."""

from __future__ import annotations

import logging
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from pix2pix_lightning.checkpoints.io import BackgroundCheckpointIO
from pix2pix_lightning.utils.errors import Interrupted

_log = logging.getLogger(__name__)


class SaveOnInterrupt(Callback):
    """Save a checkpoint when Ctrl-C, a signal or an error ends training. A resumed run continues with the next batch.

    Args:
        path: Path of the checkpoint. The checkpoint of the last epoch's end is replaced.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._has_started = False

    def on_train_batch_end(self, trainer: Trainer, *args: object, **kwargs: object) -> None:
        """Note that there is something to save: before the first batch, a resumed checkpoint must not be replaced.

        Raises:
            OSError: A checkpoint could not be written in the background.
        """
        self._has_started = True
        if isinstance(trainer.strategy.checkpoint_io, BackgroundCheckpointIO):
            trainer.strategy.checkpoint_io.check()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that nothing is to be saved, since the end of an epoch has its own checkpoint."""
        self._has_started = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save, unless other processes may be gone, for which saving would wait.

        An error of the disk is only logged: another error has ended training.
        """
        stops_all = isinstance(exception, KeyboardInterrupt | Interrupted)
        if not self._has_started or (trainer.world_size > 1 and not stops_all):
            return
        try:
            trainer.save_checkpoint(self._path)
        except OSError as error:
            _log.warning("%s stays as it was, what was trained since is lost: %s", self._path, error.strerror)
            return
        _log.info("saved %s", self._path)
