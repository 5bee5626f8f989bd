"""The processes of a run: how many there are, and which of them this is."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

from pix2pix_lightning.utils.errors import UserError

_PATIENCE = timedelta(days=30)  # until the slowest process has finished; torchrun ends all when one has failed

_PEER_LOST = r"gloo/transport|NCCL error|Connection (closed|reset) by peer|waiting for clients"


class Process(NamedTuple):
    """One of the processes that the same command was started in.

    Attributes:
        rank: Its number, from 0.
        total: How many there are.
        can_gather: Whether they know each other's address, so that `gather_results` works.
    """

    rank: int = 0
    total: int = 1
    can_gather: bool = False


def detect_process() -> Process:
    """Return which process this is, by what torchrun or srun has set.

    A script of Slurm that starts a command without srun has one process, whatever ``--ntasks`` is.

    Raises:
        UserError: What is set is no process, or has no address of the first one.
    """
    if os.environ.get("RANK") and os.environ.get("WORLD_SIZE"):
        process = _read_process("RANK", "WORLD_SIZE", can_gather=True)
        for name in ("MASTER_ADDR", "MASTER_PORT"):
            if process.total > 1 and not os.environ.get(name):
                raise UserError(
                    f"WORLD_SIZE={process.total} is set, but not {name}: start the command by torchrun, or unset RANK "
                    "and WORLD_SIZE"
                )
        return process
    if os.environ.get("SLURM_PROCID") and os.environ.get("SLURM_STEP_NUM_TASKS"):
        return _read_process("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", can_gather=False)
    return Process()


def _read_process(rank_name: str, total_name: str, *, can_gather: bool) -> Process:
    given = {name: os.environ[name] for name in (rank_name, total_name)}
    if not all(value.isdecimal() for value in given.values()) or not int(given[rank_name]) < int(given[total_name]):
        words = " ".join(f"{name}={value!r}" for name, value in given.items())
        raise UserError(f"{words} in the environment: a number from 0, and a larger one, are expected: unset both")
    return Process(int(given[rank_name]), int(given[total_name]), can_gather=can_gather)


Gather = Callable[[Any], list[Any]]


@contextmanager
def gather_results(process: Process) -> Iterator[Gather]:
    """Yield a function that returns the values which all processes give it, in the order of their ranks.

    Each process has to call it equally often. Processes that do not know each other get a list of their own value.

    Args:
        process: This process.
    """
    if process.total == 1 or not process.can_gather:
        yield lambda value: [value]
        return
    from torch import distributed

    distributed.init_process_group("gloo", timeout=_PATIENCE)

    def gather(value: Any) -> list[Any]:
        values: list[Any] = [None] * process.total
        distributed.all_gather_object(values, value)
        return values

    try:
        yield gather
    finally:
        distributed.destroy_process_group()


def quiet_others(process: Process) -> None:
    """Let the first of several processes warn for all: the loggers of the others pass on errors alone."""
    if process.rank > 0:
        logging.getLogger("pix2pix_lightning").setLevel(logging.ERROR)


def is_peer_lost(error: BaseException) -> bool:
    """Return whether an error says that another process of the run has ended or does not answer."""
    return isinstance(error, RuntimeError) and re.search(_PEER_LOST, str(error)) is not None


def count_available_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count_local_processes() -> int:
    """Return how many processes of the run are on this machine, by what torchrun tells those that it starts."""
    value = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(1, int(value)) if value.isdecimal() else 1


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
    return (os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or "0") == "0"
