"""Run the layers of a network on an image of any size, in blocks of rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from pix2pix_lightning.inference.layerwise.maps import RowBuffer, WholeMap
from pix2pix_lightning.inference.layerwise.operations import ImageNorm, Rows
from pix2pix_lightning.inference.layerwise.plan import PhasePlan
from pix2pix_lightning.inference.moments import Moments

ReadRows = Callable[[Rows], Tensor]
"""Reads rows of the image as the network takes them, (1, C, h, W)."""
WriteRows = Callable[[Rows, Tensor], object]
"""Writes rows of the output, (1, C', h, W)."""


class PhaseRun:
    """A phase on an image.

    Args:
        plan: Steps of the phase.
        read: Reads the image.
        write: Writes the output.
        maps: Whole maps of this phase and of earlier ones, by the numbers of their layers.
        device: Device of the network.
    """

    def __init__(
        self, plan: PhasePlan, read: ReadRows, write: WriteRows, maps: Mapping[int, WholeMap], device: torch.device
    ) -> None:
        self.plan, self.read, self.write, self.maps, self.device = plan, read, write, maps, device
        self.buffers = {number: RowBuffer() for number in plan.phase.buffered}
        normed = {layer.inputs[0] for layer in plan.layers if isinstance(layer.operation, ImageNorm)}
        self.moments = {number: Moments() for number in plan.phase.whole if number in normed}

    def run(self, advance: Callable[[], object]) -> None:
        """Compute all rows.

        Args:
            advance: Called after each block of rows.
        """
        block = 0
        for step in self.plan:
            self._put(step.layer, step.rows, self._compute(step.layer, step.rows)[0])
            for number, start in step.needed.items():
                self.buffers[number].drop(start)
            for _ in range(step.block - block):
                advance()
            block = step.block
        for _ in range(self.plan.num_blocks - block):
            advance()
        for layer in self.plan.layers:
            if isinstance(layer.operation, ImageNorm) and layer.inputs[0] in self.moments:
                layer.operation.statistics = self.moments[layer.inputs[0]].compute()

    def _put(self, number: int, rows: Rows, maps: Tensor) -> None:
        if number in self.moments:
            self.moments[number].add(maps)
        if number in self.buffers:
            self.buffers[number].append(rows, maps)
        elif number in self.maps:
            self.maps[number].write(rows, maps)
        elif number == len(self.plan.layers) - 1:
            self.write(rows, maps)

    def _get(self, number: int, rows: Rows) -> tuple[Tensor, bool]:
        """Return rows of a layer's output, and whether they are a copy."""
        if number == 0:
            return self.read(rows), False
        if number in self.buffers:
            return self.buffers[number].read(rows), False
        if number in self.maps:
            maps, is_copy = self.maps[number].read(rows)
            return maps.to(self.device), is_copy or self.device.type != "cpu"
        return self._compute(number, rows)

    def _compute(self, number: int, rows: Rows) -> tuple[Tensor, bool]:
        operation, inputs = self.plan.layers[number].operation, self.plan.layers[number].inputs
        assert operation is not None
        height = self.plan.sizes[inputs[0]].height
        have = operation.find_rows(rows, height)
        found = [self._get(source, have) for source in inputs]
        maps = [tensor for tensor, _ in found]
        output = operation(maps, have, rows, height, can_write=found[0][1])
        shared = [is_copy for tensor, is_copy in found if _share_memory(tensor, output)]
        return output, all(shared)


def _share_memory(one: Tensor, other: Tensor) -> bool:
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()
