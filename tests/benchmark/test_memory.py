import numpy as np
import pytest
import torch
from torch import nn

from pix2pix_lightning.benchmark import memory
from pix2pix_lightning.benchmark.memory import PeakMemory, memory_by_part
from pix2pix_lightning.training.performance import keep_memory

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


@pytest.mark.parametrize("times", [1, 3])  # what one backward pass has freed does not add to the next
def test_parts_of_a_small_network_by_hand(times):
    step = SmallStep(nn.Linear(4, 8, bias=False), nn.Tanh(), nn.Linear(8, 1, bias=False), times=times)
    weights = 4 * (4 * 8 + 8)
    batch = torch.rand(5, 4), torch.zeros(0)
    step(*batch)
    assert memory_by_part(step, *batch) == {
        "weights": weights,
        "gradients": weights,
        "optimizer": 2 * weights + 2 * 4,  # two moments, and for each tensor the number of steps
        "activations": 4 * 5 * (4 + 8),  # the input, and what tanh gives, which two layers keep
        "narrowed_weights": 0,
    }


def test_weights_that_autocast_narrows_are_counted_by_themselves():
    step = SmallStep(nn.Conv2d(2, 3, 1, bias=False))
    with torch.autocast("cpu", torch.bfloat16):
        parts = memory_by_part(step, torch.rand(1, 2, 8, 8), torch.zeros(0))
    assert parts["narrowed_weights"] == 2 * 2 * 3
    assert parts["activations"] == 2 * 2 * 8 * 8


@pytest.mark.parametrize("can_be_set_back", [True, False])
def test_the_peak_is_beyond_what_was_before(monkeypatch, tmp_path, can_be_set_back):
    if not can_be_set_back:
        monkeypatch.setattr(memory, "_CLEAR", tmp_path / "no" / "clear_refs")
    keep_memory(False)  # what another test has freed would be had for nothing
    before = np.ones(200 * MEGABYTE, np.uint8)
    del before  # a peak of its own
    with PeakMemory(CPU) as peak:
        for _ in range(2):
            taken = np.ones(64 * MEGABYTE, np.uint8)
            if not can_be_set_back:
                peak._done.wait(0.05)
            del taken
    assert peak.bytes + MEGABYTE >= 64 * MEGABYTE
    assert peak.bytes < 96 * MEGABYTE


def test_what_happens_after_the_stop_does_not_count():
    keep_memory(False)
    with PeakMemory(CPU) as peak:
        peak.stop()
        taken = np.ones(64 * MEGABYTE, np.uint8)
        del taken
    assert peak.bytes < 32 * MEGABYTE
