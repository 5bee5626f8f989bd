"""The forward pass of hourglass generators on a CPU, for batches of images and without gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pix2pix_lightning.compat import has_hooks
from pix2pix_lightning.networks.hourglass import HourglassGenerator
from pix2pix_lightning.networks.layers import check_sides

__all__ = ["run_batch", "runs_in_batches"]

_LARGE = 32**2  # positions of a level's output, above which an image fills the processor and its cache by itself


def runs_in_batches(network: nn.Module) -> bool:
    """Return whether `run_batch` takes a network: an hourglass on a CPU whose forward nobody has replaced or hooked."""
    if type(network).forward is not HourglassGenerator.forward or "forward" in vars(network) or has_hooks(network):
        return False
    return all(parameter.device.type == "cpu" for parameter in network.parameters())


@torch.no_grad()
def run_batch(network: HourglassGenerator, x: Tensor) -> Tensor:
    """Compute what ``network.forward(x)`` returns, up to rounding, in less time.

    The outer levels run image by image, whose maps then stay in the processor's cache; the inner ones on the whole
    batch, so that their weights, nearly all of the network's, are read once.

    Args:
        network: A network of which `runs_in_batches` is true.
        x: Images (B, in_channels, H, W), as for the network itself.

    Returns:
        (B, out_channels, H, W).

    Raises:
        UserError: A side is no positive multiple of ``side_multiple``.
    """
    check_sides(x, multiple=network.side_multiple, min_side=network.side_multiple)
    x = x if network.noise is None else network.noise(x)
    num_levels = len(network.down)
    num_outer = sum(x.shape[2:].numel() // 4 ** (depth + 1) > _LARGE for depth in range(num_levels - 1))
    outer, inner = range(num_outer), range(num_outer, num_levels)
    images = torch.split(x, 1)
    skips = [_encode(network, image, outer) for image in images]
    maps = torch.cat([own[-1] if own else image for own, image in zip(skips, images, strict=True)])
    maps = _decode(network, _encode(network, maps, inner), None, inner)
    return torch.cat(
        [_decode(network, own, image, outer) for own, image in zip(skips, torch.split(maps, 1), strict=True)]
    )


def _encode(network: HourglassGenerator, x: Tensor, depths: range) -> list[Tensor]:
    """Return the output of each level of the encoder, the outermost first."""
    outputs = []
    for depth in depths:
        x = network.down[depth](x)
        outputs.append(x)
    return outputs


def _decode(network: HourglassGenerator, encoded: Sequence[Tensor], x: Tensor | None, depths: range) -> Tensor:
    """Run levels of the decoder, the innermost first, on what the encoder's levels returned.

    Args:
        network: The network.
        encoded: Outputs of the encoder's levels of the same depths.
        x: The map from the level below; None where the last output of the encoder is the input.
        depths: The levels, the outermost first.

    Returns:
        The map of the outermost of them.
    """
    for depth, skip in zip(reversed(depths), reversed(encoded), strict=True):
        if x is None:
            x = network.up[depth](skip)
        elif network.has_skips:
            x = network.up[depth](skip, x)
        else:
            x = network.up[depth](x)
    assert x is not None
    return x
