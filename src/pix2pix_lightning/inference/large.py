"""Images that are translated in tiles: when, and what they come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pix2pix_lightning.data.sides import PairSpec
from pix2pix_lightning.inference.exported import OnnxNetwork, ProgramNetwork
from pix2pix_lightning.inference.generator import GeneratorNetwork
from pix2pix_lightning.inference.padding import pad_to_multiple
from pix2pix_lightning.inference.statistics import (
    estimated_statistics,
    exact_statistics,
    reduced_copy,
    statistics_passes,
)
from pix2pix_lightning.inference.tiles import (
    Keep,
    Seams,
    Source,
    Tiling,
    cut,
    default_tile,
    padded_side,
    reading,
    run_in_tiles,
    storing,
)
from pix2pix_lightning.networks import ReceptiveField, TilingState, Window, find_image_norms, measure_receptive_field
from pix2pix_lightning.utils.errors import UserError

STATISTICS = ("exact", "estimated")
_LARGE = 4096**2  # pixels; at once a U-Net 256 takes 430 bytes for each

Image = npt.NDArray[np.uint8]
Progress = Callable[[int, int], object]
Network = GeneratorNetwork | OnnxNetwork | ProgramNetwork


class InTiles:
    """A network on images that are too large for it at once.

    Args:
        network: What translates.
        tile: Greatest side of a window in pixels, the surroundings that it is given included; ``auto`` for images of
            more than 4096 x 4096 pixels, with 1024 that count; None for never.
        overlap: Pixels that neighbouring windows share, blended; by default as many as the network sees, with which the
            result is that of the whole image.
        statistics: Of norms that use the image's own: ``exact``, a pass over the image for each of them, or
            ``estimated`` on a copy that is reduced to a window.

    Attributes:
        seams: Of each image that was blended.

    Raises:
        ValueError: A value is unknown.
    """

    def __init__(self, network: Network, *, tile: str | int | None, overlap: int | None, statistics: str) -> None:
        if not (tile in (None, "auto") or (type(tile) is int and tile > 0)):
            raise UserError(f"tile={tile!r} is unknown: auto, null or a side in pixels is expected")
        if overlap is not None and not (type(overlap) is int and overlap >= 0):
            raise UserError(f"overlap={overlap!r}: pixels from 0 are expected, or null")
        if statistics not in STATISTICS:
            raise UserError(f"statistics={statistics!r} is unknown: one of {', '.join(STATISTICS)} is expected")
        self.network, self.tile, self.overlap, self.statistics = network, tile, overlap, statistics
        self.seams: list[Seams] = []

    def takes(self, height: int, width: int) -> bool:
        """Whether an image of this size, in pixels, is translated in tiles."""
        if self.tile == "auto":
            return height * width > _LARGE
        return self.tile is not None and max(height, width) > int(self.tile)

    def translate(self, image: Image, seed: int, sample: int, progress: Progress) -> Image:
        """Translate what a batch carries of an image, (H, W, C), to what a file of the target holds, (H, W, C')."""
        spec: PairSpec = self.network.pair_spec

        def encode(part: Tensor) -> Tensor:
            return spec.encode(part.to(self.network.device), "source")

        height, width = image.shape[:2]
        channels = spec.target.file_channels
        result = np.empty((height, width, channels), np.uint8)
        source = reading(image, *self._padded(height, width), encode)
        small = partial(_reduced, image, spec.source.interpolation or "nearest", encode)
        self._run(height, width, source, storing(result, spec.decode), small, seed, sample, progress)
        return result

    def translate_floats(self, image: Tensor, seed: int, sample: int, progress: Progress) -> Tensor:
        """Translate one image, (1, C, H, W) in [-1, 1], to (1, C', H, W)."""
        height, width = image.shape[2:]
        padded = pad_to_multiple(image, self.network.side_multiple, self.network.least_side)
        result = image.new_empty(1, self.network.pair_spec.target.channels, *padded.shape[2:], dtype=torch.float32)

        def source(window: Window) -> Tensor:
            part = padded[:, :, window.top : window.top + window.height, window.left : window.left + window.width]
            return part.to(self.network.device)

        def keep(top: int, left: int, output: Tensor) -> None:
            result[:, :, top : top + output.shape[2], left : left + output.shape[3]] = output

        small = partial(_reduced_floats, image.to(self.network.device))
        self._run(height, width, source, keep, small, seed, sample, progress)
        return result[:, :, :height, :width]

    @cached_property
    def context(self) -> ReceptiveField:
        """How far the network sees.

        Raises:
            ValueError: It sees all of an image.
        """
        if isinstance(self.network, GeneratorNetwork):
            return measure_receptive_field(self.network.generator, self.network.pair_spec.source.channels)
        if self.network.context is None:
            raise UserError(
                "the exported file normalises by the statistics of an image, and cannot do so in tiles: export it with "
                "norm=running, or use the checkpoint that it was made from"
            )
        return ReceptiveField(self.network.context, {})

    def _padded(self, height: int, width: int) -> tuple[int, int]:
        stride, least = self.network.side_multiple, self.network.least_side
        return padded_side(height, stride, least), padded_side(width, stride, least)

    def _run(
        self,
        height: int,
        width: int,
        source: Source,
        keep: Keep,
        small: Callable[[int], Tensor],
        seed: int,
        sample: int,
        progress: Progress,
    ) -> None:
        height, width = self._padded(height, width)
        stride = self.network.side_multiple
        tile = default_tile(self.context.margin, stride) if self.tile == "auto" else int(self.tile or 0)
        tiling = cut(height, width, context=self.context.margin, stride=stride, tile=tile, overlap=self.overlap)
        whole = TilingState(height, width)
        network = self.network
        if not isinstance(network, GeneratorNetwork):
            advance = _counting(progress, len(tiling))
            seams = run_in_tiles(lambda part, window: network(part), source, keep, tiling, advance)
        else:
            run = partial(_on_window, network, whole, seed, sample)
            names = find_image_norms(network.generator, network.norm)
            passes: dict[str, Tiling] = {}
            if self.statistics == "exact":
                passes = statistics_passes(names, self.context, height=height, width=width, stride=stride, tile=tile)
            elif names:
                reduced = pad_to_multiple(small(tile), stride, network.least_side)
                alone = partial(network, seed=seed, sample=sample)
                whole.statistics.update(estimated_statistics(network.generator, alone, reduced, names))
            advance = _counting(progress, len(tiling) + sum(map(len, passes.values())))
            exact_statistics(network.generator, run, source, whole, passes, advance)
            seams = run_in_tiles(run, source, keep, tiling, advance)
        if seams is not None:
            self.seams.append(seams)


def said_of_seams(seams: Sequence[Seams]) -> str:
    """A line on how much blending has changed."""
    mean, greatest = sum(one.mean for one in seams) / len(seams), max(one.greatest for one in seams)
    return (
        f"where windows overlap, blending changes {mean:.2%} of the range on average, at most {greatest:.1%}; without "
        "overlap= nothing"
    )


def _on_window(
    network: GeneratorNetwork, whole: TilingState, seed: int, sample: int, part: Tensor, window: Window
) -> Tensor:
    return network(part, seed=seed, sample=sample, whole=whole, window=window)


def _counting(progress: Progress, total: int) -> Callable[[], object]:
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    return advance


def _reduced(image: Image, interpolation: str, encode: Callable[[Tensor], Tensor], side: int) -> Tensor:
    small = reduced_copy(image, side, interpolation)
    return encode(torch.from_numpy(np.ascontiguousarray(small.transpose(2, 0, 1)))[None])


def _reduced_floats(image: Tensor, side: int) -> Tensor:
    factor = min(1.0, side / max(image.shape[2:]))
    size = [max(1, round(length * factor)) for length in image.shape[2:]]
    return torch.nn.functional.interpolate(image, size, mode="area")
