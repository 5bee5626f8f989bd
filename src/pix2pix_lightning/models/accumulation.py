"""Gradient accumulation with manual optimization: which batches of an epoch make one step."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Self

from lightning.pytorch.strategies import DDPStrategy, Strategy


class AccumulationWindow(NamedTuple):
    """The place of a batch among those that make one optimizer step.

    Attributes:
        is_first: Whether the gradients are zeroed before the batch.
        is_last: Whether the optimizers step after it.
        share: The batch's share in the averaged gradients, above 0 and up to 1.
    """

    is_first: bool = True
    is_last: bool = True
    share: float = 1.0

    @classmethod
    def from_batch_idx(cls, batch_idx: int, accumulate: int, num_batches: float) -> Self:
        """Return the place of a batch. The last window of an epoch may be shorter, and steps all the same.

        Args:
            batch_idx: Number of the batch in its epoch, from 0.
            accumulate: Batches of a full window.
            num_batches: Batches of the epoch; infinite where data of unknown length is loaded. The last window of such
                an epoch steps only if it is full.
        """
        start = batch_idx - batch_idx % accumulate
        end = min(start + accumulate, num_batches)
        return cls(batch_idx == start, batch_idx + 1 == end, 1 / (end - start))


def defer_gradient_sync(strategy: Strategy, window: AccumulationWindow) -> AbstractContextManager[object]:
    """Defer the exchange of gradients among processes to the last batch of a window.

    Args:
        strategy: The trainer's strategy.
        window: The place of the present batch.

    Returns:
        The context of the batch's forward and backward passes; it does nothing without DDP.
    """
    if window.is_last or not isinstance(strategy, DDPStrategy):
        return nullcontext()
    return strategy.block_backward_sync()
