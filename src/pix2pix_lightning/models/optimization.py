"""The optimizers of the two networks: building them, finding them, clipping before a step, and their schedules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import nn
from torch.optim import Optimizer

from pix2pix_lightning.models.components import Parts, build_optimizers
from pix2pix_lightning.models.rates import log_rates, step_schedules


class OptimizationMixin(LightningModule):
    """Give each network an optimizer, and a schedule where there is one.

    Attributes:
        parts: What the module is made of, objects or descriptions.
        generator: The network of ``optimizer_g``.
        discriminator: The network of ``optimizer_d``, or None.
        gradient_clip: Largest L2 norm of each network's gradients, or None.
        log_progress: Logs the epoch.
    """

    parts: Parts
    generator: nn.Module
    discriminator: Any
    gradient_clip: float | None
    log_progress: Callable[..., None]

    def configure_optimizers(self) -> Any:
        """Build the optimizers of generator and discriminator and, where there is a schedule, one for each."""
        return build_optimizers(self.parts, g=self.generator, d=self.discriminator)

    def get_optimizer(self, network: str) -> LightningOptimizer:
        """Return the optimizer of ``"g"`` or ``"d"``."""
        optimizers = self.optimizers()
        return optimizers[0 if network == "g" else 1] if isinstance(optimizers, list) else optimizers

    def on_train_epoch_end(self) -> None:
        """Log the learning rates and step the schedules: with manual optimization the trainer does not."""
        self.log_progress()
        log_rates(self)
        step_schedules(self)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clip the gradients. Under a 16-bit scaler they have their true size only now."""
        if self.gradient_clip is not None:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, self.gradient_clip)
