"""Activation checkpointing: what a network computed is computed again when it is needed to go backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

__all__ = ["recomputing"]


def recomputing(network: nn.Module) -> nn.Module:
    """Makes ``network`` keep what goes in and little else, in place (Chen et al., arXiv 1604.06174).

    A discriminator, which has ``features``, is computed again as a whole. Of another network the levels are, each by
    itself: the items of its `nn.ModuleList`s or, where it has none, the blocks in its sequences. Gradients,
    running statistics and dropout are those of the network as it was: the second pass draws the noise of the
    first and leaves the statistics alone.

    Returns:
        ``network`` itself.
    """
    if callable(getattr(type(network), "features", None)):
        network.__dict__["features"] = partial(_recomputed, network, cast(Any, type(network)).features)
        return network
    modules = list(network.modules())
    levels = [level for module in modules if isinstance(module, nn.ModuleList) for level in module]
    sequences = [module for module in modules if isinstance(module, nn.Sequential)]
    blocks = [block for sequence in sequences for block in sequence if list(block.children())]
    for level in levels or blocks:
        level.__dict__["forward"] = partial(_recomputed, level, type(level).forward)
    return network


def _recomputed(part: nn.Module, function: Callable[..., Any], *maps: Tensor, **options: Any) -> Any:
    if not torch.is_grad_enabled():
        return function(part, *maps, **options)

    def again(*maps: Tensor) -> Any:
        with _statistics_kept(part) if visits else nullcontext():
            visits.append(None)
            return function(part, *maps, **options)

    visits: list[None] = []  # a second derivative computes it once more
    return checkpoint(again, *maps, use_reentrant=False)


@contextmanager
def _statistics_kept(part: nn.Module) -> Iterator[None]:
    """Inside, norms update copies of their running statistics."""
    norms = [module for module in part.modules() if isinstance(module, _NormBase)]
    own = [dict(norm._buffers) for norm in norms]
    try:
        for norm in norms:
            norm._buffers.update({name: None if b is None else b.clone() for name, b in norm._buffers.items()})
        yield
    finally:
        for norm, buffers in zip(norms, own, strict=True):
            norm._buffers.update(buffers)
