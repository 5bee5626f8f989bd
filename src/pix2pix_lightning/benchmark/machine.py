"""What is measured on: the machine, its libraries, and how fast it multiplies matrices."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "neon", "sve", "bf16")
_PACKAGES = ("torch", "lightning", "numpy", "opencv-python-headless", "pillow")
_SIDES = (1024, 2048, 4096)


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Processor, cores, the flags that matter, memory and, where ``device`` is one, the GPU; plain data."""
    info = _proc("cpuinfo")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    flags = (info.get("flags") or info.get("Features") or "").split()
    facts: dict[str, Any] = {
        "device": device.type,
        "cpu": info.get("model name") or platform.processor() or platform.machine(),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "flags": [flag for flag in _FLAGS if flag in flags],
        "memory_gb": _gigabytes(_proc("meminfo").get("MemTotal")),
        "system": f"{platform.system()} {platform.machine()}",
    }
    if device.type == "cuda":
        gpu = torch.cuda.get_device_properties(device)
        facts["gpu"] = gpu.name
        facts["gpu_memory_gb"] = round(gpu.total_memory / 1e9, 1)
    return facts


def describe_versions() -> dict[str, str]:
    """Of Python, this package and those that do the work; plain data."""
    from pix2pix_lightning.utils.version import __version__

    versions = {"pix2pix_lightning": __version__, "python": platform.python_version()}
    versions |= {package: version(package) for package in _PACKAGES}
    return versions | ({"cuda": str(torch.version.cuda)} if torch.version.cuda else {})


def matrix_rate(device: torch.device, dtype: torch.dtype, *, seconds: float = 2.0) -> float:
    """The best rate of square matrix products, in FLOP a second.

    Args:
        device: Where they are multiplied.
        dtype: Of the factors.
        seconds: After so long no further product is started; one is at least.
    """
    best, end = 0.0, time.perf_counter() + seconds
    for side in _SIDES:
        a, b = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
        product = a @ b  # untimed: libraries are loaded, the result's memory is fetched
        for _ in range(10):
            if best and time.perf_counter() > end:
                return best
            several = 1 if device.type == "cpu" else 10  # the launch of one takes longer than it does
            synchronize(device)
            start = time.perf_counter()
            for _ in range(several):
                torch.mm(a, b, out=product)
            synchronize(device)
            best = max(best, several * 2 * side**3 / (time.perf_counter() - start))
    return best


def synchronize(device: torch.device) -> None:
    """Wait until ``device`` has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _proc(name: str) -> dict[str, str]:
    """The first value of each key of a file in ``/proc``; empty where there is none."""
    path = Path("/proc", name)
    facts: dict[str, str] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    return facts


def _gigabytes(kilobytes: str | None) -> float | None:
    return round(int(kilobytes.split()[0]) * 1024 / 1e9, 1) if kilobytes else None
