"""A training of the user's own, whose steps are timed and profiled."""

from __future__ import annotations

import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, median_low
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from omegaconf import DictConfig
from torch.profiler import ProfilerActivity, profile

from pix2pix_lightning.benchmark.machine import synchronize
from pix2pix_lightning.benchmark.step_parts import Part, sum_parts
from pix2pix_lightning.benchmark.step_ranges import RangeProfiler, mark_parts
from pix2pix_lightning.benchmark.training import disable_validation
from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.training.build import Training, build_training
from pix2pix_lightning.utils.errors import UserError

_WARMUP = 3  # steps until memory is allocated and kernels are chosen
_MAX_STEPS = 20  # of a turn: each leaves thousands of events


@dataclass
class StepProfile:
    """What was measured of a training.

    Attributes:
        seconds: Seconds of a step without the profiler, for each turn.
        profiled_seconds: Seconds of a step with it, for each turn.
        parts: Seconds of a profiled step by part, in the turn with the median time.
        page_faults: Page faults of a step; None where the system does not count them.
        system_seconds: Processor time of the system in a step, of all threads; None where it is not known.
        epoch_ends: Whether ends of epochs lie within the turns, since epochs are short.
    """

    seconds: list[float] = field(default_factory=list)
    profiled_seconds: list[float] = field(default_factory=list)
    parts: dict[Part, float] = field(default_factory=dict)
    page_faults: float | None = None
    system_seconds: float | None = None
    epoch_ends: bool = False

    @property
    def overhead(self) -> float:
        """Additional time of a profiled step as a fraction of one without the profiler."""
        return median(self.profiled_seconds) / median(self.seconds) - 1


def build_for_profile(cfg: DictConfig, folder: Path, *, plain: bool = True) -> Training:
    """Build a training without validation and checkpoints.

    Args:
        cfg: Configuration of the training; it is not changed.
        folder: Folder in which the run gets one of its own.
        plain: Leave out ``speed.compile`` and ``speed.cuda_graph``, in which layers are not seen.

    Returns:
        The parts, ready for `profile_training`.
    """
    cfg = disable_validation(cfg)
    cfg.run_dir = tempfile.mkdtemp(dir=folder)
    if plain:
        cfg.speed.update({"compile": False, "cuda_graph": False})
    return build_training(cfg)


def profile_training(
    parts: Training, device: torch.device, *, rounds: int, turn: float, profiled: bool = True
) -> StepProfile:
    """Train, time the steps of some turns, and profile as many after each of these turns.

    Args:
        parts: The training, which is used up.
        device: Device of the training.
        rounds: Number of turns.
        turn: Seconds of a turn; at least one step is taken, and at most 20, but always whole cycles of gradient
            accumulation and of the R1 penalty.
        profiled: False only times the steps.

    Returns:
        What was measured.

    Raises:
        UserError: The training ends before the rounds are over.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # of torch's profiler, which would print lines into the table
    ranges = RangeProfiler()
    parts.trainer.profiler = ranges  # type: ignore[attr-defined]
    steps = _ProfiledSteps(parts, device, ranges, rounds=rounds, turn=turn, profiled=profiled)
    parts.trainer.callbacks.append(steps)  # type: ignore[attr-defined]
    parts.trainer.fit(parts.module, parts.data)
    if not steps.is_over:
        raise UserError(
            f"trainer.max_epochs={parts.trainer.max_epochs}: the training ended before rounds={rounds} were over: "
            "give more epochs or pairs, or fewer rounds"
        )
    return steps.compute_profile()


class _ProfiledSteps(Callback):
    """Time and profile steps from the end of one batch to that of another."""

    def __init__(
        self, parts: Training, device: torch.device, ranges: RangeProfiler, *, rounds: int, turn: float, profiled: bool
    ) -> None:
        self.is_over = False
        self._module, self._trainer = cast(Pix2PixModule, parts.module), parts.trainer
        self._device, self._ranges = device, ranges
        self._rounds, self._turn, self._profiled = rounds, turn, profiled
        self._result = StepProfile()
        self._profiles: list[tuple[profile, float, int]] = []  # with the seconds and the number of their steps
        self._counted: list[tuple[float, float]] = []  # page faults and system seconds of each turn's step
        self._batch_idx = 0
        self._script = self._run_turns()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._batch_idx = batch_idx
        if next(self._script, "over") == "over":
            self.is_over = trainer.should_stop = True

    def _run_turns(self) -> Iterator[None]:
        """Run the turns; each ``yield`` is a batch of the trainer."""
        for _ in range(_WARMUP):
            yield
        start = self._read_clock()
        yield
        steps = self._count_steps(self._read_clock() - start)
        if self._profiled:
            yield from self._profile(1)  # not counted: the first profile loads what profiling needs
            self._profiles.clear()
            self._result.profiled_seconds.clear()
        for _ in range(self._rounds):
            yield from self._await_room(steps)
            epoch, counted = self._trainer.current_epoch, _count_page_faults()
            start = self._read_clock()
            for _ in range(steps):
                yield
            self._result.seconds.append((self._read_clock() - start) / steps)
            after = _count_page_faults()
            self._counted.append(((after[0] - counted[0]) / steps, (after[1] - counted[1]) / steps))
            if self._profiled:
                yield from self._profile(steps)
            self._result.epoch_ends |= self._trainer.current_epoch != epoch

    def _profile(self, steps: int) -> Iterator[None]:
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (self._device.type == "cuda")
        with mark_parts(self._module, self._trainer.optimizers), profile(activities=activities) as profiler:
            start = self._read_clock()
            self._ranges.is_on = True
            for _ in range(steps):
                yield
            self._ranges.is_on = False
            seconds = self._read_clock() - start
        self._profiles.append((profiler, seconds, steps))
        self._result.profiled_seconds.append(seconds / steps)

    def _count_steps(self, seconds: float) -> int:
        module = self._module
        period = math.lcm(module.accumulate, module.r1_every if module.r1_weight else 1)
        return math.ceil(min(max(1, round(self._turn / seconds)), _MAX_STEPS) / period) * period

    def _await_room(self, steps: int) -> Iterator[None]:
        """Let steps pass until what the loader prepared meanwhile is used, and the epoch has room for a turn."""
        loader: Any = self._trainer.train_dataloader
        for _ in range(_WARMUP + loader.num_workers * (loader.prefetch_factor or 0)):
            yield
        batches = int(self._trainer.num_training_batches)
        needed = steps * (1 + self._profiled)
        while needed < batches and batches - 1 - self._batch_idx < needed:
            yield

    def _read_clock(self) -> float:
        synchronize(self._device)
        return time.perf_counter()

    def compute_profile(self) -> StepProfile:
        """Return what was measured; the parts are those of the turn with the median time, which nothing disturbed."""
        result = self._result
        if self._profiles:
            middle = result.profiled_seconds.index(median_low(result.profiled_seconds))
            profiler, seconds, steps = self._profiles[middle]
            events: Any = profiler.events()  # type: ignore[no-untyped-call]
            result.parts = {part: own / steps for part, own in sum_parts(events, seconds).items()}
        if sys.platform != "win32":
            result.page_faults, result.system_seconds = (median(values) for values in zip(*self._counted, strict=True))
        return result


def _count_page_faults() -> tuple[float, float]:
    """Return the page faults of this process so far, and the seconds of the system in it; zeros on Windows."""
    with suppress(ImportError):
        import resource

        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_minflt, usage.ru_stime
    return 0.0, 0.0
