"""An exponential moving average (EMA) of the generator's weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from pix2pix_lightning.checkpoints.files import EMA_KEY
from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.utils.checks import check_switch
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.finite import NonFiniteError, find_nonfinite


class EMA(Callback):
    """Keep an exponential moving average of the generator's weights, counted in batches, in each checkpoint.

    A step of training is noisy, the more with an adversarial loss; the average over the last steps is less so (Yazici
    et al., arXiv 1806.04498). Training does not use it; ``Translator`` does.

    Args:
        decay: Share of the old average that a batch leaves, at least 0 and below 1. The first batches count more:
            after n of them the share is at most (1 + n) / (10 + n).
        validate: Whether the generator has the average during the validations of a training, so that metrics, gallery
            and ``best.ckpt`` are those of the EMA weights. The trained weights come back exactly.

    Raises:
        UserError: ``decay`` is out of range, or ``validate`` is neither true nor false.
    """

    def __init__(self, decay: float = 0.999, *, validate: bool = False) -> None:
        if not 0 <= decay < 1:
            raise UserError(f"decay={decay}: a share from 0 to below 1 is expected")
        check_switch("validate", validate)
        self.decay = decay
        self.validate = validate
        self._average: dict[str, Tensor] = {}
        self._trained: dict[str, Tensor] = {}  # the trained weights while the generator has the average
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

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the generator the average, if it is to be validated; before training there is none."""
        if not self.validate or trainer.state.fn != TrainerFn.FITTING or not self._average:
            return
        state = _get_generator_state(pl_module)
        with torch.inference_mode(False):  # the copies outlive the validation
            self._trained = {name: value.clone() for name, value in state.items()}
        _copy_tensors(self._average, state)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the generator its trained weights again."""
        self._restore(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the generator its trained weights again, where a validation was stopped."""
        self._restore(pl_module)

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
        for name, value in self._trained.items():  # saved within a validation, as when it is stopped
            checkpoint["state_dict"][f"generator.{name}"] = value

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Continue from the checkpoint's average, where it has one."""
        self._average = dict(checkpoint.get(EMA_KEY, {}))

    def _restore(self, pl_module: LightningModule) -> None:
        if self._trained:
            _copy_tensors(self._trained, _get_generator_state(pl_module))
            self._trained = {}


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


@torch.no_grad()
def _copy_tensors(values: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Copy values into tensors of the same names, which stay where they are, as a CUDA graph needs them."""
    for name, tensor in state.items():
        tensor.copy_(values[name])
