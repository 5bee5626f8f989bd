"""A whole training as ``train`` runs it, which pauses while other contenders take their turns."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from omegaconf import DictConfig, OmegaConf

from pix2pix_lightning.benchmark.machine import synchronize
from pix2pix_lightning.benchmark.memory import PeakMemory
from pix2pix_lightning.benchmark.turns import Contender
from pix2pix_lightning.training.build import build_training
from pix2pix_lightning.utils.errors import UserError

_FIRST = 6  # batches before the one that is timed to find how many make a turn


def run_training(cfg: DictConfig, training: Contender, others: Sequence[Contender], rounds: int) -> None:
    """Train with loader, callbacks and loggers, without validation and checkpoints, until all rounds are over.

    Args:
        cfg: Configuration of the training, with ``run_dir`` set.
        training: Contender that gets the seconds, workers and peak memory; its unit of work is a batch.
        others: Contenders that take a turn before each turn of the training.
        rounds: Number of turns of each.

    Raises:
        UserError: The training ends before the rounds are over.
    """
    cfg = disable_validation(cfg)
    training.set_allocator()
    running = set(multiprocessing.active_children())
    with PeakMemory(training.device) as peak:
        parts = build_training(cfg)
        turns = _TurnsCallback(training, others, rounds, peak, running)
        parts.trainer.callbacks.append(turns)  # type: ignore[attr-defined]
        parts.trainer.fit(parts.module, parts.data)
    if len(training.seconds) < rounds:
        raise UserError(
            f"trainer.max_epochs={cfg.trainer.max_epochs}: the training ended before rounds={rounds} were over: give "
            "more epochs or pairs, or fewer rounds"
        )


def disable_validation(cfg: DictConfig) -> DictConfig:
    """Return the configuration without validation and checkpoints."""
    cfg = cfg.copy()
    OmegaConf.set_struct(cfg, False)
    for name in ("best", "last", "interrupted", "early_stopping"):
        if name in cfg.callbacks:
            cfg.callbacks[name] = None
    if "saving" in cfg:
        cfg.saving.monitor = "auto"  # what building resolved has no effect without ``best``, and is refused
    cfg.trainer.update({"limit_val_batches": 0, "enable_checkpointing": False})
    return cfg


class _TurnsCallback(Callback):
    """Time the batches of a trainer, from one's end to the next one's, and let others work in between."""

    def __init__(
        self, training: Contender, others: Sequence[Contender], rounds: int, peak: PeakMemory, running: set[Any]
    ) -> None:
        self._training, self._others, self._rounds = training, others, rounds
        self._peak, self._running = peak, running
        self._script = self._run_turns()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        if next(self._script, "over") == "over":
            trainer.should_stop = True

    def _run_turns(self) -> Iterator[None]:
        """Run the turns; each ``yield`` is a batch of the trainer."""
        training = self._training
        for _ in range(_FIRST):
            yield
        start = self._read_clock()
        yield
        training.set_units(self._read_clock() - start)
        self._peak.stop()
        training.peak_memory = self._peak.bytes
        training.workers = set(multiprocessing.active_children()) - self._running
        for _ in range(self._rounds):
            training.pause()
            for other in self._others:
                other.take_turn()
            training.set_allocator()
            training.resume()
            for _ in range(training.warmup_units):
                yield
            start = self._read_clock()
            for _ in range(training.units):
                yield
            training.seconds.append((self._read_clock() - start) / training.units)

    def _read_clock(self) -> float:
        synchronize(self._training.device)
        return time.perf_counter()
