"""The machine, its libraries, and its rate of matrix products."""

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
    """Describe processor, cores, relevant CPU flags, memory and GPU, if ``device`` is one, as plain data."""
    info = _read_proc("cpuinfo")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    flags = (info.get("flags") or info.get("Features") or "").split()
    facts: dict[str, Any] = {
        "device": device.type,
        "cpu": info.get("model name") or platform.processor() or platform.machine(),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "flags": [flag for flag in _FLAGS if flag in flags],
        "memory_gb": _to_gigabytes(_read_proc("meminfo").get("MemTotal")),
        "system": f"{platform.system()} {platform.machine()}",
    }
    if device.type == "cuda":
        gpu = torch.cuda.get_device_properties(device)
        facts["gpu"] = gpu.name
        facts["gpu_memory_gb"] = round(gpu.total_memory / 1e9, 1)
    return facts


def describe_versions() -> dict[str, str]:
    """Return the versions of Python, this package and the main libraries."""
    from pix2pix_lightning.utils.version import __version__

    versions = {"pix2pix_lightning": __version__, "python": platform.python_version()}
    versions |= {package: version(package) for package in _PACKAGES}
    versions["torch"] = str(torch.__version__)  # with the build, which the metadata of some wheels leave out
    return versions | ({"cuda": str(torch.version.cuda)} if torch.version.cuda else {})


def measure_matrix_rate(device: torch.device, dtype: torch.dtype, *, seconds: float = 2.0) -> float:
    """Measure the best rate of square matrix products.

    Args:
        device: Device of the products.
        dtype: Type of the factors.
        seconds: Time limit; at least one product is computed.

    Returns:
        FLOP per second.
    """
    best, end = 0.0, time.perf_counter() + seconds
    for side in _SIDES:
        a, b = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
        product = a @ b  # not timed: loads libraries and allocates the result
        for _ in range(10):
            if best and time.perf_counter() > end:
                return best
            several = 1 if device.type == "cpu" else 10  # launching one takes longer than computing it
            synchronize(device)
            start = time.perf_counter()
            for _ in range(several):
                torch.mm(a, b, out=product)
            synchronize(device)
            best = max(best, several * 2 * side**3 / (time.perf_counter() - start))
    return best


def synchronize(device: torch.device) -> None:
    """Wait until ``device`` has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _read_proc(name: str) -> dict[str, str]:
    """Read the first value of each key of a file in ``/proc``; an empty dictionary if there is no such file."""
    path = Path("/proc", name)
    facts: dict[str, str] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    return facts


def _to_gigabytes(kilobytes: str | None) -> float | None:
    return round(int(kilobytes.split()[0]) * 1024 / 1e9, 1) if kilobytes else None
