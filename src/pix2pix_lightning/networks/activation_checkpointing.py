"""Activation checkpointing: activations are recomputed in the backward pass instead of being stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

__all__ = ["checkpoint_activations"]


def checkpoint_activations(network: nn.Module) -> nn.Module:
    """Make ``network`` store the inputs of its parts and recompute the rest, in place (arXiv 1604.06174).

    A discriminator, which has ``features``, is one part. In another network each level is a part: an item of its
    `nn.ModuleList` or, where it has none, a block in its sequences. Outputs, gradients, running statistics and
    dropout are those of the network without checkpointing: the second pass draws the noise of the first, starts from
    the first pass's buffers and leaves no trace in them.

    Returns:
        ``network`` itself.
    """
    if callable(getattr(type(network), "features", None)):
        network.__dict__["features"] = partial(_checkpoint, network, cast(Any, type(network)).features)
        return network
    modules = list(network.modules())
    levels = [level for module in modules if isinstance(module, nn.ModuleList) for level in module]
    sequences = [module for module in modules if isinstance(module, nn.Sequential)]
    blocks = [block for sequence in sequences for block in sequence if list(block.children())]
    for level in levels or blocks:
        level.__dict__["forward"] = partial(_checkpoint, level, type(level).forward)
    return network


def _checkpoint(part: nn.Module, function: Callable[..., Any], *maps: Tensor, **options: Any) -> Any:
    if not torch.is_grad_enabled():
        return function(part, *maps, **options)
    # Spectral norm's estimate moves at each pass, also between the first pass and its recomputation.
    buffers = {name: buffer.clone() for name, buffer in part.named_buffers()}
    passes = 0

    def run(*maps: Tensor) -> Any:
        nonlocal passes
        passes += 1  # may go beyond two: a second derivative recomputes once more
        with _use_buffers(part, buffers) if passes > 1 else nullcontext():
            return function(part, *maps, **options)

    return checkpoint(run, *maps, use_reentrant=False)


@contextmanager
def _use_buffers(part: nn.Module, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Replace the buffers of ``part`` by copies of ``values``, by name, until the context ends."""
    before = dict(part.named_buffers())
    try:
        for name, value in values.items():
            _set_buffer(part, name, value.clone())
        yield
    finally:
        for name, buffer in before.items():
            _set_buffer(part, name, buffer)


def _set_buffer(part: nn.Module, name: str, value: Tensor) -> None:
    owner, _, leaf = name.rpartition(".")
    setattr(part.get_submodule(owner), leaf, value)
