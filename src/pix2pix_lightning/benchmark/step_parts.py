"""The time of a training step by its parts, from the events of ``torch.profiler``."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

PREFIX = "part of a step|"  # of the ranges' names, so that they differ from those of torch
FORWARD, BACKWARD = "forward", "backward"
_NODE = "autograd::engine::evaluate_function: "


class Part(NamedTuple):
    """A part of a training step.

    Attributes:
        name: What it is, such as ``generator down.3.conv``.
        direction: ``forward`` or ``backward``; empty for what has no gradient.
    """

    name: str
    direction: str = ""


OTHER = Part("other")
CASTS = "casts between types"
GRADIENTS = Part("storing gradients", BACKWARD)
CLEARING = Part("clearing gradients")
WAITING = Part("waiting for data")
GPU_WAITING = Part("GPU waiting for Python")


def format_range(part: Part) -> str:
    """Return the name of the profiler's range around a part."""
    return f"{PREFIX}{part.name}|{part.direction}"


def sum_parts(events: Iterable[Any], seconds: float) -> dict[Part, float]:
    """Divide the time of some steps among their parts.

    On a CPU the parts are what the thread of the training does. On a GPU they are its kernels, and ``seconds`` without
    any kernel is waiting.

    Args:
        events: The events of a profile, as ``torch.profiler.profile.events()`` returns them.
        seconds: Time from the start of the first step to the end of the last.

    Returns:
        Seconds by part. With ``OTHER`` they add up to ``seconds``, but for kernels that ran at the same time.
    """
    events = list(events)
    placed = list(_iterate_placed(event for event in events if event.device_type.name == "CPU"))
    kernels = [  # ranges are repeated on the GPU's side
        event for event in events if event.device_type.name != "CPU" and not event.is_user_annotation
    ]
    totals = _sum_kernels(placed, kernels, seconds) if kernels else _sum_own_time(placed)
    totals[OTHER] = totals.get(OTHER, 0.0) + seconds - sum(totals.values())
    return totals


class _Placed(NamedTuple):
    """An event of the CPU, the part that it belongs to, and its duration without events inside, microseconds."""

    event: Any
    part: Part
    own: float


def _iterate_placed(events: Iterable[Any]) -> Iterator[_Placed]:
    """Find each event's part: that of the innermost range, or of the forward operation whose gradient it computes."""
    forward: dict[tuple[int, int], Part] = {}
    open_events: defaultdict[int, list[list[Any]]] = defaultdict(list)  # by thread: [event, part, time inside, end]
    for event in sorted(events, key=lambda event: (event.time_range.start, -event.time_range.end)):
        outer = open_events[event.thread]
        start, end = event.time_range.start, event.time_range.end
        while outer and outer[-1][3] <= start:
            yield _close(outer)
        if outer:
            end = min(end, outer[-1][3])
            outer[-1][2] += end - start
        part = _find_part(event, outer[-1][1] if outer else OTHER, forward)
        if event.sequence_nr >= 0:
            # of the operations with one number the last one has created the node
            forward[event.thread, event.sequence_nr] = part
        outer.append([event, part, 0.0, end])
    for outer in open_events.values():
        while outer:
            yield _close(outer)


def _close(outer: list[list[Any]]) -> _Placed:
    event, part, inside, end = outer.pop()
    return _Placed(event, part, end - event.time_range.start - inside)


def _find_part(event: Any, outer: Part, forward: dict[tuple[int, int], Part]) -> Part:
    if event.name.startswith(PREFIX):
        name, _, direction = event.name.removeprefix(PREFIX).rpartition("|")
        return Part(name, direction)
    if event.name.startswith(_NODE):
        if event.name.endswith("AccumulateGrad"):
            return GRADIENTS
        found = forward.get((event.fwd_thread, event.sequence_nr), OTHER)
        return OTHER if found == OTHER else Part(found.name, BACKWARD)
    if event.name.startswith("Optimizer.zero_grad#"):
        return CLEARING
    if event.name == "aten::_to_copy" and outer.direction:
        return Part(CASTS, outer.direction)
    return outer


def _sum_own_time(placed: Sequence[_Placed]) -> dict[Part, float]:
    """Sum the time of the thread that has the ranges: others run next to it."""
    threads = Counter(one.event.thread for one in placed if one.event.name.startswith(PREFIX))
    totals: defaultdict[Part, float] = defaultdict(float)
    for one in placed:
        if threads and one.event.thread == threads.most_common(1)[0][0]:
            totals[one.part] += one.own / 1e6
    return dict(totals)


def _sum_kernels(placed: Sequence[_Placed], kernels: Sequence[Any], seconds: float) -> dict[Part, float]:
    """Sum the time of the kernels by who launched them, and the time between kernels by what Python did."""
    totals: defaultdict[Part, float] = defaultdict(float)
    for one in placed:
        totals[one.part] += sum(kernel.duration for kernel in one.event.kernels) / 1e6
    busy = merge_intervals((kernel.time_range.start, kernel.time_range.end) for kernel in kernels)
    name = format_range(WAITING)
    loading = [(e.time_range.start, e.time_range.end) for e, _, _ in placed if e.name == name]
    both = merge_intervals([*busy, *loading])
    totals[WAITING] += (_measure(both) - _measure(busy)) / 1e6
    totals[GPU_WAITING] = max(0.0, seconds - _measure(both) / 1e6)
    return dict(totals)


def merge_intervals(intervals: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the union of intervals (start, end) as intervals that do not touch, in order."""
    merged: list[tuple[float, float]] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _measure(intervals: Sequence[tuple[float, float]]) -> float:
    return sum(end - start for start, end in intervals)
