"""Translate large images layer by layer, or in tiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.inference.exported import OnnxNetwork, ProgramNetwork
from pix2pix_lightning.inference.generator import GeneratorNetwork
from pix2pix_lightning.inference.layerwise import LayerwiseNetwork, Mode, NotTraceableError, RunPlan, find_folder
from pix2pix_lightning.inference.statistics import compute_exact_statistics, plan_statistics_passes
from pix2pix_lightning.inference.tiles import (
    Advance,
    ReadWindow,
    Seams,
    WritePart,
    build_reader,
    build_writer,
    compute_default_tile,
    plan_tiling,
    run_in_tiles,
)
from pix2pix_lightning.networks import ReceptiveField, TilingState, Window, find_image_norms, measure_receptive_field
from pix2pix_lightning.networks.fast_convolutions.layers import transform_kept_weights
from pix2pix_lightning.networks.padding import compute_padded_side, pad_to_multiple
from pix2pix_lightning.utils.allocator import use_kept_memory
from pix2pix_lightning.utils.disk import get_free_space
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.free_memory import format_bytes, get_free_memory, get_used_memory, parse_bytes
from pix2pix_lightning.utils.processes import count_local_processes

_LARGE = 2048**2
"""Pixels up to which an image is translated at once, with 430 bytes for each of a U-Net 256."""
_LARGE_IN_TILES = 4096**2
"""The same for a network whose layers cannot run one by one: tiles take up to four times as long."""
_SMALL_SIDE = 32
_SHARE = 0.5  # of the memory that is free, which the processes of the machine divide
_MAX_STRIDE = 32  # rows of an image for each row of a layer; above, a weight in a second form is not worth its memory
_RESERVE = 0.2  # of the memory that is given: what libraries take in addition, and gaps in what was allocated

Image = npt.NDArray[Any]
Progress = Callable[[int, int], object]
Network = GeneratorNetwork | OnnxNetwork | ProgramNetwork


@dataclass(frozen=True)
class _Task:
    """An image to translate.

    Attributes:
        height: Height after padding, in pixels.
        width: Width after padding, in pixels.
        name: Its own size, for messages.
        read: Reads a part of the image.
        write: Writes a part of the output.
        seed: Seed of the noise.
        sample: Number of the noise.
        progress: Called with the finished parts and their total.
        result_bytes: Memory of the result, which nothing has been written into yet.
    """

    height: int
    width: int
    name: str
    read: ReadWindow
    write: WritePart
    seed: int
    sample: int
    progress: Progress
    result_bytes: int


class LargeImages:
    """A network on images that are too large to be translated at once.

    Args:
        network: Network that translates.
        tile: ``auto``: images of more than 2048 x 2048 pixels layer by layer, and where the network's layers are not
            known those of more than 4096 x 4096 pixels in windows of which 1024 pixels are used. A number: windows of
            at most this side in pixels, with the surroundings that the network sees. None: all at once.
        overlap: Pixels that neighbouring windows share, where they are blended; by default twice what the network
            sees, with which the result is that of the whole image. With a number ``auto`` has windows too.
        memory: What the process may take while it runs layer by layer, such as ``3GB``; None: half of what is free.
        rounding: How floats become whole numbers, as in ``PairSpec.decode``.
        report: Called with a line on the files that maps need.

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
        memory: str | None,
        rounding: str = "nearest",
        report: Callable[[str], object] = lambda line: None,
    ) -> None:
        if not (tile in (None, "auto") or (type(tile) is int and tile > 0)):
            raise UserError(f"tile={tile!r} is unknown: auto, null or a side in pixels is expected")
        if overlap is not None and not (type(overlap) is int and overlap >= 0):
            raise UserError(f"overlap={overlap!r}: pixels from 0 are expected, or null")
        self.network, self.tile, self.overlap = network, tile, overlap
        self.memory = None if memory is None else parse_bytes("memory", memory)
        if memory is not None and (tile != "auto" or overlap is not None or not isinstance(network, GeneratorNetwork)):
            raise UserError(
                f"memory={memory} has no effect with windows (tile=, overlap=) and exported files: leave it out"
            )
        self.rounding, self.report = rounding, report
        self.seams: list[Seams] = []
        self._announced = 0  # bytes of files that were reported
        self._used: int | None = None  # bytes of the process, without what earlier images have left to be used again

    def is_large(self, height: int, width: int) -> bool:
        """Return whether an image of this size, in pixels, is not translated at once."""
        if self.tile == "auto":
            if height * width <= _LARGE:
                return False
            return height * width > _LARGE_IN_TILES or (self.overlap is None and self._layers is not None)
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
        write = build_writer(image, result, decode)
        place = *self._pad_size(height, width), f"{width} x {height}"
        self._run(_Task(*place, read, write, seed, sample, progress, result.nbytes))
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
        own = self.network.dtype if isinstance(self.network, GeneratorNetwork) else torch.float32
        dtype = torch.promote_types(own, torch.float32)  # float64 stays
        result = image.new_empty(1, self.network.pair_spec.target.channels, *padded.shape[2:], dtype=dtype)

        def read(window: Window) -> Tensor:
            part = padded[:, :, window.top : window.top + window.height, window.left : window.left + window.width]
            return part.to(self.network.device)

        def write(top: int, left: int, output: Tensor) -> None:
            result[:, :, top : top + output.shape[2], left : left + output.shape[3]] = output

        place = *self._pad_size(height, width), f"{width} x {height}"
        self._run(_Task(*place, read, write, seed, sample, progress, result.nbytes))
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

    @cached_property
    def _layers(self) -> LayerwiseNetwork | None:
        """The network's layers; None where they are not known."""
        network = self.network
        if not isinstance(network, GeneratorNetwork):
            return None
        side = compute_padded_side(_SMALL_SIDE, network.side_multiple, network.min_side)
        mode = Mode(network.norm, network.dropout)
        with use_kept_memory(), network.use() as generator:
            try:
                layers = LayerwiseNetwork(generator, mode, channels=network.pair_spec.source.channels, side=side)
            except NotTraceableError:
                return None
            transform_kept_weights(generator, without=set(layers.find_inner_convolutions(mode, _MAX_STRIDE)))
            return layers

    def _run(self, task: _Task) -> None:
        if self.tile == "auto" and self.overlap is None and self._layers is not None:
            try:
                return self._run_by_layers(self._layers, task)
            except NotTraceableError:  # changed since, such as by a hook
                pass
        self._run_in_tiles(task)

    def _run_by_layers(self, layers: LayerwiseNetwork, task: _Task) -> None:
        network, width = self.network, task.width
        assert isinstance(network, GeneratorNetwork)
        now = get_used_memory()
        self._used = now if self._used is None else min(self._used, now)
        used = self._used + task.result_bytes
        share = int(_SHARE * get_free_memory()) // count_local_processes()
        memory = used + share if self.memory is None else self.memory
        available = memory - used - int(_RESERVE * memory)
        mode = Mode(network.norm, network.dropout, task.seed, task.sample)
        with use_kept_memory(), network.use(seed=task.seed, sample=task.sample):
            plan = layers.plan(task.height, width, mode, available)
            self._check_room(plan, f"an image of {task.name} pixels", memory, available)
            layers.run(
                plan,
                lambda rows: task.read(Window(rows.start, 0, rows.stop - rows.start, width)).to(network.dtype),
                lambda rows, output: task.write(rows.start, 0, output),
                folder=find_folder(),
                progress=task.progress,
            )

    def _check_room(self, plan: RunPlan, image: str, memory: int, available: int) -> None:
        """Check that memory and disk suffice, and report how much is needed of the disk."""
        folder = find_folder()
        free = get_free_space(folder)
        needed = f"{format_bytes(plan.disk)} of temporary files"
        if plan.memory > available:
            least = (memory + plan.memory - available) / (1 - _RESERVE)
            problem = f"needs more memory than {format_bytes(memory)}: set memory={format_bytes(least, space='')}"
        elif plan.disk > free:
            problem = (
                f"needs {needed}, but {folder} has {format_bytes(free)}: set TMPDIR to a folder on another disk, or a "
                "larger memory="
            )
        else:
            if plan.disk > self._announced:
                self._announced = plan.disk
                self.report(f"{image}: up to {needed} in {folder}, which has {format_bytes(free)}")
            return
        tile = compute_default_tile(self.context.margin, self.network.side_multiple)
        raise UserError(f"{image} {problem}, or tile={tile} for windows of it")

    def _run_in_tiles(self, task: _Task) -> None:
        network = self.network
        stride, margin = network.side_multiple, self.context.margin
        tile = compute_default_tile(margin, stride) if self.tile == "auto" else int(self.tile or 0)
        size = {"height": task.height, "width": task.width, "stride": stride, "tile": tile}
        tiling = plan_tiling(**size, context=margin, overlap=self.overlap)
        if not isinstance(network, GeneratorNetwork):
            advance = _count_windows(task.progress, len(tiling))
            seams = run_in_tiles(lambda part, window: network(part), task.read, task.write, tiling, advance)
        else:
            whole = TilingState(task.height, task.width)
            run = partial(_run_window, network, whole, task.seed, task.sample)
            names = find_image_norms(network.generator, network.norm)
            passes = plan_statistics_passes(names, self.context, **size)
            advance = _count_windows(task.progress, len(tiling) + sum(map(len, passes.values())))
            compute_exact_statistics(network.generator, run, task.read, whole, passes, advance)
            seams = run_in_tiles(run, task.read, task.write, tiling, advance)
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
