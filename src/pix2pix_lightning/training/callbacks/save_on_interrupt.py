"""Save a checkpoint when training is stopped."""

from __future__ import annotations

import logging
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from pix2pix_lightning.checkpoints.io import BackgroundCheckpointIO
from pix2pix_lightning.models.accumulation import AccumulationWindow
from pix2pix_lightning.utils.errors import Interrupted
from pix2pix_lightning.utils.finite import NonFiniteError

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
        """Save, unless other processes may be gone, for which saving would wait, or a step was cut in two.

        Memory runs out between the steps of the two networks, and the state of then is none that a run passes through.
        Within a window of accumulated gradients these would be lost.
        An error of the disk is only logged: another error has ended training.
        """
        if isinstance(exception, NonFiniteError):  # what there is to save is lost
            return
        is_error = not isinstance(exception, KeyboardInterrupt | Interrupted)
        window = getattr(pl_module, "window", AccumulationWindow())
        is_in_step = getattr(pl_module, "losses", None) is not None or not window.is_last
        if not self._has_started or (is_error and (trainer.world_size > 1 or is_in_step)):
            return
        try:
            trainer.save_checkpoint(self._path)
        except OSError as error:
            _log.warning("%s stays as it was, what was trained since is lost: %s", self._path, error.strerror)
            return
        except NonFiniteError as error:
            _log.warning("%s stays as it was: %s", self._path, error)
            return
        _log.info("saved %s", self._path)
