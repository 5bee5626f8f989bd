"""Leave out optimizer steps whose losses or gradients are not finite: ``on_nan=skip_batch``."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from pix2pix_lightning.models.accumulation import AccumulationWindow


class StepGuard:
    """Let an optimizer step only on finite losses and gradients, in all processes or in none.

    It waits for the device at each step, which costs what the device would have computed meanwhile, and copies the
    buffers (running statistics) of the module at each batch, so that a batch that is left out leaves no trace.

    Args:
        trainer: The trainer, whose optimizers are guarded until `release`.
        module: The module; its ``losses`` are those of the step that is running.
    """

    def __init__(self, trainer: Trainer, module: LightningModule) -> None:
        self._trainer, self._module = trainer, module
        self._buffers: dict[str, Tensor] = {}
        self._has_skipped = self._has_stepped = False
        self._pending: list[Tensor] = []  # losses of the window's batches before the one that steps
        self._steps = [(optimizer, optimizer.step) for optimizer in trainer.optimizers]
        for optimizer, step in self._steps:
            setattr(optimizer, "step", self._guard(optimizer, step))  # noqa: B010 - the method stays in the class

    def start_batch(self) -> None:
        """Keep the buffers as they are before the first batch of a step."""
        self._has_skipped = self._has_stepped = False
        if not self._pending:
            self._buffers = {name: buffer.clone() for name, buffer in self._module.named_buffers()}

    def finish_batch(self, losses: Any) -> bool:
        """Restore the buffers if a step was left out or will be, and return whether one was.

        Args:
            losses: What the training step returned: losses by name where it has them.

        Returns:
            Whether a step was left out.
        """
        # the gradient of an L1 of NaN is finite, so that the losses of all batches of a step are needed
        values = [value for value in losses.values() if isinstance(value, Tensor)] if losses else []
        is_whole = getattr(self._module, "window", AccumulationWindow()).is_last
        self._pending = [] if is_whole else [*self._pending, *values]
        # without a step, as within a window or where a scaler has left it out, the losses alone tell
        if self._has_skipped or (not self._has_stepped and values and not _are_finite(values)):
            for name, buffer in self._module.named_buffers():
                if name in self._buffers:
                    buffer.copy_(self._buffers[name])
        return self._has_skipped

    def release(self) -> None:
        """Give the optimizers their own steps back."""
        for optimizer, step in self._steps:
            setattr(optimizer, "step", step)  # noqa: B010 - as above

    def _guard(self, optimizer: Optimizer, step: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(step)
        def step_if_finite(closure: Callable[[], Any] | None = None, **options: Any) -> Any:
            with torch.enable_grad():
                result = None if closure is None else closure()  # it clips, so that gradients are final after it
            self._has_stepped = True
            if self._is_finite(optimizer):
                step(**options)
            else:
                self._has_skipped = True
            return result

        return step_if_finite

    def _is_finite(self, optimizer: Optimizer) -> bool:
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        gradients = [weight.grad.detach() for weight in weights if weight.grad is not None]
        losses = [*self._pending, *(getattr(self._module, "losses", None) or {}).values()]
        parts = [get_total_norm(gradients), *losses]
        figures = torch.stack([figure.detach().float().mean().to(self._module.device) for figure in parts])
        is_finite = bool(figures.isfinite().all())
        return bool(self._trainer.strategy.reduce_boolean_decision(is_finite))


def _are_finite(values: list[Tensor]) -> bool:
    return all(bool(value.isfinite().all()) for value in values)
