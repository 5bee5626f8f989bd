"""Measure how fast a training is and when it will end, for the callbacks that show it."""

from __future__ import annotations

import math
import time
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, Timer

from pix2pix_lightning.training.callbacks.overfit import Overfit
from pix2pix_lightning.training.time_left import TimeLeft, format_duration


class Pace:
    """Measure the epochs of a training.

    Attributes:
        images: Images of all processes in the present epoch.
        seconds: Seconds of the present epoch until its last batch, without validation.
    """

    def __init__(self) -> None:
        self.images = 0
        self.seconds = 0.0
        self._time_left = TimeLeft()
        self._epoch_start = 0.0
        self._share_before = 0.0  # of the epoch, trained by an earlier process
        self._step_at_start = self._first_step = self._num_batches = 0

    @property
    def images_per_second(self) -> float:
        """Images per second in the present epoch, 0 before its first batch."""
        return self.images / self.seconds if self.seconds else 0.0

    @property
    def num_epochs(self) -> int:
        """Number of whole epochs that were measured."""
        return self._time_left.num_epochs

    def start_training(self, trainer: Trainer) -> None:
        """Start the clock for an epoch that was begun before, of which Lightning does not tell the start."""
        self._time_left = TimeLeft(window=max(20, trainer.check_val_every_n_epoch or 1))
        self._first_step, self._num_batches = trainer.global_step, 0
        self._start_epoch(trainer, is_whole=False)

    def start_epoch(self, trainer: Trainer) -> None:
        """Start the clock for an epoch."""
        self._start_epoch(trainer, is_whole=True)

    def _start_epoch(self, trainer: Trainer, *, is_whole: bool) -> None:
        self.images, self.seconds, self._share_before = 0, 0.0, 0.0
        self._epoch_start = time.perf_counter()
        self._step_at_start = trainer.global_step
        self._time_left.start_epoch(self._epoch_start, is_whole=is_whole)

    def end_batch(self, trainer: Trainer, batch: Any, batch_idx: int) -> None:
        """Count a batch.

        Args:
            trainer: The trainer.
            batch: The batch, whose ``source`` has an image for each pair.
            batch_idx: Number of the batch in the epoch, from 0.
        """
        now = time.perf_counter()
        if not self.images:
            self._share_before = batch_idx / trainer.num_training_batches
        self.images += len(batch["source"]) * trainer.world_size
        self.seconds = now - self._epoch_start
        self._num_batches += 1
        self._time_left.end_batch(now)

    def format_time_left(self, trainer: Trainer, *, about: str = "") -> str:
        """Format the time until the training ends.

        Args:
            trainer: The trainer.
            about: What stands before the time of a training that will not end before.

        Returns:
            ``3 h 20 min left``, or ``at most 2 min left``; empty if nothing is known.
        """
        seconds = self._estimate_seconds(trainer)
        if seconds is None:
            return ""
        may_end_before = any(isinstance(one, EarlyStopping | Overfit) for one in _get_callbacks(trainer))
        return f"{'at most ' if may_end_before else about}{format_duration(seconds)} left"

    def _estimate_seconds(self, trainer: Trainer) -> float | None:
        timers = [one.time_remaining() for one in _get_callbacks(trainer) if isinstance(one, Timer)]
        ends = [max(0.0, seconds) for seconds in timers if seconds is not None]
        epochs = self._count_epochs_left(trainer)
        if epochs is not None:
            seconds = self._time_left.estimate(time.perf_counter(), epochs, trainer.num_training_batches)
            ends += [] if seconds is None else [seconds]
        return min(ends, default=None)

    def _count_epochs_left(self, trainer: Trainer) -> float | None:
        """Return the epochs from the start of the present one to the end; None for a training without one."""
        ends = []
        if (last := get_last_epoch(trainer)) is not None:
            ends.append(last - trainer.current_epoch - self._share_before)
        num_steps = trainer.global_step - self._first_step  # of all optimizers, with accumulation fewer than batches
        if trainer.max_steps >= 0 and num_steps and math.isfinite(trainer.num_training_batches):
            per_epoch = num_steps / self._num_batches * trainer.num_training_batches
            ends.append((trainer.max_steps - self._step_at_start) / per_epoch)
        return min(ends, default=None)


def get_last_epoch(trainer: Trainer) -> int | None:
    """Return the number of epochs after which a training ends, or None."""
    return trainer.max_epochs if trainer.max_epochs is not None and trainer.max_epochs >= 0 else None


def format_epoch(trainer: Trainer) -> str:
    """Format the number of the present epoch, from 1, and how many there will be, if epochs are what ends training."""
    last = get_last_epoch(trainer) if trainer.max_steps < 0 else None
    return f"epoch {trainer.current_epoch + 1}{'' if last is None else f'/{last}'}"


def _get_callbacks(trainer: Trainer) -> list[Any]:
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return callbacks
