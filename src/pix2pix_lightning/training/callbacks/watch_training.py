"""Warn when a training goes wrong although its numbers are finite."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from statistics import fmean, median
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from pix2pix_lightning.training.watching.networks import NETWORKS, compute_norms, get_networks
from pix2pix_lightning.training.watching.step_history import SUMS, StepHistory
from pix2pix_lightning.training.watching.validation_figures import MeanTarget, ValidationMeter
from pix2pix_lightning.training.watching.warning_signs import (
    EpochFigures,
    NetworkFigures,
    Sign,
    Thresholds,
    find_training_signs,
    find_validation_signs,
    is_won,
)
from pix2pix_lightning.utils.errors import UserError

_log = logging.getLogger(__name__)
_EVERY = 5
"""Of so many batches one is measured."""
_MAX_SAMPLES = 1000
_SAMPLE = 64
"""Values of each weight that tell whether it changes."""


class WatchTraining(Callback):
    """Warn, once each, of what shows that a training goes wrong, with the figures and what to try.

    Losses of every fifth batch, gradients at each ``log_every_n_steps`` and outputs of validation are measured on the
    device, and read at the end of an epoch or a validation.

    Args:
        **thresholds: Fields of ``training.watching.warning_signs.Thresholds``, in place of its defaults.

    Raises:
        UserError: A threshold is unknown, or no number of at least 0.
    """

    def __init__(self, **thresholds: float) -> None:
        known = {field.name for field in fields(Thresholds)}
        for name, value in thresholds.items():
            if name not in known:
                raise UserError(f"callbacks.warn.{name} is unknown: there are {', '.join(sorted(known))}")
            if not (isinstance(value, int | float) and value >= 0):
                raise UserError(f"callbacks.warn.{name}={value}: a number of at least 0 is expected")
        self.limits = Thresholds(**thresholds)  # type: ignore[arg-type]
        self._told: set[str] = set()
        self._num_batches = self._num_before_epoch = 0
        self._batches_won = 0
        self._mean_target = MeanTarget()
        self._meter = ValidationMeter()
        self._history = StepHistory()
        self._norms: list[Tensor] = []  # of each sample: for each network gradients, weights
        self._first_weights: dict[str, Tensor] = {}  # some of each network, at the epoch's start

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start counting where a resumed training does."""
        self._num_batches = int(getattr(pl_module, "batches_seen", 0))
        self.on_train_epoch_start(trainer, pl_module)  # Lightning does not call it for an epoch that was begun before

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep some of the weights."""
        self._num_before_epoch = self._num_batches
        self._history, self._norms = StepHistory(), []
        self._first_weights = {short: _sample_weights(network) for short, network in get_networks(pl_module).items()}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure some of the batches; nothing is read."""
        self._num_batches += 1
        is_last = trainer.is_last_batch
        if batch_idx % _EVERY == 0 and len(self._history) < _MAX_SAMPLES:
            self._history.add(batch_idx, outputs, {})
            if isinstance(target := batch.get("target"), Tensor):
                self._mean_target.add(target, _find_ignored(batch))
        if is_last or (batch_idx + 1) % (getattr(trainer, "log_every_n_steps", 0) or 50) == 0:
            self._norms.append(_compute_all_norms(pl_module))
            del self._norms[:-_MAX_SAMPLES]

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Measure the outputs of a validation batch."""
        output = outputs.get("output") if isinstance(outputs, Mapping) else None
        if isinstance(output, Tensor) and not trainer.sanity_checking:
            ignored = _find_ignored(batch)
            self._meter.add(batch["source"], batch["target"], output, self._mean_target.compute(), ignored)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn of what the outputs show."""
        figures = self._meter.compute()
        if figures is not None and trainer.state.fn == TrainerFn.FITTING:
            epoch = trainer.current_epoch + 1
            num_steps = self._num_batches // int(getattr(pl_module, "accumulate", 1))
            losses = {"is_paired": _sees_pairs(pl_module), "has_classes": _compares_classes(pl_module)}
            signs = find_validation_signs(figures, num_steps, epoch, self.limits, **losses)
            self._tell(trainer, signs)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn of what losses, gradients and weights of the epoch show."""
        present = get_networks(pl_module)
        moves = [_has_moved(network, self._first_weights.get(short)) for short, network in present.items()]
        steps, numbers = self._history.read(*moves, *self._norms)
        moved, numbers = numbers[: len(moves)], numbers[len(moves) :]
        names = dict.fromkeys(name for step in steps for name in step.values if name not in SUMS)
        losses = {name: fmean(step.values[name] for step in steps if name in step.values) for name in names}
        undecided = _compute_undecided_loss(pl_module)
        won = is_won(losses.get("loss_d", math.nan), undecided, self.limits)
        self._batches_won = self._batches_won + self._num_batches - self._num_before_epoch if won else 0
        networks = {}
        width = 2 * len(present)
        rows = [numbers[start : start + width] for start in range(0, len(numbers), width or 1)]
        for index, (short, network) in enumerate(present.items()):
            if not rows or index >= len(trainer.optimizers):
                continue
            count = sum(weight.numel() for weight in network.parameters() if weight.requires_grad)
            if not count:
                continue
            gradients, weights = zip(*(row[2 * index : 2 * index + 2] for row in rows), strict=True)
            ratios = [gradient / max(weight, 1e-12) for gradient, weight in zip(gradients, weights, strict=True)]
            group = trainer.optimizers[list(NETWORKS).index(short)].param_groups[0]
            is_scaled = trainer.precision == "16-mixed" and group.get("fused")  # gradients keep the scaler's factor
            networks[short] = NetworkFigures(
                rate=float(group["lr"]),
                gradient_rms=math.nan if is_scaled else median(gradients) / math.sqrt(count),
                gradient_ratio=math.nan if is_scaled else median(ratios),
                has_moved=bool(moved[index]) or _is_last_of_schedule(trainer, group),
            )
        figures = EpochFigures(
            losses=losses,
            terms=_select_terms(pl_module),
            undecided=undecided,
            batches_won=self._batches_won,
            networks=networks,
        )
        self._tell(trainer, find_training_signs(figures, self.limits))

    def _tell(self, trainer: Trainer, signs: Iterable[Sign]) -> None:
        for kind, message in signs:
            if kind not in self._told and trainer.is_global_zero:
                self._told.add(kind)
                _log.warning("epoch %d: %s", trainer.current_epoch + 1, message)


def _compute_all_norms(module: LightningModule) -> Tensor:
    """Compute the norms of gradients and weights of each network, on the device."""
    norms = [norm.to(module.device) for network in get_networks(module).values() for norm in compute_norms(network)]
    return torch.stack(norms) if norms else torch.empty(0)


def _find_ignored(batch: Mapping[str, Any]) -> Tensor | None:
    """Return which pixels of a batch do not count, (B, 1, H, W); None where each one counts."""
    mask = batch.get("mask")
    return ~mask if isinstance(mask, Tensor) else None


def _sees_pairs(module: LightningModule) -> bool:
    """Return whether a loss compares an output with its own target or source."""
    weights: Mapping[str, float] = getattr(module, "weights", {})
    is_conditional = bool(getattr(module, "conditional", True)) and getattr(module, "discriminator", None) is not None
    return is_conditional or any(weight for name, weight in weights.items() if name != "adversarial")


def _compares_classes(module: LightningModule) -> bool:
    """Return whether a loss asks for the right class, and not for the values of the target."""
    losses = getattr(module, "reconstruction", None)
    return isinstance(losses, nn.ModuleDict) and any(
        getattr(loss, "compares_classes", False) for loss in losses.values()
    )


def _sample_weights(network: nn.Module) -> Tensor:
    """Copy some values of each weight."""
    samples = [weight.detach().flatten()[:_SAMPLE].float() for weight in network.parameters()]
    return torch.cat(samples) if samples else torch.empty(0)


def _has_moved(network: nn.Module, first: Tensor | None) -> Tensor:
    """Return whether weights are others than the samples, as 0 or 1 on the device; 1 where there are none."""
    present = _sample_weights(network)
    if first is None or first.shape != present.shape:
        return torch.ones((), device=present.device)
    return (present != first).any().float()


def _is_last_of_schedule(trainer: Trainer, group: Mapping[str, Any]) -> bool:
    """Return whether a schedule has brought a rate to 0 in the last epoch, as a cosine does."""
    is_last = trainer.current_epoch + 1 == trainer.max_epochs
    return is_last and float(group["lr"]) == 0 and float(group.get("initial_lr", 0.0)) > 0


def _select_terms(module: LightningModule) -> dict[str, float]:
    """Return the weights of the loss terms whose value tells their size.

    That of hinge and Wasserstein is a mean of logits, which may be 0 while its gradients are large.
    """
    weights = dict(getattr(module, "weights", {}))
    loss = getattr(module, "adversarial", None)
    if "adversarial" in weights and loss is not None:
        logits, labels = _build_undecided(module, loss)
        if float(loss.generator(logits, logits, labels)) == 0:
            del weights["adversarial"]
    return weights


def _compute_undecided_loss(module: LightningModule) -> float:
    """Compute the discriminator's loss for logits of 0; NaN with a penalty, whose losses have no lowest value."""
    loss = getattr(module, "adversarial", None)
    if getattr(module, "discriminator", None) is None or loss is None or getattr(module, "penalty_weight", None):
        return math.nan
    logits, labels = _build_undecided(module, loss)
    return float(loss.discriminator(logits, logits, labels))


def _build_undecided(module: LightningModule, loss: Any) -> tuple[Tensor, Tensor | None]:
    """Return logits of 0 for a pixel and, where the loss takes labels, its class."""
    if not getattr(loss, "needs_labels", False):
        return torch.zeros(1, 1, 1, 1, device=module.device), None
    num_classes = int(getattr(module.discriminator, "num_classes", 1))
    logits = torch.zeros(1, num_classes + 1, 1, 1, device=module.device)
    return logits, torch.zeros(1, 1, 1, dtype=torch.long, device=module.device)
