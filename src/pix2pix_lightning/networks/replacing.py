"""Layers that compute something else for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

Forward = Callable[..., Tensor]


@contextmanager
def replacing_forwards(
    network: nn.Module, forward_of: Callable[[int, str, nn.Module], Forward | None]
) -> Iterator[nn.Module]:
    """Puts ``network`` in eval mode, with other forwards in some of its layers.

    Args:
        network: Any module. Layers are changed for the while, so two threads need two networks.
        forward_of: Gives what a layer of this place, name and kind computes, or None to leave it as it is.

    Yields:
        ``network`` itself. On leaving, every module is as it was.
    """
    modules = dict(network.named_modules())
    was_training = [module.training for module in modules.values()]
    replaced: list[tuple[nn.Module, Forward | None]] = []
    try:
        network.eval()
        for place, (name, module) in enumerate(modules.items()):
            forward = forward_of(place, name, module)
            if forward is not None:
                replaced.append((module, module.__dict__.get("forward")))
                module.__dict__["forward"] = forward
        yield network
    finally:
        for module, forward_before in replaced:
            if forward_before is None:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = forward_before
        for module, training in zip(modules.values(), was_training, strict=True):
            module.training = training
