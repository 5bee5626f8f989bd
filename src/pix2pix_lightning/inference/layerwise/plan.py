"""Plan in which order rows are computed, and what is kept of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pix2pix_lightning.inference.layerwise.operations import ImageNorm, Rows
from pix2pix_lightning.inference.layerwise.tracing import Layer

_LIGHT = 512
"""Products for each value up to which a layer is rather computed again than kept: writing and reading takes as long."""


class Size(NamedTuple):
    """Size of a layer's whole output."""

    height: int
    width: int
    channels: int
    itemsize: int

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.width * self.channels * self.itemsize

    @property
    def values(self) -> int:
        """Number of values."""
        return self.height * self.width * self.channels

    @property
    def bytes(self) -> int:
        """Bytes of all rows."""
        return self.height * self.row_bytes


@dataclass
class Phase:
    """A pass over rows, which ends with maps that a norm needs the statistics of, or with the output.

    Attributes:
        whole: Layers whose whole output it makes, in the order of execution.
        kept: Those of them whose output later phases read.
        reads: Layers of which earlier phases have kept the output, and the image, 0.
        buffered: Layers of whose output it keeps the last rows, in the order of execution.
        computed: All layers that it runs.
    """

    whole: list[int] = field(default_factory=list)
    kept: set[int] = field(default_factory=set)
    reads: set[int] = field(default_factory=set)
    buffered: list[int] = field(default_factory=list)
    computed: set[int] = field(default_factory=set)

    @property
    def order(self) -> list[int]:
        """Layers whose rows are kept, in the order of execution."""
        return sorted({*self.whole, *self.buffered})


class Step(NamedTuple):
    """Rows of a layer to compute.

    Attributes:
        layer: Number of the layer.
        rows: Rows of its output.
        needed: Afterwards, the first row of buffered layers that is still needed, where that has changed.
        block: Number of the block of the image that made the step possible.
    """

    layer: int
    rows: Rows
    needed: dict[int, int]
    block: int


def plan_phases(layers: Sequence[Layer]) -> list[Phase]:
    """Divide the layers into phases.

    A norm by the statistics of the image begins a phase, since it needs all of its input. What later phases need is
    kept whole, but layers of few products are computed again.

    Args:
        layers: Layers of ``trace_layers``.

    Returns:
        The phases in the order of execution. The last one's ``whole`` has the output too.
    """
    numbers, light = _number_phases(layers), find_light(layers)
    phases = [Phase() for _ in range(numbers[-1] + 1)]
    ends = [
        {layers[number].inputs[0] for number in _find_norms(layers, numbers, index + 1)} for index in range(len(phases))
    ]
    ends[-1].add(len(layers) - 1)
    for index, phase in reversed(list(enumerate(phases))):
        wanted = [*ends[index], *phase.kept]
        while wanted:
            number = wanted.pop()
            if number in phase.computed:
                continue
            phase.computed.add(number)
            for source in layers[number].inputs:
                earlier = numbers[source]
                if source and earlier < index and source not in light:
                    phases[earlier].kept.add(source)
                if source == 0 or (earlier < index and source in phases[earlier].kept):
                    phase.reads.add(source)
                else:
                    wanted.append(source)
        phase.whole = sorted(ends[index] | phase.kept)
        phase.buffered = _choose_buffered(layers, phase)
    return phases


def _find_norms(layers: Sequence[Layer], numbers: Sequence[int], phase: int) -> list[int]:
    """Find the norms that begin a phase."""
    return [
        number
        for number, layer in enumerate(layers)
        if isinstance(layer.operation, ImageNorm) and numbers[number] == phase
    ]


def _number_phases(layers: Sequence[Layer]) -> list[int]:
    numbers: list[int] = []
    for layer in layers:
        begins = isinstance(layer.operation, ImageNorm)
        numbers.append(max((numbers[source] for source in layer.inputs), default=0) + begins)
    return numbers


def find_light(layers: Sequence[Layer]) -> set[int]:
    """Find the layers that are rather computed again than kept for later.

    Args:
        layers: Layers of ``trace_layers``.

    Returns:
        Numbers of layers of one input that take few products from the image, or from a layer that is kept.
    """
    products = {0: 0}  # for each value, of light layers
    for number, layer in enumerate(layers):
        if layer.operation is not None and len(layer.inputs) == 1:
            needed = layer.operation.cost + products.get(layer.inputs[0], 0)
            if needed <= _LIGHT:
                products[number] = needed
    return products.keys() - {0}


def _choose_buffered(layers: Sequence[Layer], phase: Phase) -> list[int]:
    """Choose the layers whose rows are kept until all that needs them is computed; others are computed on demand.

    Layers of single pixels that follow another are joined to it, if nothing else needs what is between them.

    Returns:
        Their numbers, in the order of execution.
    """
    users: dict[int, list[int]] = {number: [] for number in phase.computed}
    for number in phase.computed:
        for source in layers[number].inputs:
            if source in users:
                users[source].append(number)
    chosen = set()
    for number in phase.computed:
        operation = layers[number].operation
        assert operation is not None
        is_join = len(layers[number].inputs) > 1 and len(users[number]) > 1
        if operation.is_pointwise and not is_join:
            continue
        while number not in phase.whole and len(users[number]) == 1 and _is_fusible(layers[users[number][0]]):
            number = users[number][0]
        chosen.add(number)
    return sorted(chosen - set(phase.whole))


def _is_fusible(layer: Layer) -> bool:
    assert layer.operation is not None
    return layer.operation.is_pointwise and len(layer.inputs) == 1


class PhasePlan:
    """The steps of a phase for an image of a size.

    Rows are used as soon as they are there, so that few have to wait.

    Args:
        layers: Layers of ``trace_layers``.
        phase: The phase.
        sizes: Size of each layer's output.
        num_blocks: Into how many blocks of rows the image, and each layer's output, are divided.
    """

    def __init__(self, layers: Sequence[Layer], phase: Phase, sizes: Sequence[Size], num_blocks: int) -> None:
        self.layers, self.phase, self.sizes, self.num_blocks = layers, phase, sizes, num_blocks
        self.order = phase.order
        self._inputs = {number: sorted(self._find_inputs(number)) for number in self.order}
        self._users = {number: [user for user in self.order if number in self._inputs[user]] for number in self.order}

    def __iter__(self) -> Iterator[Step]:
        """Yield the steps."""
        done = dict.fromkeys(self.order, 0)
        firsts = {(number, user): 0 for number in self.phase.buffered for user in self._users[number]}
        for block in range(self.num_blocks):
            for number in self.order:
                yield from self._advance(number, block, done, firsts)

    def _advance(
        self, number: int, block: int, done: dict[int, int], firsts: dict[tuple[int, int], int]
    ) -> Iterator[Step]:
        """Yield steps of a layer as far as its inputs are there, and after each one those of the layers that use it."""
        stop = self._count_ready(number, block, done)
        most = -(-self.sizes[number].height // self.num_blocks)
        while done[number] < stop:
            rows = Rows(done[number], min(stop, done[number] + most))
            done[number] = rows.stop
            needed = {}
            for source, first in self._find_firsts(number, rows.stop).items():
                firsts[source, number] = first
                needed[source] = min(firsts[source, user] for user in self._users[source])
            yield Step(number, rows, needed, block)
            for user in self._users[number]:
                yield from self._advance(user, block, done, firsts)

    def _count_ready(self, number: int, block: int, done: dict[int, int]) -> int:
        """Count the rows of a layer's output that can be computed."""
        operation, inputs = self.layers[number].operation, self.layers[number].inputs
        assert operation is not None
        height, source_height = self.sizes[number].height, self.sizes[inputs[0]].height
        ready = min(self._count_present(source, block, done) for source in inputs)
        if ready >= source_height:
            return height
        if operation.is_pointwise:
            return ready
        low, high = 0, height
        while low < high:
            middle = (low + high + 1) // 2
            if operation.find_rows(Rows(0, middle), source_height).stop <= ready:
                low = middle
            else:
                high = middle - 1
        return low

    def _count_present(self, number: int, block: int, done: dict[int, int]) -> int:
        """Count the rows of a layer's output that are there, or can be computed on demand."""
        if number in self.phase.reads:
            return -(-self.sizes[number].height * (block + 1) // self.num_blocks)
        return done[number] if number in done else self._count_ready(number, block, done)

    def _find_inputs(self, number: int) -> set[int]:
        """Find the layers whose rows are kept and that a layer needs, also by way of layers on demand."""
        found = set()
        for source in self.layers[number].inputs:
            if source in self.order:
                found.add(source)
            elif source in self.phase.computed:
                found |= self._find_inputs(source)
        return found

    def _find_firsts(self, number: int, row: int) -> dict[int, int]:
        """Find the first row of each buffered layer that a layer's rows from ``row`` on need."""
        operation, inputs = self.layers[number].operation, self.layers[number].inputs
        assert operation is not None
        height, firsts = self.sizes[number].height, dict[int, int]()
        for source in inputs:
            source_height = self.sizes[source].height
            # of all rows that are left, since reflected ones go back
            first = operation.find_rows(Rows(row, height), source_height).start if row < height else source_height
            if source in self.phase.buffered:
                firsts[source] = min(first, firsts.get(source, first))
            elif source in self.phase.computed and source not in self.phase.whole:
                for other, start in self._find_firsts(source, first).items():
                    firsts[other] = min(start, firsts.get(other, start))
        return firsts
