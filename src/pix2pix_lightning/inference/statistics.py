"""What the norms of a network see of an image that is translated in tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pix2pix_lightning.data.resize import resize
from pix2pix_lightning.inference.tiles import Advance, Run, Source, Tiling, cut, padded_side
from pix2pix_lightning.networks import ReceptiveField, Statistics, TilingState, Window, crop_map

_CHANNELS_AT_ONCE = 8  # float64 of all would take twice as much as the maps


def statistics_passes(
    names: Iterable[str], context: ReceptiveField, *, height: int, width: int, stride: int, tile: int
) -> dict[str, Tiling]:
    """The windows of each pass of ``exact_statistics``.

    Args:
        names: Of the layers that need the image's statistics: ``networks.find_image_norms``.
        context: Of the network.
        height: Of the image as the network would take it at once, in pixels.
        width: Likewise.
        stride: The network's ``side_multiple``.
        tile: The greatest side of a window, in pixels; a layer that sees too far for it gets larger ones.

    Returns:
        By the layer's name, in the order of execution.
    """
    wanted = set(names)
    tilings = {}
    for name, reach in context.norms.items():
        if name in wanted:
            least = 2 * padded_side(reach, stride) + stride
            tilings[name] = cut(height, width, context=reach, stride=stride, tile=max(tile, least))
    return tilings


@torch.no_grad()
def exact_statistics(
    network: nn.Module,
    run: Run,
    source: Source,
    whole: TilingState,
    tilings: Mapping[str, Tiling],
    advance: Advance | None = None,
) -> None:
    """Find the statistics that the norms would have if the network saw all of an image at once.

    Each layer takes a pass over the image, since its input needs the statistics of those before it. The network is
    left as soon as the layer's input is known. Means and squares are merged in float64 (Chan, Golub and LeVeque,
    1983).

    Args:
        network: What ``run`` runs.
        run: Runs it on a window, in ``networks.use_eval_mode`` with ``whole``.
        source: Gives a window of the image, (1, C, h, w).
        whole: Is given the statistics.
        tilings: Of ``statistics_passes``.
        advance: Is called after each window.
    """
    for name, tiling in tilings.items():
        layer = network.get_submodule(name)
        moments = _Moments()
        for window, part in tiling:
            moments.add(crop_map(_input_of(layer, run, source(window), window), window, part))
            if advance is not None:
                advance()
        whole.statistics[name] = moments.statistics()


@torch.no_grad()
def estimated_statistics(
    network: nn.Module, run: Callable[[Tensor], object], reduced: Tensor, names: Iterable[str]
) -> dict[str, Statistics]:
    """The statistics that the norms have on a smaller copy of an image.

    They are as good as the copy is like the image: of line drawings, whose lines get thinner, the output of a trained
    U-Net was 6 to 40 grey levels off at half the size (``exact_statistics`` are not).

    Args:
        network: What ``run`` runs.
        run: Runs it in ``networks.use_eval_mode``, with the copy's own statistics.
        reduced: The copy, (1, C, h, w), of sides that the network takes.
        names: Of the layers that need the image's statistics: ``networks.find_image_norms``.

    Returns:
        By the layer's name.
    """
    found: dict[str, Statistics] = {}

    def take(name: str, inputs: tuple[Tensor, ...]) -> None:
        moments = _Moments()
        moments.add(inputs[0])
        found[name] = moments.statistics()

    handles = [
        network.get_submodule(name).register_forward_pre_hook(lambda _, inputs, name=name: take(name, inputs))
        for name in names
    ]
    try:
        run(reduced)
    finally:
        for handle in handles:
            handle.remove()
    return found


def reduced_copy(image: npt.NDArray[np.uint8], side: int, interpolation: str) -> npt.NDArray[np.uint8]:
    """A copy of an image, (H, W, C), with sides of at most ``side`` pixels in nearly the same proportion."""
    height, width = image.shape[:2]
    factor = min(1.0, side / max(height, width))
    return resize(image, max(1, round(height * factor)), max(1, round(width * factor)), interpolation)


class _Moments:
    """Mean and variance for each channel, over maps that come one after the other."""

    def __init__(self) -> None:
        self._count = 0
        self._mean = torch.zeros(())
        self._squares = torch.zeros(())

    def add(self, maps: Tensor) -> None:
        """Take (1, C, h, w)."""
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

    def statistics(self) -> Statistics:
        """Of all that came. One pixel has an infinite variance: its norm is the shift, without rounding noise."""
        if self._count == 1:
            return Statistics(self._mean, torch.full_like(self._mean, torch.inf))
        return Statistics(self._mean, self._squares / self._count)


class _LeftError(Exception):
    """What is wanted of the network is known."""


def _input_of(layer: nn.Module, run: Run, source: Tensor, window: Window) -> Tensor:
    """What comes into ``layer`` while ``run`` works on a window; it does not go on from there."""
    found: list[Tensor] = []

    def leave(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.append(inputs[0])
        raise _LeftError

    handle = layer.register_forward_pre_hook(leave)
    try:
        run(source, window)
    except _LeftError:
        pass
    finally:
        handle.remove()
    return found[0]
