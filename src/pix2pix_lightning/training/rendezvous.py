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

_PATIENCE = timedelta(minutes=10)
_LISTENING: list[TCPStore] = []  # of the first process, in which the others' group is formed later
_ROUNDS = count()  # a script may train more than once


class Launched(NamedTuple):
    """One of several processes that were started for the same run.

    Attributes:
        rank: Among those that were started; 0 decides for all.
        num_started: How many there are.
        address: Of the machine with the first one.
        port: Likewise.
    """

    rank: int
    num_started: int
    address: str
    port: int


def launched(trainer: Mapping[str, Any]) -> Launched | None:
    """Which of a run's processes this is; None where it is the only one, or is to start the others.

    Args:
        trainer: The trainer's settings.

    Raises:
        ValueError: More or fewer processes were started than the settings ask for, or it is not said which this is.
    """
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    asked, num_nodes = count_processes(trainer), int(trainer.get("num_nodes", 1))
    if TorchElasticEnvironment.detect():
        return _checked("torchrun", TorchElasticEnvironment(), asked, num_nodes)
    if asked == 1:  # what else Slurm has started are runs of their own
        return None
    if SLURMEnvironment.detect():
        try:
            return _checked("Slurm", SLURMEnvironment(), asked, num_nodes)
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
    return Launched(shell.node_rank(), num_nodes, shell.main_address, shell.main_port)


def _checked(starter: str, environment: Any, asked: int, num_nodes: int) -> Launched | None:
    num_started: int = environment.world_size()
    if num_started != asked:
        raise UserError(
            f"{starter} has started {num_started} processes, but trainer.devices x trainer.num_nodes are {asked}: "
            f"say trainer.devices={num_started // num_nodes}, or start {asked}"
        )
    return Launched(environment.global_rank(), num_started, environment.main_address, environment.main_port)


def agreed(started: Launched, decide: Callable[[], str]) -> str:
    """What the first process has decided, in all of them.

    Args:
        started: Which of them this is.
        decide: Called in the first alone.

    Raises:
        ValueError: The others do not come within ten minutes.
        SystemExit: The first has failed, and has said why.
    """
    key = f"pix2pix_lightning/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}/{next(_ROUNDS)}"
    others = range(1, started.num_started)
    try:
        store = _store(started)
        if started.rank:
            answer = store.get(key).decode()
            store.set(f"{key}/{started.rank}", "")
            if not answer:
                raise SystemExit(1)
            return answer
        answer = ""
        try:
            answer = decide()
        finally:
            store.set(key, answer)
            store.wait([f"{key}/{rank}" for rank in others], _PATIENCE)  # as long as the store is here
        return answer
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"the {started.num_started} processes of this run do not find each other at {started.address}:"
            f"{started.port} (MASTER_ADDR, MASTER_PORT): {reason}"
        ) from None


def _store(started: Launched) -> TCPStore:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    torchrun_listens = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    listens = started.rank == 0 and not torchrun_listens
    store = TCPStore(
        started.address, started.port, None, listens, _PATIENCE, wait_for_workers=False, multi_tenant=listens
    )
    if listens:
        _LISTENING.append(store)
    return store
