"""When checkpoints are saved within an epoch; test_train.py resumes from one."""

import math
from types import SimpleNamespace

import pytest
import torch

from pix2pix_lightning.models.accumulation import AccumulationWindow
from pix2pix_lightning.training.callbacks import SaveByTime, save_by_time
from pix2pix_lightning.utils.errors import UserError


class Strategy:
    """The first of several processes: counts how often the others are told something."""

    def __init__(self):
        self.num_told = 0

    def broadcast(self, value):
        self.num_told += 1
        return value

    def reduce(self, value, reduce_op):
        return value


@pytest.fixture
def run(monkeypatch):
    """Return a function that trains batches of so many seconds, and returns those at which checkpoints were saved."""

    def run(minutes, seconds, *, num_batches, num_processes=1, accumulate=1):
        clock = SimpleNamespace(now=100.0)
        monkeypatch.setattr(save_by_time.time, "monotonic", lambda: clock.now)
        module = torch.nn.BatchNorm2d(1)
        module.batches_seen, module.window = 0, AccumulationWindow()
        saved = []
        trainer = SimpleNamespace(world_size=num_processes, strategy=Strategy())
        trainer.save_checkpoint = lambda path: saved.append(module.batches_seen)
        callback = SaveByTime("last.ckpt", minutes)
        callback.on_train_start(trainer, module)
        for batch in range(num_batches):
            callback.on_train_batch_start(trainer, module, None, batch)
            module.window = AccumulationWindow.from_batch_idx(batch, accumulate, num_batches)
            module.batches_seen += 1
            clock.now += seconds(batch) if callable(seconds) else seconds
        return saved, trainer.strategy.num_told

    return run


@pytest.mark.parametrize("num_processes", [1, 2])
def test_checkpoints_are_as_far_apart_as_asked(run, num_processes):
    saved, num_told = run(1, 1.0, num_batches=200, num_processes=num_processes)
    assert saved == [60, 120, 180]
    assert num_told >= 3


def test_processes_are_asked_rarely_and_late_by_a_batch_at_most(run):
    saved, num_told = run(60, 0.5, num_batches=15_000, num_processes=2)
    assert saved == [7200, 14400]
    assert num_told < 300


def test_a_slower_second_half_is_noticed(run):
    saved, _ = run(1, lambda batch: 0.1 if batch < 300 else 1.0, num_batches=400, num_processes=2)
    assert all(abs(found - expected) <= 6 for found, expected in zip(saved, [330, 390], strict=True))


def test_a_checkpoint_waits_for_the_end_of_an_accumulated_step(run):
    saved, _ = run(1, 1.0, num_batches=130, accumulate=7)
    assert saved == [63, 126]


@pytest.mark.parametrize("minutes", [0, -1, True, "often", math.inf])
def test_other_values_are_refused(minutes):
    with pytest.raises(UserError, match=r"saving\.every_minutes"):
        SaveByTime("last.ckpt", minutes)
