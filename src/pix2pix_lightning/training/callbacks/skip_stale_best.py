"""Let the best checkpoint follow a metric that is not measured after each epoch."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class SkipStaleBest(Callback):
    """Switch a ``ModelCheckpoint`` off for an epoch in which its validation metric was not measured.

    A judge measures every few epochs and after the last one. Lightning keeps the value of an earlier epoch, by which a
    ``ModelCheckpoint`` would judge the present weights, and raises an error where there is none yet.
    """

    def __init__(self) -> None:
        self._before: dict[str, Any] = {}  # a value that was measured anew is another tensor
        self._off: dict[ModelCheckpoint, int] = {}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the values of the epochs before, and switch all on again."""
        self._before = dict(trainer.callback_metrics)
        self._switch_on()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Switch those off whose metric has no new value. Lightning calls them after this."""
        for callback in trainer.checkpoint_callbacks:
            if not isinstance(callback, ModelCheckpoint) or not str(callback.monitor).startswith("val/"):
                continue
            value = trainer.callback_metrics.get(str(callback.monitor))
            is_new = value is not None and value is not self._before.get(str(callback.monitor))
            if callback.save_top_k > 0 and not is_new:
                self._off[callback] = callback.save_top_k
                callback.save_top_k = 0

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Switch all on again."""
        self._switch_on()

    def _switch_on(self) -> None:
        for callback, count in self._off.items():
            callback.save_top_k = count
        self._off.clear()
