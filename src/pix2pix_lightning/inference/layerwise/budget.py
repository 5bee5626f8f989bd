"""Fit a run into a limit of memory: sizes of blocks, and which maps lie in files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from pix2pix_lightning.inference.layerwise.maps import RowBuffer
from pix2pix_lightning.inference.layerwise.operations import NoisyDropout, Rows
from pix2pix_lightning.inference.layerwise.plan import Phase, PhasePlan, Size, find_light
from pix2pix_lightning.inference.layerwise.tracing import Layer

_BLOCK_BYTES = 2**27
"""Bytes of a block's rows in all layers: few blocks compute few rows for their neighbours."""
_NEAR = 2.0
"""How much more than the least memory is taken for fewer and larger blocks."""
_LEAST_GAIN = 0.9
"""What half as many rows in a block have to make of the memory, for even smaller blocks to be tried."""
_TRIED = 32
"""Number of blocks up to which all are tried."""


@dataclass(frozen=True)
class RunPlan:
    """How a network runs on an image of a size.

    Attributes:
        phases: Steps of each phase.
        in_files: Layers whose output is kept in a file.
        memory: Most bytes in memory at once, of rows, maps and masks.
        disk: Most bytes in files at once.
    """

    phases: list[PhasePlan]
    in_files: set[int]
    memory: int
    disk: int


def plan_run(layers: Sequence[Layer], phases: Sequence[Phase], sizes: Sequence[Size], memory: int) -> RunPlan:
    """Plan a run that takes as little disk as it can within a limit of memory.

    Args:
        layers: Layers of ``trace_layers``.
        phases: Phases of ``plan_phases``.
        sizes: Size of each layer's output.
        memory: Bytes that it may take. Where they do not suffice, the plan takes more.

    Returns:
        The plan.
    """
    plans, needs, in_files = [], [], set[int]()
    for phase in phases:
        plan, need = _choose_blocks(layers, phase, sizes, memory)
        while need.total > memory and plan.phase.buffered:
            largest = max(need.buffers, key=need.buffers.__getitem__)
            if _is_recomputable(layers, plan.phase, largest):
                changed = replace(plan.phase, buffered=[other for other in need.buffers if other != largest])
            else:
                # a file for the rows that most wait: those of a skip, where the network goes deep without a norm
                in_files.add(largest)
                changed = _keep_whole(plan.phase, largest)
            plan = PhasePlan(layers, changed, sizes, plan.num_blocks)
            need = measure_need(plan)
        plans.append(plan)
        needs.append(need.total)
    lives = _find_lives(plans)
    used = list(needs)
    for number in sorted(lives.keys() - in_files, key=lambda number: sizes[number].bytes * len(lives[number])):
        if all(used[index] + sizes[number].bytes <= memory for index in lives[number]):
            for index in lives[number]:
                used[index] += sizes[number].bytes
        else:
            in_files.add(number)
    disk = [sum(sizes[number].bytes for number in in_files if index in lives[number]) for index in range(len(plans))]
    return RunPlan(plans, in_files, max(used), max(disk))


def _is_recomputable(layers: Sequence[Layer], phase: Phase, number: int) -> bool:
    """Return whether a layer takes few products of what can be read at any time."""
    return number in find_light(layers) and all(
        source in phase.reads or _is_recomputable(layers, phase, source) for source in layers[number].inputs
    )


def _keep_whole(phase: Phase, number: int) -> Phase:
    buffered = [other for other in phase.buffered if other != number]
    return replace(phase, whole=sorted([*phase.whole, number]), kept=phase.kept | {number}, buffered=buffered)


def _find_lives(plans: Sequence[PhasePlan]) -> dict[int, range]:
    """Find the phases in which each map that is kept is there."""
    lives = {}
    for index, plan in enumerate(plans):
        for number in plan.phase.kept:
            readers = [later for later in range(index, len(plans)) if number in plans[later].phase.reads]
            lives[number] = range(index, max([index, *readers]) + 1)
    return lives


def _choose_blocks(layers: Sequence[Layer], phase: Phase, sizes: Sequence[Size], memory: int) -> tuple[PhasePlan, Need]:
    """Choose the number of blocks, and return the phase's steps and what they need."""
    fewest = min(sizes[number].height for number in phase.computed)  # of rows, so that no block is empty everywhere
    plans: list[tuple[PhasePlan, Need]] = []
    while True:
        plan = PhasePlan(layers, phase, sizes, 2 ** len(plans))
        need = measure_need(plan)
        plans.append((plan, need))
        has_gained = plan.num_blocks < _TRIED or need.total < _LEAST_GAIN * plans[-2][1].total
        if need.total <= min(_BLOCK_BYTES, memory) or plan.num_blocks >= 2 * fewest or not has_gained:
            break
    # smaller blocks do not help where most of the rows wait for deeper layers
    least = min(need.total for _, need in plans)
    enough = max(least, min(max(_BLOCK_BYTES, int(_NEAR * least)), memory))
    return next((plan, need) for plan, need in plans if need.total <= enough)


class Need(NamedTuple):
    """Bytes of memory that a phase takes, without whole maps.

    Attributes:
        total: Most bytes at once: of the rows in buffers, of those that a step reads, makes and writes, and of masks.
        buffers: Most bytes of each buffer, by the number of the layer.
    """

    total: int
    buffers: dict[int, int]


def measure_need(plan: PhasePlan) -> Need:
    """Compute what a phase takes in memory, by going through its steps without values.

    Args:
        plan: Steps of the phase.

    Returns:
        The bytes.
    """
    buffers = {number: RowBuffer() for number in plan.phase.buffered}
    held = dict.fromkeys(buffers, 0)
    highest = dict.fromkeys(buffers, 0)
    most = 0
    for step in plan:
        most = max(most, sum(held.values()) + _measure_step(plan, step.layer, step.rows))
        if step.layer in buffers:
            buffers[step.layer].append(step.rows, None)
            held[step.layer] = buffers[step.layer].held * plan.sizes[step.layer].row_bytes
            highest[step.layer] = max(highest[step.layer], held[step.layer])
        for number, start in step.needed.items():
            buffers[number].drop(start)
            held[number] = buffers[number].held * plan.sizes[number].row_bytes
    masks = sum(plan.sizes[number].values for number in plan.phase.computed if _has_mask(plan.layers[number]))
    return Need(most + masks, highest)


def _has_mask(layer: Layer) -> bool:
    return isinstance(layer.operation, NoisyDropout)


def _measure_step(plan: PhasePlan, number: int, rows: Rows) -> int:
    """Compute the bytes of rows of a layer and of what they are computed from, without what buffers hold already."""
    layer, size = plan.layers[number], plan.sizes[number]
    taken = (rows.stop - rows.start) * size.row_bytes
    if layer.operation is None or number in plan.phase.reads:
        return taken
    have = layer.operation.find_rows(rows, plan.sizes[layer.inputs[0]].height)
    for source in layer.inputs:
        if source in plan.phase.computed and source not in plan.order:
            taken += _measure_step(plan, source, have)
        else:
            taken += (have.stop - have.start) * plan.sizes[source].row_bytes
    return taken
