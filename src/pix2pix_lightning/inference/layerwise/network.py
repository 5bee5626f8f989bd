"""A network that runs layer by layer on an image of any size, within a limit of memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pix2pix_lightning.inference.layerwise.budget import RunPlan, plan_run
from pix2pix_lightning.inference.layerwise.convolutions import Convolution, TransposedConvolution
from pix2pix_lightning.inference.layerwise.execution import PhaseRun, ReadRows, WriteRows
from pix2pix_lightning.inference.layerwise.maps import FileMap, MemoryMap, WholeMap
from pix2pix_lightning.inference.layerwise.operations import ImageNorm, NoisyDropout, Rows
from pix2pix_lightning.inference.layerwise.plan import Size, plan_phases
from pix2pix_lightning.inference.layerwise.tracing import Layer, Mode, NotTraceableError, trace_layers
from pix2pix_lightning.inference.moments import Moments

_GREATEST_DIFFERENCE, _GREATEST_IN_HALF = 0.01, 0.1
"""Of outputs in [-1, 1], by rounding in float32 and in 16 bits; norms of small maps enlarge it."""
_CHECK_MEMORY = 2**18  # bytes, so that the check uses several blocks, and files


class _Kind(NamedTuple):
    channels: int
    dtype: torch.dtype


class LayerwiseNetwork:
    """The layers of a network, each of which runs once on an image, in blocks of rows.

    Blocks overlap by what one layer sees. With norms by the statistics of the image there is a phase for each: its
    input is kept whole, in memory or in a file, while its statistics are collected.

    Args:
        network: Network in `networks.use_eval_mode`, in which it has to be whenever this is used.
        mode: The same mode.
        channels: Channels of its input.
        side: Side of a small image that it takes; twice as much has to be taken too.

    Raises:
        NotTraceableError: The network cannot run in this way, or gives another output on a small image.
    """

    def __init__(self, network: nn.Module, mode: Mode, *, channels: int, side: int) -> None:
        self.network = network
        image = _draw_image(network, channels, side)
        self.device, self._height = image.device, image.shape[2]
        self._kinds = _run_whole(trace_layers(network, mode), image)
        found: list[Tensor] = []
        plan = self.plan(image.shape[2], image.shape[3], mode, _CHECK_MEMORY)
        self.run(plan, lambda rows: image[:, :, rows.start : rows.stop], lambda _, maps: found.append(maps))
        output, expected = torch.cat(found, 2), network.forward(image)
        if output.shape != expected.shape or output.shape[2:] != image.shape[2:]:
            raise NotTraceableError(f"it makes {tuple(expected.shape[2:])} of {tuple(image.shape[2:])}")
        limit = _GREATEST_DIFFERENCE if min(kind.dtype.itemsize for kind in self._kinds) > 2 else _GREATEST_IN_HALF
        if not (output - expected).abs().max() < limit:
            raise NotTraceableError("its layers one after the other give another output")

    def plan(self, height: int, width: int, mode: Mode, memory: int) -> RunPlan:
        """Plan a run with the network's present weights.

        Args:
            height: Height of the image.
            width: Width of the image.
            mode: Mode of the network, in which seed and sample may differ from those of before.
            memory: Bytes that it may take.

        Returns:
            The plan, which takes more where they do not suffice.
        """
        layers = trace_layers(self.network, mode)
        return plan_run(layers, plan_phases(layers), self._find_sizes(layers, height, width), memory)

    def find_inner_convolutions(self, mode: Mode, stride: int) -> list[nn.Module]:
        """Find the convolutions of which the input or the output is small next to the image.

        Args:
            mode: Mode of the network.
            stride: Rows of the image for each row of a map, above which a map is small.

        Returns:
            The convolutions, transposed ones too.
        """
        layers = trace_layers(self.network, mode)
        sizes = self._find_sizes(layers, self._height, self._height)
        found: list[nn.Module] = []
        for layer, size in zip(layers, sizes, strict=True):
            if isinstance(layer.operation, Convolution | TransposedConvolution):
                rows = min(size.height, sizes[layer.inputs[0]].height)
                found += [layer.operation.module] if rows * stride < self._height else []
        return found

    def _find_sizes(self, layers: Sequence[Layer], height: int, width: int) -> list[Size]:
        sizes: list[Size] = []
        for layer, kind in zip(layers, self._kinds, strict=True):
            if layer.operation is not None:
                source = sizes[layer.inputs[0]]
                height, width = layer.operation.get_size(source.height, source.width)
            sizes.append(Size(height, width, kind.channels, kind.dtype.itemsize))
        return sizes

    def run(
        self,
        plan: RunPlan,
        read: ReadRows,
        write: WriteRows,
        *,
        folder: Path | None = None,
        progress: Callable[[int, int], object] = lambda done, total: None,
    ) -> None:
        """Translate an image.

        Args:
            plan: Plan for its size.
            read: Reads rows of it.
            write: Writes rows of the output, from the first on.
            folder: Folder of temporary files; None: the system's.
            progress: Called with the finished blocks and their total.
        """
        total, done = sum(phase.num_blocks for phase in plan.phases), 0

        def advance() -> None:
            nonlocal done
            done += 1
            progress(done, total)

        maps: dict[int, WholeMap] = {}
        with ExitStack() as stack:
            writer = stack.enter_context(ThreadPoolExecutor(1, "maps"))
            for index, phase in enumerate(plan.phases):
                for number in phase.phase.kept:
                    shape, dtype = phase.sizes[number][:3], self._kinds[number].dtype
                    maps[number] = (
                        FileMap(shape, dtype, folder, writer) if number in plan.in_files else MemoryMap(shape, dtype)
                    )
                    stack.callback(maps[number].close)
                PhaseRun(phase, read, write, maps, self.device).run(advance)
                _free_masks(phase.layers)
                later = set().union(*(other.phase.reads for other in plan.phases[index + 1 :]))
                for number in maps.keys() - later:
                    maps.pop(number).close()


def _draw_image(network: nn.Module, channels: int, side: int) -> Tensor:
    parameter = next(network.parameters(), torch.empty(0))
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((1, channels, 2 * side, side), generator=generator, device="cpu") * 2 - 1
    return image.to(parameter)


def _run_whole(layers: Sequence[Layer], image: Tensor) -> list[_Kind]:
    """Run the layers on a small image as a whole, and return the kinds of their outputs."""
    outputs: list[Tensor] = []
    for layer in layers:
        if layer.operation is None:
            outputs.append(image)
            continue
        if isinstance(layer.operation, ImageNorm) and layer.inputs == (0,):
            raise NotTraceableError("a norm of the image itself")
        inputs = [outputs[source] for source in layer.inputs]
        height, width = inputs[0].shape[2:]
        if len({maps.shape[2:] for maps in inputs}) > 1:
            raise NotTraceableError("it joins maps of several sizes")
        if isinstance(layer.operation, ImageNorm):
            moments = Moments()
            moments.add(inputs[0])
            layer.operation.statistics = moments.compute()
        size = layer.operation.get_size(height, width)
        rows = Rows(0, size[0])
        have = layer.operation.find_rows(rows, height)
        parts = [maps[:, :, have.start : have.stop] for maps in inputs]
        outputs.append(layer.operation(parts, have, rows, height, can_write=False))
        if outputs[-1].shape[2:] != size:
            raise NotTraceableError(f"a layer makes {tuple(outputs[-1].shape[2:])} of {height} x {width}")
    _free_masks(layers)
    return [_Kind(maps.shape[1], maps.dtype) for maps in outputs]


def _free_masks(layers: Sequence[Layer]) -> None:
    for layer in layers:
        if isinstance(layer.operation, NoisyDropout):
            layer.operation.mask = None
