"""Measure validation outputs through a pretrained network, every few epochs."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torchmetrics import Metric

from pix2pix_lightning.metrics import DEFAULT_FEATURES, METRICS, EmbeddingMetric, build_named_metrics
from pix2pix_lightning.metrics.feature_extractor import LEAST_SIDE
from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.utils.checks import check_counts
from pix2pix_lightning.utils.errors import UserError


class Judge(Callback):
    """Log ``val/perceptual`` and ``val/kid`` every few epochs and after the last one.

    What is compared are images as files hold them, as `evaluate` does: colours of palettes and of Lab too. The outputs
    are those of the validation: of EMA weights with ``callbacks.ema.validate=true`` alone. The last epoch is that of
    ``max_epochs`` or ``max_steps``; a training that ends otherwise ends with the values of its last judged epoch.

    Args:
        features: Name of the pretrained network, as ``networks.features.load_features`` takes it. A loss must not train
            with the same one.
        metrics: Some of ``perceptual``, ``kid`` and ``fid``.
        every_n_epochs: Epochs between two measurements; of an epoch without a validation it is the next one with one.
        max_images: Number of validation images that are measured, the first ones; None: all.

    Attributes:
        names: Names under which it logs.
        is_due: Whether it measures in this validation.

    Raises:
        UserError: An argument is out of range, or the network is unknown or not installed.
    """

    def __init__(
        self,
        features: str = DEFAULT_FEATURES,
        metrics: Sequence[str] = ("perceptual", "kid"),
        every_n_epochs: int = 5,
        max_images: int | None = None,
    ) -> None:
        known = [name for name, info in METRICS.items() if info.uses_features]
        chosen = [metrics] if isinstance(metrics, str) else list(metrics)
        if unknown := [name for name in chosen if name not in known]:
            raise UserError(f"metrics={unknown[0]}: choose from {', '.join(known)}; others belong in module.metrics")
        if not chosen:
            raise UserError(f"metrics=[] measures nothing: choose from {', '.join(known)}")
        check_counts(every_n_epochs=every_n_epochs, max_images=1 if max_images is None else max_images)
        scarce = next((name for name in chosen if (max_images or sys.maxsize) < METRICS[name].least_images), None)
        if scarce:
            least = METRICS[scarce].least_images
            raise UserError(f"max_images={max_images}: {scarce} needs {least} images at least: set max_images={least}")
        self.features = features
        self.every_n_epochs = every_n_epochs
        self.max_images = max_images
        self.names = tuple(f"val/{name}" for name in chosen)
        self.is_due = False
        self._metrics: dict[str, Metric] = build_named_metrics(chosen, features=features)
        self._embeddings: dict[bytes, Tensor] = {}  # of targets, by their pixels
        self._num_left = 0

    def describe(self) -> dict[str, dict[str, Any]]:
        """Describe the metrics as plain data by name, as `metrics.describe_metrics` does."""
        return {name: METRICS[name.removeprefix("val/")].to_dict() for name in self.names}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the network can judge this module.

        Raises:
            UserError: A part of the module uses the same network, a metric of the module has the same name, or its
                targets are no pictures.
        """
        split_metrics = getattr(pl_module, "val_metrics", None)
        if doubled := sorted(set(self.names) & {str(name) for name in getattr(split_metrics, "collection", ())}):
            name = doubled[0].removeprefix("val/")
            raise UserError(
                f"callbacks.judge and module.metrics both measure {doubled[0]}: leave {name} out of module.metrics"
            )
        for name, part in pl_module.named_modules():
            if getattr(part, "pretrained", None) == self.features:
                others = " or ".join(one for one in ("lite1", "lite2") if one != self.features)
                raise UserError(
                    f"callbacks.judge.features={self.features}: {name} trains with this network, which must not judge "
                    f"what it has trained: set callbacks.judge.features={others}"
                )
        spec = cast(Pix2PixModule, pl_module).pair_spec
        target = spec.target
        if min(spec.height, spec.width) < LEAST_SIDE:
            raise UserError(
                f"callbacks.judge: a pretrained network sees sides of {LEAST_SIDE} pixels and more, not "
                f"{spec.size_setting}: set callbacks.judge=null"
            )
        if target.has_class_numbers or target.file_channels not in (1, 3):
            held = "class numbers" if target.has_class_numbers else f"{target.file_channels} channels"
            raise UserError(
                f"callbacks.judge: a pretrained network sees colours or gray levels, and these targets have {held}: "
                "set callbacks.judge=null"
            )

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find out whether this validation is measured, and start anew."""
        epoch, step = trainer.current_epoch + 1, trainer.check_val_every_n_epoch or 1
        is_last = 0 <= (trainer.max_epochs or -1) < epoch + step or 0 <= trainer.max_steps <= trainer.global_step
        is_training = trainer.state.fn == TrainerFn.FITTING
        has_come = epoch // self.every_n_epochs > (epoch - step) // self.every_n_epochs  # since the last validation
        self.is_due = not trainer.sanity_checking and (not is_training or is_last or has_come)
        most = sys.maxsize if self.max_images is None else self.max_images
        self._num_left = len(range(trainer.global_rank, most, trainer.world_size))
        for metric in self._metrics.values():
            metric.to(pl_module.device)  # also where this process measures nothing, since the values are gathered
            metric.reset()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Measure the outputs of a batch."""
        if not self.is_due or self._num_left <= 0:
            return
        made, real = _decode(cast(Pix2PixModule, pl_module), batch, outputs["output"])
        made, real = made[: self._num_left], real[: self._num_left]
        self._num_left -= len(real)
        if not len(real):
            return
        for metric in self._metrics.values():
            if isinstance(metric, EmbeddingMetric):
                metric.update(made, real, self._embed(metric, real))
            else:
                metric.update(made, real)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the values, equal in all processes."""
        if not self.is_due:
            return
        for name, metric in zip(self.names, self._metrics.values(), strict=True):
            pl_module.log(name, cast(Tensor, metric.compute()), prog_bar=True, sync_dist=True)
            metric.reset()

    def _embed(self, metric: EmbeddingMetric, images: Tensor) -> Tensor:
        """Return the embeddings of targets, computed when they are seen for the first time."""
        pixels = (images * 255).round().byte().cpu().numpy()
        keys = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in pixels]
        if not all(key in self._embeddings for key in keys):
            self._embeddings |= zip(keys, metric.extractor.compute_embeddings(images), strict=True)
        return torch.stack([self._embeddings[key] for key in keys])


def _decode(module: Pix2PixModule, batch: Any, output: Tensor) -> tuple[Tensor, Tensor]:
    """Return outputs and targets as fractions of the range of files, equal where a pixel does not count.

    Args:
        module: The module, whose pair_spec says what the pixels mean.
        batch: A batch of the validation.
        output: The outputs of the validation, (B, C', H, W) in [-1, 1].

    Returns:
        Two times (B', C, H, W) in [0, 1], float32, without the images of which no pixel counts.
    """
    spec, source = module.pair_spec, batch["source"]
    made = spec.target.to_fractions(spec.decode(output.float(), source)).float()
    real = spec.target.to_fractions(spec.decode(batch["target"].float(), source, is_output=False)).float()
    if (mask := batch.get("mask")) is None:
        return made, real
    counted = mask.flatten(1).any(1)
    return torch.where(mask, made, real)[counted], real[counted]
