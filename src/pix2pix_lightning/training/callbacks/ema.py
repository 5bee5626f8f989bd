"""An exponential moving average (EMA) of the generator's weights."""

from __future__ import annotations

from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from pix2pix_lightning.checkpoints.files import EMA_KEY
from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.finite import NonFiniteError, find_nonfinite


class EMA(Callback):
    """Keep an exponential moving average of the generator's weights, counted in batches, in each checkpoint.

    A step of training is noisy, the more with an adversarial loss; the average over the last steps is less so (Yazici
    et al., arXiv 1806.04498). Training and validation do not use it; ``Translator`` does.

    Args:
        decay: Share of the old average that a batch leaves, at least 0 and below 1. The first batches count more:
            after n of them the share is at most (1 + n) / (10 + n).

    Raises:
        UserError: ``decay`` is out of range.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise UserError(f"decay={decay}: a share from 0 to below 1 is expected")
        self.decay = decay
        self._average: dict[str, Tensor] = {}
        self._averaged_names: set[str] = set()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start from the first weights, or from a checkpoint's average."""
        self._averaged_names = find_averaged_names(cast(Pix2PixModule, pl_module).generator)
        state = _get_generator_state(pl_module)
        self._average = {
            name: self._average.get(name, value).to(value.device, copy=True) for name, value in state.items()
        }

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any) -> None:
        """Move the average towards the weights."""
        num_batches = cast(Pix2PixModule, pl_module).batches_seen
        decay = min(self.decay, (1 + num_batches) / (10 + num_batches))
        state = _get_generator_state(pl_module)
        for name, value in state.items():
            if name in self._averaged_names:
                self._average[name].lerp_(value, 1 - decay)
            else:
                self._average[name].copy_(value)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the average to the checkpoint.

        Raises:
            NonFiniteError: It is not finite, and would stay so. Nothing is saved, and a file that was there stays.
        """
        if (name := find_nonfinite(self._average, cast(Pix2PixModule, pl_module).generator)) is not None:
            raise NonFiniteError(
                f"{name} of the EMA weights is not finite, so no checkpoint is saved: continue from an earlier one"
            )
        checkpoint[EMA_KEY] = self._average

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Continue from the checkpoint's average, where it has one."""
        self._average = dict(checkpoint.get(EMA_KEY, {}))


def find_averaged_names(generator: nn.Module) -> set[str]:
    """Return the names of the tensors of which an average makes sense: parameters, and running statistics of norms.

    Other buffers are copied. The vectors of spectral norm, for example, have length 1. An average of them is shorter,
    and the weights that are divided by its estimate would be many times too large.
    """
    statistics = ("running_mean", "running_var")
    buffers = {name for name, _ in generator.named_buffers(remove_duplicate=False) if name.endswith(statistics)}
    return buffers | {name for name, _ in generator.named_parameters(remove_duplicate=False)}


def _get_generator_state(pl_module: LightningModule) -> dict[str, Tensor]:
    generator = cast(Pix2PixModule, pl_module).generator
    return {name: value.detach() for name, value in generator.state_dict().items()}
