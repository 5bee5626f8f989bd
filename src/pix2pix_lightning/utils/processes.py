"""The number of processes of a trainer's settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def count_processes(trainer: Mapping[str, Any]) -> int:
    """Count the processes that a trainer's settings ask for, on all nodes."""
    import torch

    devices = trainer.get("devices", "auto")
    if isinstance(devices, str) and "," in devices:
        devices = [number for number in devices.split(",") if number]
    if isinstance(devices, Sequence) and not isinstance(devices, str):
        each = len(devices)
    elif str(devices).isdigit():
        each = int(devices)
    else:  # auto, or all: -1
        each = 1 if trainer.get("accelerator") == "cpu" else max(1, torch.cuda.device_count())
    return each * int(trainer.get("num_nodes", 1))
