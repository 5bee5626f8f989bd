"""Processes of one run that Lightning did not start: by torchrun, by Slurm, or in a shell on each node."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.processes import count_processes

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

_TIMEOUT = timedelta(minutes=10)
_stores: list[TCPStore] = []  # a store ends with its object, and the processes' group is formed in it later
_rounds = count()  # a script may train more than once


class Process(NamedTuple):
    """One of several processes that were started for the same run.

    Attributes:
        rank: Number of the process among those that were started, from 0. Process 0 decides for all.
        num_started: How many processes were started.
        address: Host name or address of the machine with process 0.
        port: Port on that machine.
    """

    rank: int
    num_started: int
    address: str
    port: int


def detect_process(trainer: Mapping[str, Any]) -> Process | None:
    """Detect which of a run's processes this is, by the environment variables of what has started it.

    Args:
        trainer: The trainer's settings; ``devices`` and ``num_nodes`` are read.

    Returns:
        The process, or None if it is the only one that was started. It may start others itself.

    Raises:
        UserError: More or fewer processes were started than the settings ask for, or variables are missing.
    """
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    num_asked, num_nodes = count_processes(trainer), int(trainer.get("num_nodes", 1))
    if TorchElasticEnvironment.detect():
        return _read_environment("torchrun", TorchElasticEnvironment(), num_asked, num_nodes)
    if num_asked == 1:  # other processes of the Slurm job are runs of their own
        return None
    if SLURMEnvironment.detect():
        try:
            return _read_environment("Slurm", SLURMEnvironment(), num_asked, num_nodes)
        except RuntimeError as error:  # --ntasks without --ntasks-per-node
            raise UserError(str(error)) from None
    if num_nodes == 1:
        return None
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if name not in os.environ]
    if missing:
        raise UserError(
            f"trainer.num_nodes={num_nodes} without {', '.join(missing)}: start this with torchrun or srun, or "
            "set MASTER_ADDR, MASTER_PORT and NODE_RANK in the shell of each node"
        )
    shell = LightningEnvironment()
    return Process(shell.node_rank(), num_nodes, shell.main_address, shell.main_port)


def _read_environment(starter: str, environment: Any, num_asked: int, num_nodes: int) -> Process:
    num_started: int = environment.world_size()
    if num_started != num_asked:
        raise UserError(
            f"{starter} has started {num_started} processes, but trainer.devices x trainer.num_nodes are {num_asked}: "
            f"set trainer.devices={num_started // num_nodes}, or start {num_asked}"
        )
    return Process(environment.global_rank(), num_started, environment.main_address, environment.main_port)


def broadcast_decision(process: Process, decide: Callable[[], str], patience: timedelta | None = None) -> str:
    """Let process 0 decide, and return its decision in all processes.

    Args:
        process: The present process.
        decide: Returns the decision, not empty; it is called in process 0 alone.
        patience: How long the others wait for it; None: ten minutes.

    Returns:
        What ``decide`` has returned in process 0.

    Raises:
        UserError: The processes do not find each other within ten minutes, or process 0 takes longer than ``patience``.
        SystemExit: ``decide`` has failed in process 0, which has printed the reason.
    """
    key = f"pix2pix_lightning/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}/{next(_rounds)}"
    others = range(1, process.num_started)
    try:
        store = _connect(process)
        if process.rank:
            store.wait([key], patience or _TIMEOUT)
            decision = store.get(key).decode()
            store.set(f"{key}/{process.rank}", "")
            if not decision:
                raise SystemExit(1)
            return decision
        decision = ""
        try:
            decision = decide()
        finally:
            store.set(key, decision)
            store.wait([f"{key}/{rank}" for rank in others], _TIMEOUT)  # process 0 may end, and the store with it
        return decision
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"the {process.num_started} processes of this run do not find each other at {process.address}:"
            f"{process.port} (MASTER_ADDR, MASTER_PORT): {reason}"
        ) from None


def _connect(process: Process) -> TCPStore:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    torchrun_listens = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    listens = process.rank == 0 and not torchrun_listens
    store = TCPStore(
        process.address, process.port, None, listens, _TIMEOUT, wait_for_workers=False, multi_tenant=listens
    )
    if listens:
        _stores.append(store)
    return store
