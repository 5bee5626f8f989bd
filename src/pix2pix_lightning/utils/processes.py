"""The processes of a run: how many there are, and which of them this is."""

from __future__ import annotations

import os
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


def is_first_process() -> bool:
    """Return whether this is the first of a run's processes, by what torchrun and Lightning tell those they start."""
    return int(os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or 0) == 0
