"""Errors of memory and of loader processes are known by what libraries raise, and advise on the command's keys."""

import errno

import cv2
import numpy as np
import pytest
import torch

from pix2pix_lightning import compose
from pix2pix_lightning.cli.errors import format_error
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.memory import is_loader_ended, is_out_of_memory
from tiny_training import configure


def catch(call):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        call()
    return caught.value


REAL = [
    lambda: torch.empty(2**48),
    lambda: np.empty(2**48),
    lambda: bytearray(2**60),
    lambda: cv2.resize(np.zeros((4, 4, 3), np.uint8), (2**20, 2**20)),
]
TOLD = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB"),
    torch.AcceleratorError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("std::bad_alloc"),
    RuntimeError(
        "Caught RuntimeError in DataLoader worker process 0.\nDefaultCPUAllocator: can't allocate memory: you"
    ),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
]


@pytest.mark.parametrize("call", REAL)
def test_what_libraries_raise_is_memory(call):
    error = catch(call)
    assert is_out_of_memory(error)
    assert "data.size=" in format_error(error, "train")


@pytest.mark.parametrize("error", TOLD, ids=str)
def test_what_gpus_and_workers_raise_is_memory(error):
    assert is_out_of_memory(error)
    line = format_error(error, "predict")
    assert "tile=" in line
    assert ("GPU" in line) == ("CU" in str(error))


def test_onnxruntime_that_finds_no_memory():
    state = pytest.importorskip("onnxruntime.capi.onnxruntime_pybind11_state")
    error = state.RuntimeException("[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer of size 99")
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        UserError("a.png has not enough memory in its name: out of memory"),
        ValueError("cannot allocate memory"),
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    ],
)
def test_other_errors_are_not(error):
    assert not is_out_of_memory(error)
    assert not is_loader_ended(error)


def test_training_names_present_values_and_what_is_left_to_change():
    error = TOLD[0]
    line = format_error(error, "train", configure("data.batch_size=8", "speed=off"))
    for part in ("20.00 GiB", "data.batch_size=8", "data.size=16", "speed.checkpoint_activations=true"):
        assert part in line
    line = format_error(error, "train", configure("data.batch_size=1", "speed.checkpoint_activations=true"))
    assert "data.batch_size" not in line
    assert "checkpoint_activations" not in line
    assert "data.size=16" in line


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("evaluate", "batch_size=1"),
        ("demo", "max_pixels="),
        ("benchmark", "batch_sizes="),
        ("export", "memory"),
        ("report", "memory"),
        ("prepare", "memory"),
    ],
)
def test_each_command_has_its_own_advice(name, key):
    line = format_error(MemoryError(), name)
    assert key in line
    assert "data.size" not in line


def test_a_profile_has_the_batch_size_of_the_training():
    cfg = compose("benchmark", ["what=[profile]", "data.batch_size=64"])
    assert "data.batch_size=64" in format_error(MemoryError(), "benchmark", cfg)


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ("DataLoader worker (pid 7) is killed by signal: Killed. ", ["data.num_workers=3", "memory"]),
        (
            "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are "
            "out of shared memory. Please try to raise your shared memory limit.",
            ["data.num_workers=3", "/dev/shm", "MiB", "--shm-size"],
        ),
        ("unable to mmap 128 bytes from file </torch_7_1_0>: Cannot allocate memory (12)", ["/dev/shm"]),
        ("DataLoader worker (pid(s) 7, 8) exited unexpectedly", ["data.num_workers=0"]),
        ("DataLoader worker (pid 7) is killed by signal: Segmentation fault. ", ["segmentation", "data.num_workers=0"]),
        ("received 0 items of ancdata", ["ulimit -n", "data.num_workers=3"]),
    ],
)
def test_a_loader_process_that_ended(message, parts):
    error = RuntimeError(message)
    error.add_note("then continue with resume=run")
    line = format_error(error, "train", configure("data.num_workers=3"))
    assert all(part in line for part in [*parts, "resume=run"]), line
    assert "\n" not in line
