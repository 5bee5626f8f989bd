"""Check before training that settings of the trainer and parts of the module work."""

from __future__ import annotations

import logging
import warnings

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn

from pix2pix_lightning.compat import allow_unused_parameters
from pix2pix_lightning.data.sides import Side
from pix2pix_lightning.networks.features import FEATURES, check_features
from pix2pix_lightning.utils.errors import UserError

_log = logging.getLogger(__name__)


def check_arguments(trainer: Trainer, *, has_discriminator: bool) -> None:
    """Refuse arguments of a trainer that are the module's, before Lightning does so without saying that.

    Args:
        trainer: The trainer, before it starts.
        has_discriminator: Whether each batch takes a step of two networks.

    Raises:
        UserError: The trainer is to clip or accumulate gradients; the line names the module's argument.
    """
    # integers become floats in that hook, so the module's is the one to be called
    warnings.filterwarnings("ignore", "You have overridden `on_after_batch_transfer` in `LightningModule`")
    if trainer.state.fn != TrainerFn.FITTING:
        return
    if trainer.gradient_clip_val:
        raise UserError(
            f"Trainer(gradient_clip_val={trainer.gradient_clip_val}): each network's gradients are clipped by the "
            f"module, by their norm: give Pix2PixModule(gradient_clip={trainer.gradient_clip_val}) instead"
        )
    if trainer.accumulate_grad_batches != 1:
        raise UserError(
            f"Trainer(accumulate_grad_batches={trainer.accumulate_grad_batches}): gradients are accumulated by the "
            f"module: give Pix2PixModule(accumulate={trainer.accumulate_grad_batches}) instead"
        )
    if trainer.gradient_clip_algorithm is not None:
        raise UserError(
            f"Trainer(gradient_clip_algorithm={trainer.gradient_clip_algorithm.value}): gradients are clipped by their "
            "norm, by Pix2PixModule(gradient_clip=...): leave it out"
        )
    if trainer.max_steps > 0 and has_discriminator and not getattr(trainer, "fast_dev_run", 0):
        _log.warning(
            "Trainer(max_steps=%d) counts the steps of both networks, two a batch: training ends after half as many "
            "batches",
            trainer.max_steps,
        )


def check_trainer(trainer: Trainer, *, has_penalty: bool, accumulate: int) -> None:
    """Refuse settings of a trainer that would train something else, and fit plain DDP to two networks.

    Args:
        trainer: The trainer, before it starts.
        has_penalty: Whether the discriminator's gradient is penalized.
        accumulate: Batches of one step.

    Raises:
        UserError: A setting does not work; the line names it.
    """
    strategy = trainer.strategy
    if isinstance(strategy, DDPStrategy) and not getattr(strategy, "reduces_per_network", False):
        allow_unused_parameters(strategy)  # plain DDP: each backward pass reaches one network
    if has_penalty and trainer.precision in ("16-true", "bf16-true"):
        raise UserError(
            f"trainer.precision={trainer.precision} with a gradient penalty, which needs float32 weights: use "
            "bf16-mixed"
        )
    if accumulate > 1 and trainer.precision == "16-mixed":
        raise UserError(
            f"module.accumulate={accumulate} with trainer.precision=16-mixed: the loss scale can change between the "
            "batches of a step; use bf16-mixed"
        )


def check_pretrained(module: nn.Module, target: Side, stage: str) -> None:
    """Check that parts which use a pretrained network can do so, before a training: else they are not needed.

    Such a part of this package names the network in its attribute ``pretrained``. Warn of a metric that measures by the
    same network.

    Args:
        module: The module with all of its parts.
        target: What the target's pixels mean.
        stage: Stage of the trainer, ``fit`` before a training.

    Raises:
        UserError: The network is not installed, or the targets are no pictures of 1 or 3 channels.
    """
    trained: dict[str, str] = {}
    for key, part in module.named_modules() if stage == TrainerFn.FITTING else ():
        network = getattr(part, "pretrained", None)
        if not isinstance(network, str) or not type(part).__module__.startswith("pix2pix_lightning."):
            continue
        trained[network] = key
        if target.kind in ("lab", "label") or target.channels not in (1, 3):
            raise UserError(
                f"{key}.pretrained={network} with a target of kind {target.kind} and {target.channels} channels: a "
                "pretrained network sees gray and RGB images; leave this part out"
            )
        try:
            check_features(network)
        except UserError as error:
            raise UserError(f"{key}.pretrained={network}: {error}") from None
    split_metrics = getattr(module, "val_metrics", None)
    for name, metric in split_metrics.collection.items() if split_metrics is not None else ():
        network = getattr(getattr(metric, "extractor", None), "name", None)
        if network in trained:
            key, other = trained[network], next((one for one in FEATURES if one not in trained), "<another>")
            _log.warning(
                "%s is measured by %s, the network that %s trains with, so that it is too good: set "
                "module.%s.pretrained=%s",
                name,
                network,
                key,
                key,
                other,
            )
