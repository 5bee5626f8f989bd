"""The module's step on tensors in memory: its networks, losses and optimizers without Lightning, loader and logging."""

from __future__ import annotations

from typing import Any, Self

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.optim import Optimizer

from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.training.cuda_graph import RecordedStep


class BareStep:
    """What ``Pix2PixModule.step`` computes, at the module's own settings for speed.

    Args:
        module: Is made ready, as a training does, and changed by every call.
        trainer: Its precision is taken, and nothing else.
        device: Where to.
    """

    def __init__(self, module: Pix2PixModule, trainer: Trainer, device: torch.device) -> None:
        self.module: Pix2PixModule = trainer.precision_plugin.convert_module(module.to(device))  # type: ignore[assignment]
        self.networks = [n for n in (module.generator, module.discriminator) if n is not None]
        for network in self.networks:
            module.speed.prepare(network)
        module.trainer = trainer  # is asked for its precision
        module.record = lambda name, value: None  # type: ignore[method-assign]
        self.optimizers: list[Optimizer] = module.configure_optimizers()[0]
        self._context = trainer.precision_plugin.train_step_context
        self._run: Any = RecordedStep(self._step, replayed=lambda: None) if module.speed.cuda_graph else self._step

    def __call__(self, source: Tensor, target: Tensor) -> None:
        """One step of the discriminator, then one of the generator; (B, C, H, W) in [-1, 1] each."""
        with self._context():
            self._run(source, target)

    def as_it_is(self) -> Self:
        """From now on nothing is replayed: what a recorded step does cannot be looked into."""
        self._run = self._step
        return self

    def _step(self, source: Tensor, target: Tensor) -> dict[str, Tensor]:
        module, discriminator = self.module, self.module.discriminator
        fake = module.generator(source)
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

    def batch(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """A loader's batch as the step takes it."""
        device = next(self.networks[0].parameters()).device
        moved = {key: value.to(device) if isinstance(value, Tensor) else value for key, value in batch.items()}
        ready = self.module.on_after_batch_transfer(moved, 0)
        return ready["source"], ready["target"]
