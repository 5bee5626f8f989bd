"""Temporary replacement of the forward functions of layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

__all__ = ["Forward", "patch_forwards"]

Forward = Callable[..., Tensor]


@contextmanager
def patch_forwards(
    network: nn.Module, choose_forward: Callable[[int, str, nn.Module], Forward | None]
) -> Iterator[nn.Module]:
    """Put ``network`` in eval mode and replace the forward functions of some of its layers, until the context ends.

    Args:
        network: Any module. The layers themselves are changed, so two threads need two networks.
        choose_forward: Returns the new forward function of a layer, given its index in ``network.modules()``, its name
            and the layer itself; None leaves it as it is.

    Yields:
        ``network`` itself. On leaving, every module is as it was before.
    """
    modules = dict(network.named_modules())
    was_training = [module.training for module in modules.values()]
    patched: list[tuple[nn.Module, Forward | None]] = []
    try:
        network.eval()
        for index, (name, module) in enumerate(modules.items()):
            forward = choose_forward(index, name, module)
            if forward is not None:
                # An instance may have a forward of its own already: contexts nest, and users patch layers too.
                patched.append((module, module.__dict__.get("forward")))
                module.__dict__["forward"] = forward
        yield network
    finally:
        for module, forward_before in patched:
            if forward_before is None:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = forward_before
        for module, training in zip(modules.values(), was_training, strict=True):
            module.training = training
