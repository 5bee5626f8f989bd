"""Choose the ranges that several values of a graph share, so that nothing is rounded twice."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from pix2pix_lightning.export.int8.editing import EditableGraph, get_attributes
from pix2pix_lightning.export.int8.ranges import Range

if TYPE_CHECKING:
    from onnx import NodeProto

_MOVES = {
    "DepthToSpace": None,
    "Transpose": None,
    "Reshape": None,
    "Slice": None,
    "Pad": b"reflect",
    "Resize": b"nearest",
}
"""Operations whose outputs are values of their input, and the mode in which they are so."""
_SATURATED = 4.0  # tanh(4) is 0.9993, a twelfth of a gray level below 1


def is_move(node: NodeProto) -> bool:
    """Return whether the outputs of a node are values of its first input, so that both have one scale."""
    mode = _MOVES.get(node.op_type)
    return node.op_type in _MOVES and mode in (None, get_attributes(node).get("mode"))


def find_clipped(graph: EditableGraph, names: Collection[str]) -> dict[str, str]:
    """Find ReLUs that quantization makes superfluous: levels of a convolution's output that begin at 0.

    Args:
        graph: The graph.
        names: Names of the values that are quantized.

    Returns:
        Outputs of such ReLUs, and the input of each.
    """
    producers, consumers = graph.find_producers(), graph.find_consumers()
    found = {}
    for node in graph.nodes:
        if node.op_type == "Relu" and node.output[0] in names:
            name = node.input[0]
            while name in names and _is_taken_once(consumers[name]) and is_move(producers[name]):
                name = producers[name].input[0]
            if name in names and _is_taken_once(consumers[name]) and producers[name].op_type == "Conv":
                found[node.output[0]] = node.input[0]
    return found


def share_ranges(graph: EditableGraph, ranges: dict[str, Range], clipped: Mapping[str, str]) -> None:
    """Give one range to values that engines only move, in place.

    The parts of a concatenation take the range of the whole; inputs of moves and of clipped ReLUs that of the output.
    What goes into a tanh is cut off where that is saturated, so that the other values are rounded less.

    Args:
        graph: The graph.
        ranges: Measured range of each value that is quantized.
        clipped: What `find_clipped` returned.
    """
    consumers = graph.find_consumers()
    for node in reversed(graph.nodes):
        if node.op_type == "Tanh" and node.input[0] in ranges:
            low, high = ranges[node.input[0]]
            ranges[node.input[0]] = Range(max(low, -_SATURATED), min(high, _SATURATED))
        if node.output[0] not in ranges:
            continue
        own = ranges[node.output[0]]
        if node.op_type == "Concat":
            ranges.update((name, own) for name in node.input if name in ranges)
        elif node.output[0] in clipped or (is_move(node) and _is_taken_once(consumers[node.input[0]])):
            ranges[node.input[0]] = own
    for node in graph.nodes:
        if is_move(node) and node.output[0] in ranges and node.input[0] in ranges:
            ranges[node.output[0]] = ranges[node.input[0]]


def _is_taken_once(nodes: Collection[NodeProto]) -> bool:
    """Return whether one node takes a value, apart from those that ask for its shape."""
    return sum(node.op_type != "Shape" for node in nodes) == 1
