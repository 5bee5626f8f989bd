"""Losses of the last training steps, kept on the device until they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pix2pix_lightning.utils.finite import sum_wide

SUMS = ("source", "target")
"""Names under which the sums of a batch's images are kept: a sum is not finite if one of its values is not."""


class StepFigures(NamedTuple):
    """Figures of one step.

    Attributes:
        batch: Number of the batch in its epoch, from 0.
        pairs: Names of its pairs.
        values: Losses by name, in the order of the step, and the sums of its images by ``SUMS``.
    """

    batch: int
    pairs: Sequence[str]
    values: dict[str, float]


class StepHistory:
    """Keep the losses of steps without waiting for the device, and read them all at once."""

    def __init__(self) -> None:
        self._steps: list[tuple[int, Sequence[str], list[str]]] = []
        self._rows: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, batch_idx: int, losses: Any, batch: Any) -> None:
        """Keep the figures of a step: one small tensor on the device.

        Args:
            batch_idx: Number of the batch in its epoch, from 0.
            losses: What the training step returned: losses by name, a loss, or None.
            batch: The batch; its ``source``, ``target`` and ``name`` are used where it has them.
        """
        items = losses if isinstance(losses, Mapping) else {"loss": losses}
        values = {name: value.detach() for name, value in items.items() if _is_scalar(value)}
        images = batch if isinstance(batch, Mapping) else {}
        values |= {side: sum_wide(images[side].detach()) for side in SUMS if _is_float(images.get(side))}
        self._steps.append((batch_idx, images.get("name", ()), list(values)))
        self._rows.append(torch.stack([value.reshape(()) for value in values.values()]) if values else torch.empty(0))

    def read(self, *others: Tensor) -> tuple[list[StepFigures], list[float]]:
        """Wait for the device, return what was kept, and start anew.

        Args:
            *others: Further scalars on the device, that are read in the same transfer.

        Returns:
            The figures of each step, and the values of ``others``.
        """
        device = others[0].device if others else self._rows[0].device if self._rows else torch.device("cpu")
        parts = [part.reshape(-1).to(device) for part in (*self._rows, *others)]
        numbers = torch.cat(parts).tolist() if parts else []
        figures = []
        for batch_idx, pairs, names in self._steps:
            figures.append(StepFigures(batch_idx, pairs, dict(zip(names, numbers, strict=False))))
            numbers = numbers[len(names) :]
        self._steps, self._rows = [], []
        return figures, numbers


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _is_scalar(value: Any) -> bool:
    return _is_float(value) and value.numel() == 1
