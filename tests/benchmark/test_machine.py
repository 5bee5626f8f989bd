import platform

import pytest
import torch

from pix2pix_lightning.benchmark import machine
from pix2pix_lightning.benchmark.machine import describe_machine, describe_versions, measure_matrix_rate

CPU = torch.device("cpu")


def test_machine_is_read_from_proc(monkeypatch):
    files = {
        "cpuinfo": {"model name": "A processor", "flags": "fpu avx2 amx_bf16 amx_int8"},
        "meminfo": {"MemTotal": "2000000 kB"},
    }
    monkeypatch.setattr(machine, "_read_proc", files.get)
    facts = describe_machine(CPU)
    assert facts["cpu"] == "A processor"
    assert facts["flags"] == ["avx2", "amx_bf16"]
    assert facts["memory_gb"] == 2.0
    assert facts["threads"] == torch.get_num_threads()
    monkeypatch.setattr(machine, "_read_proc", lambda name: {})
    assert describe_machine(CPU)["memory_gb"] is None
    assert describe_machine(CPU)["cpu"]


def test_versions():
    versions = describe_versions()
    assert versions["torch"] == torch.__version__
    assert versions["python"] == platform.python_version()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rate_counts_two_flop_per_multiplication(monkeypatch, dtype):
    now = iter([0.0, 1.0, 3.0, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 99.0])  # products take 2, 0.5 and 1 seconds
    monkeypatch.setattr(machine.time, "perf_counter", lambda: next(now))
    monkeypatch.setattr(machine, "_SIDES", (64,))
    # the limit is checked before each product but the first
    assert measure_matrix_rate(CPU, dtype, seconds=50.0) == pytest.approx(2 * 64**3 / 0.5)
