"""Loader processes: how many make sense, and what each does first."""

from __future__ import annotations

import logging
import os

import cv2

from pix2pix_lightning.utils.errors import UserError

_log = logging.getLogger(__name__)
_ALWAYS, _EACH_CORE = 32, 4  # processes that wait cost little but their memory
_SERVE_A_GPU = 8


def check_workers(num_workers: int) -> None:
    """Warn of more processes than cores, which wait for each other; a machine of one core still gets the default, 2.

    Raises:
        ValueError: There are so many that they would fill the memory: above 32, and above four for each core.
    """
    cores = available_cores()
    most = max(_ALWAYS, _EACH_CORE * cores)
    if num_workers > most:
        raise UserError(
            f"data.num_workers={num_workers}, but {cores} CPU cores are to be had: at most {most} are taken, "
            f"data.num_workers={cores} makes sense"
        )
    if num_workers > max(2, cores):
        _log.warning(
            "data.num_workers=%d, but %d CPU cores are to be had: more workers than cores wait for each other",
            num_workers,
            cores,
        )


def available_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers_for(device_type: str, cores: int) -> int:
    """Return how many loader processes serve one training process.

    Args:
        device_type: What it trains on, ``cpu`` or another. The steps on a CPU keep all cores busy, and one loader
            gives more pairs in the meantime than they take.
        cores: That are there for this process: the machine's, divided by the processes that train on it.

    Returns:
        1 for a CPU, else one for each core but that of the training process, up to 8.
    """
    return 1 if device_type == "cpu" else max(1, min(cores - 1, _SERVE_A_GPU))


def one_thread(worker: int) -> None:
    """A worker is one process of several: OpenCV is not to start threads in each, as torch does not."""
    cv2.setNumThreads(0)
