"""Loader processes: how many make sense, and how each starts."""

from __future__ import annotations

import logging
from typing import Any

import cv2

from pix2pix_lightning.utils.checks import check_counts
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.processes import count_available_cores

_log = logging.getLogger(__name__)
_MAX_WORKERS, _MAX_WORKERS_PER_CORE = 32, 4  # processes that wait cost little but their memory
_MAX_WORKERS_FOR_GPU = 8


def parse_num_workers(num_workers: object, device_type: str) -> int:
    """Return a number of loader processes; choose it where it is ``auto``.

    Args:
        num_workers: A number from 0, or ``auto``.
        device_type: What the training runs on, as for ``choose_num_workers``.

    Returns:
        The number.

    Raises:
        UserError: It is no such number, or far too large.
    """
    count: Any = num_workers
    if count == "auto":
        count = choose_num_workers(device_type, count_available_cores())
    check_counts(prefix="data.", at_least=0, num_workers=count)
    check_num_workers(count)
    return int(count)


def check_num_workers(num_workers: int) -> None:
    """Warn of more processes than cores, which wait for each other.

    A machine of one core still gets the default of two without a warning.

    Args:
        num_workers: Number of loader processes, from 0.

    Raises:
        UserError: There are more than 32 and more than four for each core, which would fill the memory.
    """
    cores = count_available_cores()
    most = max(_MAX_WORKERS, _MAX_WORKERS_PER_CORE * cores)
    if num_workers > most:
        raise UserError(
            f"data.num_workers={num_workers}, but {cores} CPU cores are available and at most {most} workers are "
            f"allowed: set data.num_workers={cores}"
        )
    if num_workers > max(2, cores):
        _log.warning(
            "data.num_workers=%d, but %d CPU cores are available: more workers than cores wait for each other",
            num_workers,
            cores,
        )


def choose_num_workers(device_type: str, cores: int) -> int:
    """Return how many loader processes serve one training process.

    Args:
        device_type: What it trains on, ``cpu`` or another. The steps on a CPU keep all cores busy, and one loader
            is faster than they are.
        cores: CPU cores of this process: those of the machine, divided by the processes that train on it.

    Returns:
        1 for a CPU, else one for each core but that of the training process, up to 8.
    """
    return 1 if device_type == "cpu" else max(1, min(cores - 1, _MAX_WORKERS_FOR_GPU))


def use_one_thread(worker: int) -> None:
    """Turn OpenCV's threads off in a loader process, as torch does with its own.

    Args:
        worker: Number of the process, which makes no difference.
    """
    cv2.setNumThreads(0)
