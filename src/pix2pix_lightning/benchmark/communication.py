"""Bytes of gradients that a training step sends between processes."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, distributed
from torch.distributed import GradBucket  # type: ignore[attr-defined]
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.training.ddp import NETWORKS, PerNetworkDDPStrategy

_GROUP = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")  # variables that Lightning sets


def measure_communication(
    build_module: Callable[[], Pix2PixModule] = Pix2PixModule, *, size: int = 256
) -> dict[str, dict[str, int] | int]:
    """Count the bytes that each process sends for averaging in one step, in a group of one process.

    Args:
        build_module: Builds a module, by default the default one.
        size: Side in pixels of the one pair.

    Returns:
        ``per_network``: bytes of ``generator`` and ``discriminator`` under `PerNetworkDDPStrategy`;
        ``find_unused``: bytes with Lightning's own strategy, one reducer for both that finds unused parameters.
    """
    ours, plain = build_module(), build_module()
    counts = [Counter[str](), Counter[str]()]
    _run_step(ours, size, PerNetworkDDPStrategy(ddp_comm_hook=_count_bucket, ddp_comm_state=(ours, counts[0])))
    _run_step(plain, size, DDPStrategy(find_unused_parameters=True), _CountingCallback(counts[1]))
    return {"per_network": dict(counts[0]), "find_unused": counts[1].total()}


def _count_bucket(state: tuple[Pix2PixModule, Counter[str]], bucket: GradBucket) -> Future[Tensor]:
    """Count a bucket of gradients and average it: a communication hook of DDP."""
    module, moved = state
    first = bucket.parameters()[0]
    for name in NETWORKS:
        network = getattr(module, name)
        if network is not None and any(parameter is first for parameter in network.parameters()):
            moved[name] += bucket.buffer().nbytes
    return allreduce_hook(cast(Any, None), bucket)


class _CountingCallback(Callback):
    """Register the hook, which Lightning's strategy does on GPUs only."""

    def __init__(self, moved: Counter[str]) -> None:
        self._moved = moved

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        reducer = cast(DistributedDataParallel, trainer.strategy.model)
        reducer.register_comm_hook((pl_module, self._moved), _count_bucket)


def _run_step(module: Pix2PixModule, size: int, strategy: DDPStrategy, *callbacks: Callback) -> None:
    spec = module.pair_spec
    sides = {
        name: torch.zeros(1, side.channels, size, size)
        for name, side in (("source", spec.source), ("target", spec.target))
    }
    with _isolate_process_group():
        Trainer(
            accelerator="cpu",
            devices=1,
            strategy=strategy,
            max_epochs=1,
            callbacks=list(callbacks),
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        ).fit(module, DataLoader(cast(Any, [{**sides, "name": [""]}]), batch_size=None))


@contextmanager
def _isolate_process_group() -> Iterator[None]:
    """Let a trainer create a process group; destroy it at the end, and restore the variables that Lightning sets."""
    before = {name: os.environ.get(name) for name in _GROUP}
    try:
        yield
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
