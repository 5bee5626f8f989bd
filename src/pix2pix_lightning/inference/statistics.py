"""Compute the statistics that the norms of a network have over a whole image, while it is translated in tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from pix2pix_lightning.data.resize import resize
from pix2pix_lightning.inference.tiles import Advance, ReadWindow, RunWindow, Tiling, plan_tiling
from pix2pix_lightning.networks import ReceptiveField, Statistics, TilingState, Window, crop_map
from pix2pix_lightning.networks.padding import compute_padded_side

_CHANNELS_AT_ONCE = 8  # float64 of all channels would take twice as much memory as the maps


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
        moments = _Moments()
        for window, part in tiling:
            # only the used part counts: windows overlap, and their edges have seen too little
            moments.add(crop_map(_capture_input(layer, run, read(window), window), window, part))
            if advance is not None:
                advance()
        whole.statistics[name] = moments.compute()


@torch.no_grad()
def estimate_statistics(
    network: nn.Module, run: Callable[[Tensor], object], reduced: Tensor, names: Iterable[str]
) -> dict[str, Statistics]:
    """Estimate the statistics of the norms on a smaller copy of an image.

    The estimate is as good as the copy resembles the image. Line drawings, whose lines become thinner, moved the output
    of a trained U-Net by 6 to 40 gray levels at half the size; ``compute_exact_statistics`` has no such error.

    Args:
        network: Network that ``run`` runs.
        run: Runs the network in ``networks.use_eval_mode``, with the copy's own statistics.
        reduced: The copy, (1, C, h, w), of sides that the network takes.
        names: Names of the layers that need the image's statistics, from ``networks.find_image_norms``.

    Returns:
        The statistics of each layer by its name.
    """
    found: dict[str, Statistics] = {}

    def record(name: str, inputs: tuple[Tensor, ...]) -> None:
        moments = _Moments()
        moments.add(inputs[0])
        found[name] = moments.compute()

    handles = [
        network.get_submodule(name).register_forward_pre_hook(lambda _, inputs, name=name: record(name, inputs))
        for name in names
    ]
    try:
        run(reduced)
    finally:
        for handle in handles:
            handle.remove()
    return found


def shrink_image(image: npt.NDArray[Any], side: int, interpolation: str) -> npt.NDArray[Any]:
    """Resize an image to sides of at most a number of pixels, in nearly the same proportion.

    Args:
        image: Image (H, W, C).
        side: Greatest side of the result, in pixels.
        interpolation: Interpolation of ``data.resize``.

    Returns:
        (H', W', C); the image itself where it is small enough.
    """
    height, width = image.shape[:2]
    return resize(image, *compute_shrunk_size(height, width, side), interpolation)


def compute_shrunk_size(height: int, width: int, side: int) -> tuple[int, int]:
    """Compute the height and width of an image whose longer side is reduced to at most ``side`` pixels.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        side: Longest side that is allowed, in pixels. A smaller image keeps its size.

    Returns:
        (height, width) in pixels, at least 1 each, in the proportions of the image up to rounding.
    """
    factor = min(1.0, side / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


class _Moments:
    """Mean and variance of each channel, over maps that arrive one after the other."""

    def __init__(self) -> None:
        self._count = 0
        self._mean = torch.zeros(())
        self._squares = torch.zeros(())

    def add(self, maps: Tensor) -> None:
        """Update with (1, C, h, w)."""
        assert len(maps) == 1
        count = maps.shape[2:].numel()
        parts = [
            torch.var_mean(part.double(), (0, 2, 3), correction=0) for part in torch.split(maps, _CHANNELS_AT_ONCE, 1)
        ]
        variance, mean = (torch.cat(values) for values in zip(*parts, strict=True))
        if not self._count:
            self._mean, self._squares = torch.zeros_like(mean), torch.zeros_like(mean)
        total = self._count + count
        shift = mean - self._mean
        self._mean = self._mean + shift * count / total
        self._squares = self._squares + variance * count + shift**2 * self._count * count / total
        self._count = total

    def compute(self) -> Statistics:
        """Compute the statistics of all maps.

        A single pixel has an infinite variance: the norm's output is then its shift, without rounding noise.

        Returns:
            Mean and biased variance of each channel, (C,) float64.
        """
        if self._count == 1:
            return Statistics(self._mean, torch.full_like(self._mean, torch.inf))
        return Statistics(self._mean, self._squares / self._count)


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
