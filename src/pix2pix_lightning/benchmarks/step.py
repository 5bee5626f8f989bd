"""The training step through Lightning, and the plain loop's, in turn."""

from __future__ import annotations

import time
from statistics import median
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from pix2pix_lightning.benchmarks.plain_loop import plain_step
from pix2pix_lightning.module import Pix2PixModule


class _InTurn(Callback):
    """Times each batch of the trainer, from the start of one to the start of the next, less a plain step between."""

    def __init__(self, source: Tensor, target: Tensor) -> None:
        self._pair = source, target
        self.ours: list[float] = []
        self.plain: list[float] = []
        self._start = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._device = pl_module.device
        self._pair = self._pair[0].to(self._device), self._pair[1].to(self._device)
        self._step = plain_step(self._device)
        self._start = self._now()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any) -> None:
        middle = self._now()
        self.ours.append(middle - self._start)
        self._step(*self._pair)
        self._start = self._now()
        self.plain.append(self._start - middle)

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def measure_step(
    module: Pix2PixModule, *, batch_size: int, size: int, rounds: int, device: str, precision: str
) -> dict[str, float]:
    """Images a second of the module's training under Lightning and of the plain loop.

    Args:
        module: A new one; it is trained.
        batch_size: Pairs in a batch.
        size: Side in pixels.
        rounds: Steps of each that are timed, after one that is not; they take turns.
        device: ``auto``, ``cpu`` or ``cuda``.
        precision: Of the trainer.

    Returns:
        ``ours`` and ``plain``: medians, images a second; ``ratio``: ours by plain; ``ours_spread`` and
        ``plain_spread``: (slowest - fastest) / median of the seconds a step.
    """
    sides = torch.randint(0, 256, (2, batch_size, 3, size, size), dtype=torch.uint8)
    batch = {"source": sides[0], "target": sides[1], "name": [""] * batch_size}
    source, target = (module.pair_spec.encode(sides[i], side) for i, side in enumerate(("source", "target")))
    in_turn = _InTurn(source, target)
    trainer = Trainer(
        accelerator=device,
        devices=1,
        precision=precision,  # type: ignore[arg-type]
        max_epochs=1,
        callbacks=[in_turn],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader: DataLoader[Any] = DataLoader(cast(Any, [batch] * (rounds + 1)), batch_size=None)
    trainer.fit(module, loader)
    ours, plain = in_turn.ours[1:], in_turn.plain[1:]
    return {
        "ours": batch_size / median(ours),
        "plain": batch_size / median(plain),
        "ratio": median(plain) / median(ours),
        "ours_spread": (max(ours) - min(ours)) / median(ours),
        "plain_spread": (max(plain) - min(plain)) / median(plain),
    }
