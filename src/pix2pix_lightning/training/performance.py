"""How the training step is computed: what changes its time and memory, and of its results the rounding alone."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pix2pix_lightning.networks import checkpoint_activations, convert_to_matmul, convert_to_winograd
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.instantiate import TARGET, is_description, locate


@dataclass(frozen=True)
class PerformanceOptions:
    """How a module computes its step; the defaults are plain PyTorch.

    Attributes:
        channels_last: Store weights and feature maps with the channels last.
        fused_optimizer: Update all weights in one pass, where the optimizer can.
        matmul_convolutions: Compute large convolutions on small maps as matrix products
            (``networks.convert_to_matmul``).
        winograd_convolutions: Compute large convolutions with fewer products and more sums, in float32 and float64
            (``networks.convert_to_winograd``).
        checkpoint_activations: Store only what goes from level to level, and compute the rest again in the backward
            pass: less memory, a third more time.
        compile: Compile both networks with ``torch.compile`` when training starts.
        cuda_graph: Capture the whole step once on the GPU and replay it.
    """

    channels_last: bool = False
    fused_optimizer: bool = False
    matmul_convolutions: bool = False
    winograd_convolutions: bool = False
    checkpoint_activations: bool = False
    compile: bool = False
    cuda_graph: bool = False

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any] | None) -> Self:
        """Take the options out of settings by name; other keys are for the data and the trainer.

        Args:
            settings: Values by name, or None for the defaults.

        Returns:
            The options; those that are not given have their defaults.

        Raises:
            UserError: An option is neither true nor false.
        """
        names = {field.name for field in fields(cls)}
        known = {key: value for key, value in (settings or {}).items() if key in names}
        for key, value in known.items():
            if not isinstance(value, bool):
                raise UserError(f"speed.{key}={value}: true or false is expected here")
        return cls(**known)

    @property
    def memory_format(self) -> torch.memory_format:
        """Layout of weights and feature maps in memory."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def prepare(self, network: nn.Module) -> None:
        """Change a network in place; names and values of its weights stay."""
        if self.channels_last:
            for parameter in network.parameters():
                if parameter.dim() == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        if self.matmul_convolutions:
            convert_to_matmul(network)
        if self.winograd_convolutions:
            convert_to_winograd(network)
        if self.checkpoint_activations:
            checkpoint_activations(network)
        if self.compile:
            network.compile()

    def add_optimizer_flags(self, description: Any, network: nn.Module, *, can_fuse: bool = True) -> Any:
        """Fill in the flags that make a described optimizer fast, where its class knows them.

        A captured step can follow a learning rate only if that is a tensor.

        Args:
            description: Description of the optimizer; a function that builds one is returned as it is.
            network: The network whose weights it updates.
            can_fuse: Whether a fused step gives the same result.

        Returns:
            The description with flags; what it says itself stays.
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


def use_contiguous_views(optimizer: Optimizer) -> None:
    """Let a fused step on a CPU see channels-last weights as contiguous memory.

    The fused kernel copies every tensor that is not contiguous, there and back: weights, gradients and both moments,
    which costs more than the update. Channels-last weights are contiguous memory in another order of the axes. Hooks
    before and after the step permute the tensors to that order and back, without a copy, so that outside of the step
    nothing differs.
    """
    shown: list[Tensor] = []

    def permute_before(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"] if group.get("fused") else ():
                if _is_channels_last_on_cpu(parameter):
                    _permute(parameter, optimizer.state.get(parameter, {}), _LAST)
                    shown.append(parameter)

    def permute_after(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        for parameter in shown:
            _permute(parameter, optimizer.state[parameter], _FIRST)
        shown.clear()

    optimizer.register_step_pre_hook(permute_before)
    optimizer.register_step_post_hook(permute_after)


def _is_channels_last_on_cpu(parameter: Tensor) -> bool:
    if parameter.grad is None or parameter.dim() != 4 or parameter.device.type != "cpu" or parameter.is_contiguous():
        return False
    return parameter.is_contiguous(memory_format=torch.channels_last) and parameter.grad.stride() == parameter.stride()


def _permute(parameter: Tensor, state: dict[str, Any], order: tuple[int, ...]) -> None:
    gradient, parameter.grad = parameter.grad, None  # a gradient must have its parameter's shape at any time
    assert gradient is not None
    parameter.data = parameter.data.permute(order)
    parameter.grad = gradient.permute(order)
    for key, value in state.items():
        if isinstance(value, Tensor) and value.dim() == 4:
            permuted = value.permute(order)
            # the moments of a checkpoint may have another layout
            state[key] = permuted.contiguous() if order == _LAST else permuted


_FLAGS = ("fused", "foreach", "capturable")


def optimizer_flags(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Return how each parameter group of a new optimizer steps, for `restore_optimizer_flags`."""
    return [{key: group[key] for key in (*_FLAGS, "lr") if key in group} for group in optimizer.param_groups]


def restore_optimizer_flags(optimizer: Optimizer, flags: list[dict[str, Any]]) -> None:
    """Give an optimizer its own flags back after a checkpoint, which brings those of the run that wrote it.

    What was learned and the learning rate stay the checkpoint's.

    Args:
        optimizer: An optimizer with or without a checkpoint's state.
        flags: Its `optimizer_flags` when it was new.
    """
    for group, own in zip(optimizer.param_groups, flags, strict=True):
        group.update({key: own[key] for key in _FLAGS if key in own})
        if isinstance(own.get("lr"), Tensor) and group["lr"] is not own["lr"]:
            group["lr"] = own["lr"].fill_(float(group["lr"]))
        on_device = group.get("fused") or group.get("capturable")
        for parameter in group["params"]:
            step = optimizer.state.get(parameter, {}).get("step")
            if isinstance(step, Tensor):
                optimizer.state[parameter]["step"] = step.to(parameter.device if on_device else "cpu", torch.float32)
