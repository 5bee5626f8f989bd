"""Compute the statistics that the norms of a network have over a whole image, while it is translated in tiles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from pix2pix_lightning.inference.moments import Moments
from pix2pix_lightning.inference.tiles import Advance, ReadWindow, RunWindow, Tiling, plan_tiling
from pix2pix_lightning.networks import ReceptiveField, TilingState, Window, crop_map
from pix2pix_lightning.networks.padding import compute_padded_side


def plan_statistics_passes(
    names: Iterable[str], context: ReceptiveField, *, height: int, width: int, stride: int, tile: int
) -> dict[str, Tiling]:
    """Plan the windows of each pass of ``compute_exact_statistics``.

    Args:
        names: Names of the layers that need the image's statistics, from ``networks.find_image_norms``.
        context: Receptive field of the network.
        height: Height of the padded image, in pixels.
        width: Width of the padded image, in pixels.
        stride: The network's ``side_multiple``.
        tile: Greatest side of a window, in pixels; a layer that sees too far for it has larger windows.

    Returns:
        The plan of each layer by its name, in the order of execution.
    """
    wanted = set(names)
    tilings = {}
    for name, reach in context.norms.items():
        if name in wanted:
            least = 2 * compute_padded_side(reach, stride) + stride
            tilings[name] = plan_tiling(height, width, context=reach, stride=stride, tile=max(tile, least))
    return tilings


@torch.no_grad()
def compute_exact_statistics(
    network: nn.Module,
    run: RunWindow,
    read: ReadWindow,
    whole: TilingState,
    tilings: Mapping[str, Tiling],
    advance: Advance | None = None,
) -> None:
    """Compute the statistics that the norms would have if the network saw all of an image at once.

    Each layer takes a pass over the image, since its input depends on the statistics of the layers before it. A pass
    leaves the network as soon as the layer's input is known. Means and squares are merged in float64 (Chan, Golub and
    LeVeque, 1983).

    Args:
        network: Network that ``run`` runs.
        run: Runs the network on a window, in ``networks.use_eval_mode`` with ``whole``.
        read: Reads a window of the image, (1, C, h, w).
        whole: State that receives the statistics.
        tilings: Windows of each layer's pass, from ``plan_statistics_passes``.
        advance: Called after each window.
    """
    for name, tiling in tilings.items():
        layer = network.get_submodule(name)
        moments = Moments()
        for window, part in tiling:
            # only the used part counts: windows overlap, and their edges have seen too little
            moments.add(crop_map(_capture_input(layer, run, read(window), window), window, part))
            if advance is not None:
                advance()
        whole.statistics[name] = moments.compute()


class _InputFoundError(Exception):
    """Leaves a network's forward pass, whose rest is not needed."""


def _capture_input(layer: nn.Module, run: RunWindow, source: Tensor, window: Window) -> Tensor:
    """Return the input of ``layer`` while ``run`` works on a window; the forward pass ends there."""
    found: list[Tensor] = []

    def stop(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.append(inputs[0])
        raise _InputFoundError

    handle = layer.register_forward_pre_hook(stop)
    try:
        run(source, window)
    except _InputFoundError:
        pass
    finally:
        handle.remove()
    return found[0]
