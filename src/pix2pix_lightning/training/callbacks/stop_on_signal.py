"""End training between two batches after a signal."""

from __future__ import annotations

from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import distributed

from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.training.ddp import average_buffers
from pix2pix_lightning.training.signals import StopSignals


class StopOnSignal(Callback):
    """End training after a signal, before the next batch, in all processes at the same batch.

    The batch before is trained and logged as a whole, and with accumulated gradients it is the last of its step, so
    that a run that is resumed from there equals one that was never stopped.

    Args:
        signals: What was received so far.
    """

    def __init__(self, signals: StopSignals) -> None:
        self._signals = signals
        self._group: Any = None  # for gloo: to agree must not wait for a GPU

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals over from Lightning, which would write a checkpoint elsewhere under Slurm."""
        if trainer.world_size > 1:
            timeout = getattr(trainer.strategy, "timeout", None)  # a new group has torch's own, 30 minutes
            self._group = distributed.new_group(backend="gloo", timeout=timeout)
        self._signals.install()
        self._signals.is_training = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """End training if a process has received a signal.

        Raises:
            Interrupted: It has.
        """
        if not cast(Pix2PixModule, pl_module).window.is_last:
            return
        if self._is_received_by_any(trainer):
            if trainer.world_size > 1:
                average_buffers(pl_module, trainer.strategy)
            raise self._signals.build_exception()

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """End training within a validation, which a resumed run repeats.

        Raises:
            Interrupted: A signal was received. Several processes go on to the validation's end.
        """
        if trainer.world_size == 1 and self._signals.received is not None:
            raise self._signals.build_exception()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let a signal end the command at once from here on; one that came with the last batch has no effect."""
        self._signals.is_training = False
        self._group = None

    def _is_received_by_any(self, trainer: Trainer) -> bool:
        received = self._signals.received is not None
        if trainer.world_size == 1:
            return received
        flag = torch.tensor(int(received))
        distributed.all_reduce(flag, distributed.ReduceOp.MAX, group=self._group)
        return bool(flag)
