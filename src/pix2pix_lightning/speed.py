"""How the training step is run: what changes its time and memory, and of its results the rounding alone."""

from __future__ import annotations

import ctypes
import inspect
import logging
import platform
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pix2pix_lightning.config import TARGET, is_description, locate
from pix2pix_lightning.networks import as_matmul, recomputing

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Speed:
    """How a module runs its step; by default as it is written down.

    Attributes:
        channels_last: Keep weights and maps channels last in memory.
        fused_optimizer: Update all weights in one pass, where the optimizer can.
        matmul_convolutions: Large convolutions on small maps as matrix products (``networks.as_matmul``).
        checkpoint_activations: Keep only what goes from level to level, and compute the rest again when going
            backward: less memory, a third more time.
        compile: Compile both networks with ``torch.compile`` when the training starts.
        cuda_graph: Record the whole step once on the GPU and replay it.
    """

    channels_last: bool = False
    fused_optimizer: bool = False
    matmul_convolutions: bool = False
    checkpoint_activations: bool = False
    compile: bool = False
    cuda_graph: bool = False

    @classmethod
    def of(cls, settings: Mapping[str, Any] | None) -> Self:
        """Those of ``settings`` that the step knows; the other keys are for data and trainer."""
        names = {field.name for field in fields(cls)}
        return cls(**{key: bool(value) for key, value in (settings or {}).items() if key in names})

    @property
    def memory_format(self) -> torch.memory_format:
        """In which the maps lie."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def prepare(self, network: nn.Module) -> None:
        """Change ``network`` in place; names and values of its weights stay."""
        if self.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.matmul_convolutions:
            as_matmul(network)
        if self.checkpoint_activations:
            recomputing(network)
        if self.compile:
            network.compile()

    def of_optimizer(self, description: Any) -> Any:
        """A described optimizer with what makes it fast filled in, where its class knows that; else itself.

        A learning rate that a recorded step is to follow has to be a tensor.
        """
        if not is_description(description):
            return description
        known = inspect.signature(locate(description[TARGET])).parameters
        options: dict[str, Any] = {}
        if self.fused_optimizer and "fused" in known and not description.get("foreach"):
            options["fused"] = True
        if self.cuda_graph and "capturable" in known:
            options["capturable"] = True
            if "lr" in known:
                rate = description.get("lr", known["lr"].default)
                options["lr"] = torch.tensor(float(rate), device="cuda")
        return {**options, **description, **({"lr": options["lr"]} if "lr" in options else {})}


def as_it_was_made(optimizer: Optimizer) -> None:
    """After a checkpoint, which brings the settings of the run that wrote it: run as this one was told to.

    What is learned and the learning rate stay the checkpoint's.
    """
    made = optimizer.defaults
    for group in optimizer.param_groups:
        group.update({key: made[key] for key in ("fused", "foreach", "capturable") if key in made})
        if isinstance(made.get("lr"), Tensor):
            group["lr"] = torch.as_tensor(group["lr"], dtype=made["lr"].dtype, device=made["lr"].device).clone()
        on_device = group.get("fused") or group.get("capturable")
        for parameter in group["params"]:
            step = optimizer.state.get(parameter, {}).get("step")
            if isinstance(step, Tensor):
                optimizer.state[parameter]["step"] = step.to(parameter.device if on_device else "cpu", torch.float32)


def plain_rates(checkpoint: dict[str, Any]) -> None:
    """Make numbers of learning rates that are tensors, so that a checkpoint fits a run without them, in place."""
    for state in checkpoint.get("optimizer_states", []):
        for group in state["param_groups"]:
            group.update({key: float(value) for key, value in group.items() if isinstance(value, Tensor)})
    for state in checkpoint.get("lr_schedulers", []):
        for key in ("base_lrs", "_last_lr"):
            state[key] = [float(rate) for rate in state[key]]


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4  # malloc.h


def keep_memory(on: bool = True) -> bool:
    """Let the process keep the memory that it frees, in place of asking the system anew in every step.

    The C library gives large blocks back at once; what is asked for next comes zeroed, a page fault for every 4
    KiB, which is a third of a training step on a CPU. A setting of the whole process, for glibc alone.

    Args:
        on: False sets what glibc comes to by itself in a process with large blocks, and gives back what is free.

    Returns:
        Whether that can be set here.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    if on:
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)
    else:
        libc.mallopt(_M_MMAP_MAX, 65536)
        libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(_M_TRIM_THRESHOLD, 64 << 20)
        libc.malloc_trim(0)
    return True
