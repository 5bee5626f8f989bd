"""Ranges of ``torch.profiler`` around what a training step consists of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

from lightning.pytorch.profilers import Profiler
from torch import nn
from torch.optim import Optimizer
from torch.profiler import record_function

from pix2pix_lightning.benchmark.step_parts import FORWARD, WAITING, Part, format_range
from pix2pix_lightning.models.pix2pix import Pix2PixModule

_METHODS = {
    "generator_loss": Part("losses of the generator", FORWARD),
    "discriminator_loss": Part("losses of the discriminator", FORWARD),
    "log_dict": Part("logging"),
}
_ACTIONS = {
    ".train_dataloader_next": WAITING,
    ".batch_to_device": Part("batch to the device"),
    ".on_after_batch_transfer": Part("batch to floats"),
}


class RangeProfiler(Profiler):
    """Give the actions of a trainer, such as waiting for a batch or calling a callback, ranges of their own.

    Attributes:
        is_on: Whether actions that start now get ranges.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_on = False
        self._open: dict[str, list[Any]] = {}

    def start(self, action_name: str) -> None:
        """Open a range at the start of an action that is a part of the step."""
        part = _name_action(action_name) if self.is_on else None
        if part is not None:
            self._open.setdefault(action_name, []).append(_open_range(part))

    def stop(self, action_name: str) -> None:
        """Close the action's range, if it has one."""
        if ranges := self._open.get(action_name):
            ranges.pop().__exit__(None, None, None)


def _name_action(action: str) -> Part | None:
    if action.startswith("[Callback]"):
        name = action.removeprefix("[Callback]").partition("{")[0].partition(".on_")[0]
        return None if name.startswith("_") else Part(f"callback {name}")  # else the profile's own
    return next((part for end, part in _ACTIONS.items() if action.endswith(end)), None)


@contextmanager
def mark_parts(module: Pix2PixModule, optimizers: Sequence[Optimizer]) -> Iterator[None]:
    """Open ranges around layers, losses, logging and the optimizers' steps within a block.

    Args:
        module: The module that is trained.
        optimizers: The generator's optimizer, and the discriminator's, if any.

    Yields:
        Nothing.
    """
    networks = {"generator": module.generator, "discriminator": module.discriminator}
    with ExitStack() as stack:
        for title, network in networks.items():
            for path, layer in [] if network is None else network.named_modules():
                _mark_layer(stack, layer, Part(f"{title} {path}".strip(), FORWARD))
        for title, loss in module.reconstruction.items():
            _mark_layer(stack, loss, Part(f"loss {title}", FORWARD))
        for title, optimizer in zip(networks, optimizers, strict=False):
            part = Part(f"optimizer of the {title}, {type(optimizer).__name__}")
            stack.enter_context(_mark_method(optimizer, "step", part))
        for method, part in _METHODS.items():
            stack.enter_context(_mark_method(module, method, part))
        yield


def _mark_layer(stack: ExitStack, layer: nn.Module, part: Part) -> None:
    ranges: list[Any] = []
    before = layer.register_forward_pre_hook(lambda layer, args: ranges.append(_open_range(part)))
    after = layer.register_forward_hook(
        lambda layer, args, output: ranges.pop().__exit__(None, None, None), always_call=True
    )
    stack.callback(before.remove)
    stack.callback(after.remove)


def _open_range(part: Part) -> Any:
    entered: Any = record_function(format_range(part))
    entered.__enter__()
    return entered


@contextmanager
def _mark_method(owner: object, name: str, part: Part) -> Iterator[None]:
    """Replace a method of one object within a block by itself in a range."""
    replaced = vars(owner).get(name)  # a schedule, for one, has put its own step there
    method: Callable[..., Any] = getattr(owner, name)

    @wraps(method)
    def call_in_range(*args: Any, **kwargs: Any) -> Any:
        with record_function(format_range(part)):
            return method(*args, **kwargs)

    setattr(owner, name, call_in_range)
    try:
        yield
    finally:
        if replaced is None:
            delattr(owner, name)
        else:
            setattr(owner, name, replaced)
