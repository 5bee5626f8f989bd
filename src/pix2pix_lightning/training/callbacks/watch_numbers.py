"""Stop a training whose losses, gradients or weights are no longer finite."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from pix2pix_lightning.training.watching.networks import compute_norms, get_networks
from pix2pix_lightning.training.watching.nonfinite import (
    find_first_step,
    format_broken_step,
    format_broken_weights,
    format_continuation,
)
from pix2pix_lightning.training.watching.skip_steps import StepGuard
from pix2pix_lightning.training.watching.step_history import SUMS, StepFigures, StepHistory
from pix2pix_lightning.utils.checks import check_choice, check_counts
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.finite import NonFiniteError, find_nonfinite
from pix2pix_lightning.utils.text import format_names

_log = logging.getLogger(__name__)
_MAX_STEPS = 500
"""Steps that are kept at most before they are read."""
_LOWEST_SCALE = 1.0
"""A loss scale below it means that gradients exceed 65504 as they are, and that every step is left out."""


class WatchNumbers(Callback):
    """End training with one line once losses, gradients or weights are not finite, before a checkpoint holds them.

    Losses of each step are kept on the device, and read with the norms of gradients and weights every so many batches,
    at the end of each epoch and before a validation. In between nothing waits for the device.

    Args:
        on_nan: ``stop``, or ``skip_batch`` to leave out steps whose losses or gradients are not finite: weights,
            buffers and the optimizer's state stay as they are. With ``accumulate`` the whole window is left out. Each
            step then waits for the device.
        max_skipped: Batches in an epoch that ``skip_batch`` leaves out before training ends. At least 0.
        every_n_batches: Batches between two looks, at least 1. Default: the trainer's ``log_every_n_steps``.
        run_dir: Folder of the run, named in the message with the way to go on. None where there is none.

    Raises:
        UserError: An argument is out of range.
    """

    def __init__(
        self,
        on_nan: str = "stop",
        max_skipped: int = 10,
        every_n_batches: int | None = None,
        run_dir: str | Path | None = None,
    ) -> None:
        check_choice("on_nan", on_nan, ("stop", "skip_batch"))
        check_counts(at_least=0, max_skipped=max_skipped)
        if every_n_batches is not None:
            check_counts(every_n_batches=every_n_batches)
        self.on_nan, self.max_skipped, self.every_n_batches = on_nan, max_skipped, every_n_batches
        self._run_dir = None if run_dir is None else Path(run_dir)
        self._history = StepHistory()
        self._interval = 1
        self._guard: StepGuard | None = None
        self._skipped: dict[int, str] = {}  # of the present epoch, by batch: its number and pairs
        self._batch_idx = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the first weights, and guard the optimizers where that is asked for.

        Raises:
            NonFiniteError: A weight is not finite.
            UserError: ``skip_batch`` is combined with a CUDA graph.
        """
        self._history = StepHistory()
        self._skipped = {}
        self._interval = min(
            self.every_n_batches or getattr(trainer, "log_every_n_steps", None) or _MAX_STEPS, _MAX_STEPS
        )
        if (name := find_nonfinite(pl_module.state_dict(), pl_module)) is not None:
            raise NonFiniteError(f"{name} is not finite before the first step: give other first weights")
        if self.on_nan == "skip_batch":
            options = [getattr(callback, "options", None) for callback in trainer.callbacks]  # type: ignore[attr-defined]
            if any(getattr(option, "cuda_graph", False) for option in options):
                raise UserError(
                    "callbacks.watch.on_nan=skip_batch looks at each step before it is taken, which a captured step "
                    "does not allow: set speed.cuda_graph=false, or callbacks.watch.on_nan=stop"
                )
            self._guard = StepGuard(trainer, pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Keep the buffers, where the batch may be left out."""
        if self._guard is not None:
            self._guard.start_batch()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the losses of the step, and look at them every so many batches.

        Raises:
            NonFiniteError: Something is not finite, or too many batches were left out.
        """
        self._batch_idx = batch_idx
        if self._guard is not None and self._guard.finish_batch(outputs):
            message = self._count_skipped(trainer, StepFigures(batch_idx, _get_names(batch), {}))
            if message is not None:
                raise NonFiniteError(message)
        self._history.add(batch_idx, outputs, batch)
        if len(self._history) >= self._interval:
            self._check(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look before a validation, which would measure and show what is not finite.

        Raises:
            NonFiniteError: Something is not finite.
        """
        if not trainer.sanity_checking and len(self._history):
            self._check(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the end of an epoch, before its checkpoints are saved.

        Raises:
            NonFiniteError: Something is not finite.
        """
        if len(self._history):
            self._check(trainer, pl_module)
        if self._skipped:
            _log.warning(
                "epoch %d: %d batches were left out, since their losses or gradients were not finite: %s",
                trainer.current_epoch + 1,
                len(self._skipped),
                format_names(list(self._skipped.values())),
            )
            self._skipped = {}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Look before a checkpoint is saved within an epoch; the module itself refuses to save such weights.

        Raises:
            NonFiniteError: Something is not finite.
        """
        # several processes may be at different places when one is interrupted, and would wait for each other
        if len(self._history) and trainer.world_size == 1 and trainer.training:
            self._check(trainer, pl_module)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the optimizers their own steps back."""
        if self._guard is not None:
            self._guard.release()
            self._guard = None

    def _check(self, trainer: Trainer, module: LightningModule) -> None:
        networks = get_networks(module)
        norms = [norm for network in networks.values() for norm in compute_norms(network)]
        steps, numbers = self._history.read(*norms)
        has_losses = any(step.values.keys() - set(SUMS) for step in steps)
        if not has_losses and steps:  # a training step that returns nothing may have logged its losses
            steps[-1] = steps[-1]._replace(values={**steps[-1].values, **_read_logged_losses(trainer)})
        message = self._find_fault(trainer, networks, steps, numbers)
        is_sound = trainer.strategy.reduce_boolean_decision(message is None)
        if is_sound:
            return
        if trainer.world_size > 1:  # all end with the line of the first that knows the cause
            messages = [trainer.strategy.broadcast(message, src=rank) for rank in range(trainer.world_size)]
            message = next(text for text in messages if text is not None)
        raise NonFiniteError(message)

    def _find_fault(
        self, trainer: Trainer, networks: dict[str, nn.Module], steps: list[StepFigures], norms: list[float]
    ) -> str | None:
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if self.on_nan == "stop" and (first := find_first_step(steps)) is not None:
            return format_broken_step(first, steps[: steps.index(first) + 1], trainer, self._run_dir)
        if self.on_nan == "skip_batch":  # a scaler leaves such steps out itself, and the guard does not see them
            for step in steps:
                if find_first_step([step]) is not None and (message := self._count_skipped(trainer, step)) is not None:
                    return message
        for index, (short, network) in enumerate(networks.items()):
            of_gradients, of_weights = norms[2 * index : 2 * index + 2]
            # the norm may overflow where each value is finite
            if not math.isfinite(of_weights) and (name := find_nonfinite(network.state_dict(), network)) is not None:
                what = f"weights ({name})"
                return format_broken_weights(what, short, self._batch_idx, trainer, self._run_dir)
            if not math.isfinite(of_gradients) and self.on_nan == "stop":
                gradients = {key: p.grad for key, p in network.named_parameters() if p.grad is not None}
                name = find_nonfinite(gradients, network)
                # a scaler leaves out steps with such gradients, and lowers its scale, which is its way to find it
                if name is not None and (scaler is None or scaler.get_scale() < _LOWEST_SCALE):
                    what = f"gradients (of {name})"
                    return format_broken_weights(what, short, self._batch_idx, trainer, self._run_dir)
        return None

    def _count_skipped(self, trainer: Trainer, step: StepFigures) -> str | None:
        """Count a batch that was left out, and return what ends training if there are too many."""
        names = " ".join(map(str, step.pairs))
        self._skipped[step.batch] = f"{step.batch + 1} ({names})" if names else str(step.batch + 1)
        if len(self._skipped) <= self.max_skipped:
            return None
        where = f"epoch {trainer.current_epoch + 1}, batch {step.batch + 1}"
        return (
            f"{where}: {len(self._skipped)} batches of this epoch had losses or gradients that are not finite, "
            f"callbacks.watch.max_skipped={self.max_skipped}: lower the learning rate, or look at these batches and "
            f"pairs: {format_names(list(self._skipped.values()))}; {format_continuation(trainer, self._run_dir)}"
        )


def _read_logged_losses(trainer: Trainer) -> dict[str, float]:
    logged = trainer.callback_metrics.items()
    return {name.removeprefix("train/"): float(value) for name, value in logged if name.startswith("train/")}


def _get_names(batch: Any) -> Sequence[str]:
    names: Sequence[str] = batch.get("name", ()) if isinstance(batch, dict) else ()
    return names
