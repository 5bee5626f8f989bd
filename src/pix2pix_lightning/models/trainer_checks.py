"""Check that a trainer's settings work with two networks and manual optimization."""

from __future__ import annotations

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy

from pix2pix_lightning.compat import allow_unused_parameters
from pix2pix_lightning.utils.errors import UserError


def check_trainer(trainer: Trainer, *, penalty_weight: float, accumulate: int) -> None:
    """Refuse settings of a trainer that would train something else, and fit plain DDP to two networks.

    Args:
        trainer: The trainer, before it starts.
        penalty_weight: Weight of the gradient penalty, 0 where there is none.
        accumulate: Batches of one step.

    Raises:
        UserError: A setting does not work; the line names it.
    """
    strategy = trainer.strategy
    if isinstance(strategy, DDPStrategy) and not getattr(strategy, "reduces_per_network", False):
        allow_unused_parameters(strategy)  # plain DDP: each backward pass reaches one network
    if penalty_weight and trainer.precision in ("16-true", "bf16-true"):
        raise UserError(
            f"trainer.precision={trainer.precision} with a gradient penalty, which needs float32 weights: use "
            "bf16-mixed"
        )
    if accumulate > 1 and trainer.precision == "16-mixed":
        raise UserError(
            f"module.accumulate={accumulate} with trainer.precision=16-mixed: the loss scale can change between the "
            "batches of a step; use bf16-mixed"
        )
