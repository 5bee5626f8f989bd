"""Contenders take turns, so that other load on the machine affects all of them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from statistics import median
from typing import Any

import torch

from pix2pix_lightning.benchmark.machine import synchronize
from pix2pix_lightning.benchmark.memory import PeakMemory
from pix2pix_lightning.utils.allocator import keep_memory

_WARMUP = {"cpu": 1, "cuda": 6}  # units of work before the first that counts: kernels are chosen, a graph is captured
_REFILL = 3  # units until a process that keeps its memory causes no more page faults


def _nothing() -> None:
    """Do nothing."""


@dataclass
class Contender:
    """One of several pieces of work whose speed is compared.

    Attributes:
        images: Images in one unit of its work.
        device: Device of its work.
        keeps_memory: Whether the process keeps freed memory during its turns (``speed.keep_memory``).
        turn: Seconds of a turn; at least one unit of work is done.
        seconds: Seconds of a unit, for each turn.
        peak_memory: Bytes beyond what the process had before `build`; None where unknown.
        units: Units of work in a turn.
        workers: Its loader processes.
        work: Does one unit of work.
    """

    images: int
    device: torch.device
    keeps_memory: bool
    turn: float
    seconds: list[float] = field(default_factory=list)
    peak_memory: int | None = None
    units: int = 1
    workers: set[BaseProcess] = field(default_factory=set)
    work: Callable[[], object] = _nothing

    def build(self, build_work: Callable[[], Callable[[], object]]) -> None:
        """Build the work and run it until its speed is stable."""
        self.set_allocator()
        others = set(multiprocessing.active_children())
        with PeakMemory(self.device) as peak:
            self.work = build_work()
            for _ in range(_WARMUP.get(self.device.type, 1)):
                self.work()
            self.set_units(self.time(1))
        self.peak_memory = peak.bytes
        self.workers = set(multiprocessing.active_children()) - others
        self.pause()

    def take_turn(self) -> None:
        """Work for a turn; the first units, which allocate memory again, do not count."""
        self.set_allocator()
        self.resume()
        for _ in range(self.warmup_units):
            self.work()
        self.seconds.append(self.time(self.units) / self.units)
        self.pause()

    def time(self, units: int) -> float:
        """Return the seconds of ``units`` units of work."""
        synchronize(self.device)
        start = time.perf_counter()
        for _ in range(units):
            self.work()
        synchronize(self.device)
        return time.perf_counter() - start

    @property
    def warmup_units(self) -> int:
        """Units at the start of a turn until memory is allocated again."""
        return _REFILL if self.keeps_memory else 1

    def set_units(self, seconds: float) -> None:
        """Set how many units make a turn, from the seconds of one."""
        self.units = max(1, round(self.turn / seconds))

    def set_allocator(self) -> None:
        """Return memory that others freed to the system, then switch to this contender's way of freeing memory."""
        keep_memory(False)
        if self.keeps_memory:
            keep_memory(True)

    def pause(self) -> None:
        """Stop the loader's processes, which would else prepare batches during the turns of others."""
        self._signal("SIGSTOP")

    def resume(self) -> None:
        """Continue the loader's processes."""
        self._signal("SIGCONT")

    def _signal(self, name: str) -> None:
        for worker in self.workers if hasattr(signal, name) else ():
            if worker.is_alive() and worker.pid is not None:
                os.kill(worker.pid, getattr(signal, name))

    def compute_figures(self) -> dict[str, Any]:
        """Return images per second, the spread over rounds ((slowest - fastest) / median) and peak memory."""
        middle = median(self.seconds)
        return {
            "images_per_second": self.images / middle,
            "spread": (max(self.seconds) - min(self.seconds)) / middle,
            "peak_memory": self.peak_memory,
            "seconds": list(self.seconds),
        }


def take_turns(contenders: Sequence[Contender], rounds: int) -> None:
    """Let every contender take a turn, ``rounds`` times."""
    for _ in range(rounds):
        for contender in contenders:
            contender.take_turn()


@contextmanager
def release_workers(contenders: Sequence[Contender]) -> Iterator[None]:
    """Continue and release the loader processes of all contenders at the end of a block, also after an error."""
    try:
        yield
    finally:
        for contender in contenders:
            contender.resume()
            contender.work = _nothing
