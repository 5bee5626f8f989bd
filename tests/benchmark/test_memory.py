import numpy as np
import pytest
import torch
from torch import nn

from pix2pix_lightning.benchmark import memory
from pix2pix_lightning.benchmark.memory import PeakMemory, measure_memory_by_part
from pix2pix_lightning.utils.allocator import keep_memory

CPU = torch.device("cpu")
MEGABYTE = 2**20


class SmallStep:
    def __init__(self, *layers, times=1):
        network = nn.Sequential(*layers)
        self.networks = [network]
        self.optimizers = [torch.optim.Adam(network.parameters())]
        self.times = times

    def __call__(self, source, target):
        self.optimizers[0].zero_grad()
        for _ in range(self.times):
            self.networks[0](source).sum().backward()
        self.optimizers[0].step()


@pytest.mark.parametrize("times", [1, 3])  # what one backward pass frees does not add to the next
def test_parts_of_a_small_network(times):
    step = SmallStep(nn.Linear(4, 8, bias=False), nn.Tanh(), nn.Linear(8, 1, bias=False), times=times)
    weights = 4 * (4 * 8 + 8)
    batch = torch.rand(5, 4), torch.zeros(0)
    step(*batch)
    assert measure_memory_by_part(step, *batch) == {
        "weights": weights,
        "gradients": weights,
        "optimizer": 2 * weights + 2 * 4,  # two moments, and for each tensor the number of steps
        "activations": 4 * 5 * (4 + 8),  # the input, and the output of tanh, which two layers save
        "narrowed_weights": 0,
    }


def test_weights_narrowed_by_autocast_are_counted_separately():
    step = SmallStep(nn.Conv2d(2, 3, 1, bias=False))
    with torch.autocast("cpu", torch.bfloat16):
        parts = measure_memory_by_part(step, torch.rand(1, 2, 8, 8), torch.zeros(0))
    assert parts["narrowed_weights"] == 2 * 2 * 3
    assert parts["activations"] == 2 * 2 * 8 * 8


@pytest.mark.parametrize("can_be_reset", [True, False])
def test_peak_is_measured_from_the_start_of_the_block(monkeypatch, tmp_path, can_be_reset):
    if not can_be_reset:
        monkeypatch.setattr(memory, "_CLEAR", tmp_path / "no" / "clear_refs")
    keep_memory(False)  # else memory that another test freed would be reused
    before = np.ones(200 * MEGABYTE, np.uint8)
    del before  # an earlier peak
    with PeakMemory(CPU) as peak:
        for _ in range(2):
            taken = np.ones(64 * MEGABYTE, np.uint8)
            if not can_be_reset:
                peak._done.wait(0.05)
            del taken
    assert peak.bytes + MEGABYTE >= 64 * MEGABYTE
    assert peak.bytes < 96 * MEGABYTE


def test_memory_after_stop_does_not_count():
    keep_memory(False)
    with PeakMemory(CPU) as peak:
        peak.stop()
        taken = np.ones(64 * MEGABYTE, np.uint8)
        del taken
    assert peak.bytes < 32 * MEGABYTE
