"""Contenders take turns, so that whatever else the machine does meets them alike."""

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
from pix2pix_lightning.training.performance import keep_memory

_SETTLING = {"cpu": 1, "cuda": 6}  # units of work before the first that counts: kernels are chosen, a graph recorded
_FETCHING = 3  # units until a process that keeps its memory asks the system for no more, by its page faults


def _nothing() -> None:
    """The work of one that has none."""


@dataclass
class Contender:
    """One of those that are compared.

    Args:
        images: In a unit of its work.
        device: Where it works.
        keeps_memory: Whether the process keeps what is freed during its turns (``speed.keep_memory``).
        turn: Seconds of a turn; at least one unit of work is done.

    Attributes:
        seconds: A unit's, for each turn.
        peak_memory: Bytes, beyond what the process had before it was made.
        units: Of a turn.
        workers: Its loader processes.
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

    def make(self, build: Callable[[], Callable[[], object]]) -> None:
        """Make what does the work, and let it work until it has settled."""
        self.set_allocator()
        others = set(multiprocessing.active_children())
        with PeakMemory(self.device) as peak:
            self.work = build()
            for _ in range(_SETTLING.get(self.device.type, 1)):
                self.work()
            self.set_units(self.time(1))
        self.peak_memory = peak.bytes
        self.workers = set(multiprocessing.active_children()) - others
        self.pause()

    def take_turn(self) -> None:
        """Work for a turn; the first units, in which memory is fetched anew, do not count."""
        self.set_allocator()
        self.resume()
        for _ in range(self.uncounted):
            self.work()
        self.seconds.append(self.time(self.units) / self.units)
        self.pause()

    def time(self, units: int) -> float:
        """Seconds for so many units of work."""
        synchronize(self.device)
        start = time.perf_counter()
        for _ in range(units):
            self.work()
        synchronize(self.device)
        return time.perf_counter() - start

    @property
    def uncounted(self) -> int:
        """Units at the start of a turn until memory is there again."""
        return _FETCHING if self.keeps_memory else 1

    def set_units(self, seconds: float) -> None:
        """Decide how many units make a turn, by the seconds of one."""
        self.units = max(1, round(self.turn / seconds))

    def set_allocator(self) -> None:
        """Give back what others left free; keep from then on what is freed, or not."""
        keep_memory(False)
        if self.keeps_memory:
            keep_memory(True)

    def pause(self) -> None:
        """Stop the loader's processes: what they prepare in others' turns would be had for nothing."""
        self._signal("SIGSTOP")

    def resume(self) -> None:
        """Let them go on."""
        self._signal("SIGCONT")

    def _signal(self, name: str) -> None:
        for worker in self.workers if hasattr(signal, name) else ():
            if worker.is_alive() and worker.pid is not None:
                os.kill(worker.pid, getattr(signal, name))

    def figures(self) -> dict[str, Any]:
        """Images a second, their spread over the rounds ((slowest - fastest) / median), peak memory; plain data."""
        middle = median(self.seconds)
        return {
            "images_per_second": self.images / middle,
            "spread": (max(self.seconds) - min(self.seconds)) / middle,
            "peak_memory": self.peak_memory,
            "seconds": list(self.seconds),
        }


def take_turns(contenders: Sequence[Contender], rounds: int) -> None:
    """Every contender in turn, ``rounds`` times."""
    for _ in range(rounds):
        for contender in contenders:
            contender.take_turn()


@contextmanager
def ended(contenders: Sequence[Contender]) -> Iterator[None]:
    """At the end, whichever it is, no process is left stopped, and loaders are let go, which ends theirs."""
    try:
        yield
    finally:
        for contender in contenders:
            contender.resume()
            contender.work = _nothing
