"""Validation, test and prediction with a trainer: the generator in mode ``deterministic``."""

from __future__ import annotations

from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.models.components import Batch
from pix2pix_lightning.models.split_metrics import SplitMetrics
from pix2pix_lightning.networks import pad_for, use_eval_mode


class EvaluationMixin(LightningModule):
    """Run the generator on held-out images: each by its own statistics, without dropout.

    Attributes:
        generator: Maps sources to outputs.
        pair_spec: What the images mean.
        val_metrics: Metrics of a split, named ``val/<name>``. A test logs the same ones as ``test/<name>``.
        batches_seen: Number of training batches so far.
    """

    generator: nn.Module
    pair_spec: PairSpec
    val_metrics: SplitMetrics
    batches_seen: int

    @torch.no_grad()
    def generate(self, source: Tensor) -> Tensor:
        """Translate images as the validation does, and as `Translator` does by default.

        Each image is normalized by its own statistics, dropout is off, and sides that the network cannot take are
        padded by reflection. The module's mode, ``train()`` or ``eval()``, changes nothing.

        Args:
            source: Images (B, C, H, W) in [-1, 1], on the module's device.

        Returns:
            The generator's output, (B, C', H, W) in [-1, 1], without a gradient.
        """
        source = self.pair_spec.source.fill_missing(source)
        height, width = source.shape[2:]
        padded = pad_for(source, self.generator)
        with use_eval_mode(self.generator, norm="image", dropout=False):
            output = self.generator.forward(padded)  # not what was compiled for training
        return cast(Tensor, output[..., :height, :width])

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Measure the outputs of a batch, and return them, (B, C', H, W) in [-1, 1], as ``output``."""
        output = self.generate(batch["source"])
        self.val_metrics.update(output, batch["target"], batch.get("mask"))
        return {"output": output}

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics."""
        self.log_dict(cast(Any, self.val_metrics.compute()), prog_bar=True, sync_dist=True)
        self.log_progress()

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Measure the outputs of a batch as in validation."""
        return self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        """Log the metrics of the test split as ``test/<name>``."""
        metrics = self.val_metrics.compute()
        self.log_dict(
            cast(Any, {f"test/{name.removeprefix('val/')}": value for name, value in metrics.items()}), sync_dist=True
        )

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Translate a batch, which needs no target, as ``Translator(module)`` does.

        Args:
            batch: ``source``, images (B, C, H, W) in [-1, 1]; ``mask``, False where it has no value, if some may have
                none; and ``name``, if there are names.
            batch_idx: Number of the batch.

        Returns:
            ``output``, what files of the target hold, (B, C', H, W) in their type and range on the CPU: colours, gray
            levels, class numbers or other values, none where the source has none; and the batch's ``name``.
        """
        source, mask = batch["source"], batch.get("mask")
        stored = source if mask is None else source.masked_fill(~mask, torch.nan)
        output = self.pair_spec.decode(self.generate(source), stored).cpu()
        return {"output": output, **({"name": batch["name"]} if "name" in batch else {})}

    def log_progress(self, *, on_step: bool = False) -> None:
        """Log against the batch's number in the run, right after a resume too; Lightning then adds no epoch itself."""
        step = float(max(0, self.batches_seen - 1))
        values = {"step": step, "epoch": float(self.current_epoch)}
        self.log_dict(values, on_step=on_step, on_epoch=not on_step, sync_dist=not on_step)
