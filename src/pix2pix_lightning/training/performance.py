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

from pix2pix_lightning.networks import checkpoint_activations, convert_to_matmul
from pix2pix_lightning.utils.instantiate import TARGET, is_description, locate

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Speed:
    """How a module runs its step; by default as it is written down.

    Attributes:
        channels_last: Keep weights and maps channels last in memory.
        fused_optimizer: Update all weights in one pass, where the optimizer can.
        matmul_convolutions: Large convolutions on small maps as matrix products (``networks.convert_to_matmul``).
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
        """Those of ``settings`` that the step knows; the other keys are for data and trainer.

        Raises:
            ValueError: One of them is neither true nor false.
        """
        names = {field.name for field in fields(cls)}
        known = {key: value for key, value in (settings or {}).items() if key in names}
        for key, value in known.items():
            if not isinstance(value, bool):
                raise ValueError(f"speed.{key}={value}: true or false is expected here")
        return cls(**known)

    @property
    def memory_format(self) -> torch.memory_format:
        """In which the maps lie."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def prepare(self, network: nn.Module) -> None:
        """Change ``network`` in place; names and values of its weights stay."""
        if self.channels_last:
            for parameter in network.parameters():
                if parameter.dim() == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        if self.matmul_convolutions:
            convert_to_matmul(network)
        if self.checkpoint_activations:
            checkpoint_activations(network)
        if self.compile:
            network.compile()

    def of_optimizer(self, description: Any, network: nn.Module, *, can_fuse: bool = True) -> Any:
        """A described optimizer with what makes it fast filled in, where its class knows that; else itself.

        A learning rate that a recorded step is to follow has to be a tensor.

        Args:
            description: Of the optimizer, or a function that makes it.
            network: Whose weights it updates.
            can_fuse: Whether a fused step does the same.
        """
        if not is_description(description):
            return description
        known = inspect.signature(locate(description[TARGET])).parameters
        options: dict[str, Any] = {}
        is_float = all(parameter.is_floating_point() for parameter in network.parameters())
        if self.fused_optimizer and can_fuse and is_float and "fused" in known and not description.get("foreach"):
            options["fused"] = True
        if not (self.cuda_graph and "capturable" in known):
            return {**options, **description}
        rate = torch.tensor(float(description.get("lr", known["lr"].default)), device="cuda")
        return {**options, **description, "capturable": True, "lr": rate}


_LAST, _FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def in_one_piece(optimizer: Optimizer) -> None:
    """Show channels-last weights to a fused step on a CPU as the contiguous memory that they are.

    Its kernel copies whatever is not contiguous, there and back: weights, gradients and both moments. While it runs,
    these are views with the channels last. Before and after, nothing differs.
    """
    shown: list[Tensor] = []

    def before(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"] if group.get("fused") else ():
                if _lies_channels_last(parameter):
                    _turn(parameter, optimizer.state.get(parameter, {}), _LAST)
                    shown.append(parameter)

    def after(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        for parameter in shown:
            _turn(parameter, optimizer.state[parameter], _FIRST)
        shown.clear()

    optimizer.register_step_pre_hook(before)
    optimizer.register_step_post_hook(after)


def _lies_channels_last(parameter: Tensor) -> bool:
    if parameter.grad is None or parameter.dim() != 4 or parameter.device.type != "cpu" or parameter.is_contiguous():
        return False
    return parameter.is_contiguous(memory_format=torch.channels_last) and parameter.grad.stride() == parameter.stride()


def _turn(parameter: Tensor, state: dict[str, Any], order: tuple[int, ...]) -> None:
    gradient, parameter.grad = parameter.grad, None
    assert gradient is not None
    parameter.data = parameter.data.permute(order)
    parameter.grad = gradient.permute(order)
    for key, value in state.items():
        if isinstance(value, Tensor) and value.dim() == 4:
            turned = value.permute(order)
            # a checkpoint's moments can lie otherwise
            state[key] = turned.contiguous() if order == _LAST else turned


_WAYS = ("fused", "foreach", "capturable")


def ways(optimizer: Optimizer) -> list[dict[str, Any]]:
    """How each group of a new optimizer steps, for `as_it_was_made`."""
    return [{key: group[key] for key in (*_WAYS, "lr") if key in group} for group in optimizer.param_groups]


def as_it_was_made(optimizer: Optimizer, made: list[dict[str, Any]]) -> None:
    """After a checkpoint, which brings the settings of the run that wrote it: run as this one was told to.

    What is learned and the learning rate stay the checkpoint's.

    Args:
        optimizer: With or without a checkpoint's state.
        made: Its `ways` when it was new.
    """
    for group, own in zip(optimizer.param_groups, made, strict=True):
        group.update({key: own[key] for key in _WAYS if key in own})
        if isinstance(own.get("lr"), Tensor) and group["lr"] is not own["lr"]:
            group["lr"] = own["lr"].fill_(float(group["lr"]))
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
        _plain(state)


def _plain(schedule: dict[str, Any]) -> None:
    for key in {"base_lrs", "_last_lr"} & schedule.keys():
        schedule[key] = [float(rate) for rate in schedule[key]]
    for inner in schedule.get("_schedulers") or ():
        _plain(inner)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4  # malloc.h
_is_kept = False


def keep_memory(on: bool = True) -> bool:
    """Let the process keep the memory that it frees, in place of asking the system anew in every step.

    The C library gives large blocks back at once; what is asked for next comes zeroed, a page fault for every 4
    KiB, which is a third of a training step on a CPU. A setting of the whole process, for glibc alone.

    Args:
        on: False undoes it: what glibc comes to by itself in a process with large blocks, and what is free goes back.

    Returns:
        Whether that can be set here.
    """
    global _is_kept
    if platform.libc_ver()[0] != "glibc":
        return False
    if not on and not _is_kept:
        return True
    _is_kept = on
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
