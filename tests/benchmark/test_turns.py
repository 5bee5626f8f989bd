import multiprocessing
import time
from pathlib import Path

import pytest
import torch

from pix2pix_lightning.benchmark import turns
from pix2pix_lightning.benchmark.turns import Contender, release_workers, take_turns

CPU = torch.device("cpu")


@pytest.fixture
def clock(monkeypatch):
    """Replace the clock by one that advances only by work."""

    class Clock:
        now = 0.0
        order: list[str] = []  # noqa: RUF012

        def worker(self, name, seconds):
            def work():
                self.order.append(name)
                self.now += seconds

            return work

    clock = Clock()
    clock.order = []
    monkeypatch.setattr(turns.time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(turns, "keep_memory", lambda on: clock.order.append(f"keep {on}"))
    return clock


def test_contenders_work_in_turn_for_the_seconds_of_a_turn(clock):
    slow, fast = Contender(4, CPU, False, 1.0), Contender(1, CPU, False, 1.0)
    slow.build(lambda: clock.worker("slow", 2.0))
    fast.build(lambda: clock.worker("fast", 0.25))
    clock.order.clear()
    take_turns([slow, fast], 2)
    worked = [name for name in clock.order if name in ("slow", "fast")]
    assert worked == (["slow"] * 2 + ["fast"] * 5) * 2  # the first unit of each turn does not count
    assert slow.seconds == [2.0, 2.0]
    assert fast.seconds == [0.25, 0.25]
    assert slow.compute_figures()["images_per_second"] == 2.0
    assert fast.compute_figures()["images_per_second"] == 4.0


def test_median_and_spread(clock):
    contender = Contender(6, CPU, False, 1.0, seconds=[2.0, 3.0, 6.0])
    assert contender.compute_figures()["images_per_second"] == 2.0
    assert contender.compute_figures()["spread"] == pytest.approx(4 / 3)


def test_the_allocator_is_set_before_each_turn(clock):
    # three units do not count where freed memory is kept, else one
    plain, ours = Contender(1, CPU, False, 0.0), Contender(1, CPU, True, 0.0)
    for name, contender in (("plain", plain), ("ours", ours)):
        contender.build(lambda name=name: clock.worker(name, 1.0))
    clock.order.clear()
    take_turns([plain, ours], 1)
    assert clock.order == ["keep False", "plain", "plain", "keep False", "keep True", *["ours"] * 4]


def count(number):
    while True:
        number.value += 1
        time.sleep(0.001)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_loader_processes_are_stopped_during_the_turns_of_others():
    def state(process):
        return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def becomes(process, states):
        end = time.monotonic() + 5
        while state(process) not in states and time.monotonic() < end:
            time.sleep(0.005)
        return state(process) in states

    context = multiprocessing.get_context("fork")
    number = context.Value("i", 0)
    contender = Contender(1, CPU, False, 0.0)
    seen = []

    def build():
        process = context.Process(target=count, args=(number,), daemon=True)
        process.start()
        return lambda: seen.append(becomes(process, "SR"))

    with release_workers([contender]):
        contender.build(build)
        (process,) = contender.workers
        assert becomes(process, "T")
        contender.take_turn()
        assert all(seen)
        assert becomes(process, "T")
    assert becomes(process, "SR")
    seen.clear()
    contender.work()
    assert not seen  # the work is released
    process.kill()
    process.join()
