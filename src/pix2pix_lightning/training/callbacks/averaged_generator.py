"""A running average of the generator's weights."""

from __future__ import annotations

from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from pix2pix_lightning.checkpoints.files import AVERAGED_KEY
from pix2pix_lightning.models.pix2pix import Pix2PixModule


class AveragedGenerator(Callback):
    """Keeps an exponential moving average of the generator, counted in batches, in each checkpoint.

    A step of training is noisy, and more so with an adversarial loss; the average of the last steps is less so
    (Yazici et al., arXiv 1806.04498). Training and validation do not see it; ``Translator(weights="averaged")``
    does.

    Args:
        decay: Share of the old average that a batch leaves, at least 0 and below 1. The first batches count more:
            after n of them it is at most (1 + n) / (10 + n).

    Raises:
        ValueError: ``decay`` is out of range.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay={decay}: a share from 0 to below 1 is expected")
        self.decay = decay
        self._average: dict[str, Tensor] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start from the first weights, or from a checkpoint's average."""
        state = _generator_state(pl_module)
        self._average = {
            name: self._average.get(name, value).to(value.device, copy=True) for name, value in state.items()
        }

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any) -> None:
        """Move the average a little towards the weights."""
        num_batches = cast(Pix2PixModule, pl_module).batches_seen
        decay = min(self.decay, (1 + num_batches) / (10 + num_batches))
        state = _generator_state(pl_module)
        floating = [name for name, value in state.items() if value.is_floating_point()]
        torch._foreach_lerp_([self._average[n] for n in floating], [state[n] for n in floating], 1 - decay)
        for name in state.keys() - floating:
            self._average[name].copy_(state[name])

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Put the average beside the weights."""
        checkpoint[AVERAGED_KEY] = self._average

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Go on with the average, where the checkpoint has one."""
        self._average = dict(checkpoint.get(AVERAGED_KEY, {}))


def _generator_state(pl_module: LightningModule) -> dict[str, Tensor]:
    generator = cast(Pix2PixModule, pl_module).generator
    return {name: value.detach() for name, value in generator.state_dict().items()}
