"""Test whether a model can be fitted to one pair, and show the pair."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer

from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.training.pictures import build_pictures, can_translate_alone, translate_batch, write_strip
from pix2pix_lightning.utils.errors import UserError

_log = logging.getLogger(__name__)
_PICTURE_AFTER = 20  # batches


class Overfit(Callback):
    """End training when ``val/l1`` is low enough, and raise an error if it is not by the last epoch.

    A pair whose sides are swapped, or that holds two images that do not belong together, is fitted just as well.
    So the pair is written to a picture before the first step, input left and target right, for people to look at, and
    again after 20 batches with the output in the middle.

    Args:
        below: L1 that has to be reached, as a fraction of the target's range, above 0 and below 1.
        folder: Folder of the two pictures; None writes none.

    Raises:
        UserError: ``below`` is out of range.
    """

    def __init__(self, below: float = 0.03, folder: str | Path | None = None) -> None:
        if not 0 < below < 1:
            raise UserError(f"below={below}: an L1 between 0 and 1 is expected")
        self.below = below
        self._folder = None if folder is None else Path(folder)
        self._l1: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that there will be a validation.

        Raises:
            UserError: Training would end before its first validation.
        """
        every, last = trainer.check_val_every_n_epoch, trainer.max_epochs
        if every is not None and last is not None and 0 <= last // every <= trainer.current_epoch // every:
            raise UserError(
                f"no validation would take place, and it tells whether the pair was fitted: trainer.max_epochs={last} "
                f"with trainer.check_val_every_n_epoch={every}; raise the first or lower the second"
            )

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Write the first pair before the first step."""
        module = cast(Pix2PixModule, pl_module)
        if self._folder is None or module.batches_seen or not trainer.is_global_zero:
            return
        path = self._folder / "pair.png"
        write_strip(path, build_pictures(module.pair_spec, batch)[0])
        _log.info("is the input on the left and the target on the right? else set data.direction: %s", path)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the pair with the output after 20 batches."""
        module = cast(Pix2PixModule, pl_module)
        if self._folder is None or module.batches_seen != _PICTURE_AFTER or not trainer.is_global_zero:
            return
        if can_translate_alone(trainer):
            path = self._folder / f"after_{_PICTURE_AFTER}_batches.png"
            write_strip(path, build_pictures(module.pair_spec, batch, translate_batch(trainer, module, batch))[0])
            _log.info("input, output and target after %d batches: %s", _PICTURE_AFTER, path)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End training if the L1 of the validation is low enough."""
        if trainer.sanity_checking:
            return
        self._l1 = float(trainer.callback_metrics["val/l1"])
        if self._l1 < self.below:
            num_batches = cast(Pix2PixModule, pl_module).batches_seen
            _log.info("one pair was fitted: val/l1 %.4f after %d batches", self._l1, num_batches)
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that the pair was fitted.

        Raises:
            UserError: There was no validation, or its L1 is too high.
        """
        if self._l1 is None:
            raise UserError(
                f"no validation took place in {trainer.current_epoch} epochs, so nothing tells whether the pair was "
                "fitted: train for longer, or let trainer.limit_val_batches and trainer.val_check_interval be"
            )
        if not self._l1 < self.below:
            num_batches = cast(Pix2PixModule, pl_module).batches_seen
            raise UserError(
                f"one pair was not fitted: val/l1 is {self._l1:.4f} after {num_batches} batches, below {self.below} is "
                "expected; look at the gallery: are source and target what they should be (data.direction, kind, "
                "palette), and is the learning rate of a usual size (module.optimizer_g.lr)?"
            )
