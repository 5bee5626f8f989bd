"""Translate large images in tiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.inference.exported import OnnxNetwork, ProgramNetwork
from pix2pix_lightning.inference.generator import GeneratorNetwork
from pix2pix_lightning.inference.statistics import (
    compute_exact_statistics,
    compute_shrunk_size,
    estimate_statistics,
    plan_statistics_passes,
    shrink_image,
)
from pix2pix_lightning.inference.tiles import (
    Advance,
    ReadWindow,
    Seams,
    Tiling,
    WritePart,
    build_reader,
    build_writer,
    compute_default_tile,
    plan_tiling,
    run_in_tiles,
)
from pix2pix_lightning.networks import ReceptiveField, TilingState, Window, find_image_norms, measure_receptive_field
from pix2pix_lightning.networks.padding import compute_padded_side, pad_to_multiple
from pix2pix_lightning.utils.checks import check_choice
from pix2pix_lightning.utils.errors import UserError

STATISTICS = ("exact", "estimated")
_LARGE = 4096**2  # pixels; untiled, a U-Net 256 takes 430 bytes for each

Image = npt.NDArray[Any]
Progress = Callable[[int, int], object]
Network = GeneratorNetwork | OnnxNetwork | ProgramNetwork


class TiledInference:
    """A network on images that are too large to be translated at once.

    Args:
        network: Network that translates.
        tile: Greatest side of a window in pixels, with the surroundings that the network sees; ``auto`` for windows
            of which 1024 pixels are used, on images of more than 4096 x 4096 pixels; None for no tiles.
        overlap: Pixels that neighbouring windows share, where they are blended; by default twice what the network
            sees, with which the result is that of the whole image.
        statistics: How to find the statistics of norms that use the image's own: ``exact``, a pass over the image
            for each of them, or ``estimated`` on a copy that is reduced to the size of a window.
        rounding: How floats become whole numbers, as in ``PairSpec.decode``.

    Attributes:
        seams: How much neighbours differed, for each image that was blended.

    Raises:
        UserError: A value is unknown.
    """

    def __init__(
        self,
        network: Network,
        *,
        tile: str | int | None,
        overlap: int | None,
        statistics: str,
        rounding: str = "nearest",
    ) -> None:
        if not (tile in (None, "auto") or (type(tile) is int and tile > 0)):
            raise UserError(f"tile={tile!r} is unknown: auto, null or a side in pixels is expected")
        if overlap is not None and not (type(overlap) is int and overlap >= 0):
            raise UserError(f"overlap={overlap!r}: pixels from 0 are expected, or null")
        check_choice("statistics", statistics, STATISTICS)
        self.network, self.tile, self.overlap, self.statistics = network, tile, overlap, statistics
        self.rounding = rounding
        self.seams: list[Seams] = []

    def needs_tiles(self, height: int, width: int) -> bool:
        """Return whether an image of this size, in pixels, is translated in tiles."""
        if self.tile == "auto":
            return height * width > _LARGE
        return self.tile is not None and max(height, width) > int(self.tile)

    def translate(self, image: Image, seed: int, sample: int, progress: Progress) -> Image:
        """Translate an image file's pixels.

        Args:
            image: Prepared image of the source, (H, W, C), in the type of a batch.
            seed: Seed of dropout's noise.
            sample: Number of the noise.
            progress: Called with the finished windows and their total.

        Returns:
            (H, W, C'), as files of the target have it.
        """
        spec: PairSpec = self.network.pair_spec

        def encode(part: Image) -> Tensor:
            tensor = torch.from_numpy(np.ascontiguousarray(part.transpose(2, 0, 1)))[None]
            return spec.encode(tensor.to(self.network.device), "source")

        def see(part: Image) -> Tensor:
            return spec.source.fill_missing(encode(part))

        def decode(output: Tensor, part: Image) -> Image:
            decoded = spec.decode(output, encode(part), rounding=self.rounding)
            array: Image = decoded[0].permute(1, 2, 0).cpu().numpy()
            return array

        height, width = image.shape[:2]
        result = np.empty((height, width, spec.target.file_channels), spec.target.dtype)
        read = build_reader(image, *self._pad_size(height, width), see)
        shrink = partial(_shrink_and_encode, image, spec.source.interpolation or "nearest", see)
        self._run(height, width, read, build_writer(image, result, decode), shrink, seed, sample, progress)
        return result

    def translate_floats(self, image: Tensor, seed: int, sample: int, progress: Progress) -> Tensor:
        """Translate an image of floats.

        Args:
            image: Image (1, C, H, W) in [-1, 1].
            seed: Seed of dropout's noise.
            sample: Number of the noise.
            progress: Called with the finished windows and their total.

        Returns:
            (1, C', H, W) in [-1, 1].
        """
        height, width = image.shape[2:]
        padded = pad_to_multiple(image, self.network.side_multiple, self.network.min_side)
        result = image.new_empty(1, self.network.pair_spec.target.channels, *padded.shape[2:], dtype=torch.float32)

        def read(window: Window) -> Tensor:
            part = padded[:, :, window.top : window.top + window.height, window.left : window.left + window.width]
            return part.to(self.network.device)

        def write(top: int, left: int, output: Tensor) -> None:
            result[:, :, top : top + output.shape[2], left : left + output.shape[3]] = output

        shrink = partial(_shrink_floats, image.to(self.network.device))
        self._run(height, width, read, write, shrink, seed, sample, progress)
        return result[:, :, :height, :width]

    @cached_property
    def context(self) -> ReceptiveField:
        """The receptive field of the network.

        Raises:
            UserError: An exported network sees all of an image.
        """
        if isinstance(self.network, GeneratorNetwork):
            return measure_receptive_field(self.network.generator, self.network.pair_spec.source.channels)
        if self.network.context is None:
            raise UserError(
                "the exported file normalizes by the statistics of an image, and cannot do so in tiles: export it with "
                "norm=running, or use the checkpoint that it was exported from"
            )
        return ReceptiveField(self.network.context, {})

    def _pad_size(self, height: int, width: int) -> tuple[int, int]:
        stride, least = self.network.side_multiple, self.network.min_side
        return compute_padded_side(height, stride, least), compute_padded_side(width, stride, least)

    def _run(
        self,
        height: int,
        width: int,
        read: ReadWindow,
        write: WritePart,
        shrink: Callable[[int], Tensor],
        seed: int,
        sample: int,
        progress: Progress,
    ) -> None:
        height, width = self._pad_size(height, width)
        stride, margin = self.network.side_multiple, self.context.margin
        tile = compute_default_tile(margin, stride) if self.tile == "auto" else int(self.tile or 0)
        tiling = plan_tiling(height, width, context=margin, stride=stride, tile=tile, overlap=self.overlap)
        network = self.network
        if not isinstance(network, GeneratorNetwork):
            advance = _count_windows(progress, len(tiling))
            seams = run_in_tiles(lambda part, window: network(part), read, write, tiling, advance)
        else:
            whole = TilingState(height, width)
            run = partial(_run_window, network, whole, seed, sample)
            names = find_image_norms(network.generator, network.norm)
            passes: dict[str, Tiling] = {}
            if self.statistics == "exact":
                passes = plan_statistics_passes(
                    names, self.context, height=height, width=width, stride=stride, tile=tile
                )
            elif names:
                reduced = pad_to_multiple(shrink(tile), stride, network.min_side)
                run_alone = partial(network, seed=seed, sample=sample)
                whole.statistics.update(estimate_statistics(network.generator, run_alone, reduced, names))
            advance = _count_windows(progress, len(tiling) + sum(map(len, passes.values())))
            compute_exact_statistics(network.generator, run, read, whole, passes, advance)
            seams = run_in_tiles(run, read, write, tiling, advance)
        if seams is not None:
            self.seams.append(seams)


def format_seams(seams: Sequence[Seams]) -> str:
    """Format one line on how much blending has changed the images."""
    mean, greatest = sum(one.mean for one in seams) / len(seams), max(one.greatest for one in seams)
    return (
        f"where windows overlap, blending changes {mean:.2%} of the range on average, at most {greatest:.1%}; without "
        "overlap= nothing"
    )


def _run_window(
    network: GeneratorNetwork, whole: TilingState, seed: int, sample: int, part: Tensor, window: Window
) -> Tensor:
    return network(part, seed=seed, sample=sample, whole=whole, window=window)


def _count_windows(progress: Progress, total: int) -> Advance:
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    return advance


def _shrink_and_encode(image: Image, interpolation: str, encode: Callable[[Image], Tensor], side: int) -> Tensor:
    return encode(shrink_image(image, side, interpolation))


def _shrink_floats(image: Tensor, side: int) -> Tensor:
    height, width = image.shape[2:]
    return torch.nn.functional.interpolate(image, compute_shrunk_size(height, width, side), mode="area")
