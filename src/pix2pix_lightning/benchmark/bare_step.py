"""The training step on tensors in memory: networks, losses and optimizers, without Lightning, loader and logging."""

from __future__ import annotations

from typing import Any, Self, cast

import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import Trainer
from omegaconf import DictConfig
from torch import Tensor
from torch.optim import Optimizer

from pix2pix_lightning.data import PairedDataModule
from pix2pix_lightning.losses import replace_masked
from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.training.build import build_training
from pix2pix_lightning.training.callbacks.performance import Performance
from pix2pix_lightning.training.cuda_graph import CudaGraphStep
from pix2pix_lightning.training.performance import PerformanceOptions, use_contiguous_views


class BareStep:
    """Compute what ``Pix2PixModule.step`` does, with the trainer's performance options and nothing else of it.

    Args:
        module: Prepared as for a training, and changed by every call.
        trainer: Gives its precision and the options of its `Performance` callback.
        device: Device of the step.
    """

    def __init__(self, module: Pix2PixModule, trainer: Trainer, device: torch.device) -> None:
        self.module: Pix2PixModule = trainer.precision_plugin.convert_module(module.to(device))  # type: ignore[assignment]
        self.networks = [n for n in (module.generator, module.discriminator) if n is not None]
        callbacks = [c for c in trainer.callbacks if isinstance(c, Performance)]  # type: ignore[attr-defined]
        options = callbacks[0].options if callbacks else PerformanceOptions()
        for name, network in zip(("optimizer_g", "optimizer_d"), self.networks, strict=False):
            options.prepare(network)
            module.parts[name] = options.add_optimizer_flags(module.parts[name], network)
        module.losses = {}  # where losses are recorded; without it they would be logged
        module.trainer = trainer  # the optimizers' hooks ask for its precision
        self.optimizers: list[Optimizer] = module.configure_optimizers()[0]
        for optimizer in self.optimizers:
            use_contiguous_views(optimizer)
        self._memory_format = options.memory_format
        self._context = trainer.precision_plugin.train_step_context
        self._run: Any = CudaGraphStep(self._step, on_replay=lambda: None) if options.cuda_graph else self._step

    def __call__(self, source: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Step the discriminator, then the generator, on images (B, C, H, W) in [-1, 1]; ``mask`` as for the module."""
        with self._context():
            self._run(source, target, mask)
        self.module.batches_seen += 1  # which decides on R1

    def use_eager_step(self) -> Self:
        """Replay no CUDA graph from now on, since hooks are not called in a replay, and return the step."""
        self._run = self._step
        return self

    def _step(self, source: Tensor, target: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        module, discriminator = self.module, self.module.discriminator
        module.mask = mask
        fake = replace_masked(module.generator(source), target, mask)
        if discriminator is not None:
            for _ in range(module.discriminator_steps):
                discriminator.requires_grad_(True)
                self._update(self.optimizers[1], module.discriminator_loss(source, target, fake.detach()))
            discriminator.requires_grad_(False)
        self._update(self.optimizers[0], module.generator_loss(source, target, fake))
        return {}

    def _update(self, optimizer: Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        with torch.autocast(loss.device.type, enabled=False):  # as the module's own
            loss.backward()  # type: ignore[no-untyped-call]
        self.module.on_before_optimizer_step(optimizer)
        optimizer.step()

    def prepare_batch(self, batch: dict[str, Any]) -> tuple[Tensor, ...]:
        """Convert a batch of the loader to source, target and mask, if any, on the device, as the step takes them."""
        device = next(self.networks[0].parameters()).device
        ready = self.module.on_after_batch_transfer(move_data_to_device(batch, device), 0)
        images = (ready[side].contiguous(memory_format=self._memory_format) for side in ("source", "target"))
        return (*images, *([ready["mask"]] if "mask" in ready else []))


def build_bare_step(cfg: DictConfig, device: torch.device) -> tuple[BareStep, PairedDataModule]:
    """Build the step of a training, and the training's data, set up.

    Args:
        cfg: Configuration of the training; what it leaves to ``auto`` is filled in.
        device: Device of the step.

    Returns:
        The step and the data module.
    """
    parts = build_training(cfg)
    step = BareStep(cast(Pix2PixModule, parts.module), parts.trainer, device)
    return step, cast(PairedDataModule, parts.data)
