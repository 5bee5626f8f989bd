"""Replace transposed convolutions, which onnxruntime does not quantize, by convolutions and a depth-to-space.

A transposed convolution of stride 2 computes each of the four parities of its output's rows and columns from windows of
2x2 pixels of its input. Here one convolution computes all four, as four times as many channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pix2pix_lightning.export.int8.editing import Array, EditableGraph, get_attributes

if TYPE_CHECKING:
    from onnx import NodeProto

_TAPS = ((2, 0), (3, 1))
"""Elements of a kernel of 4 that meet the two pixels of a window, for an odd output pixel and for the next even one."""
_SIDE = 4


def replace_transposed_convolutions(graph: EditableGraph, *, channels_last: bool) -> int:
    """Replace transposed convolutions that double the side, in place; the outputs stay equal but for rounding.

    Those of kernels of 4 with padding 1 and of 3 with padding 1 and output padding 1, without groups or dilation, are
    replaced; others stay.

    Args:
        graph: Graph to change.
        channels_last: Move pixels with their channels next to each other, in which onnxruntime's quantized convolutions
            compute, by ``Transpose`` and ``Reshape``; else by ``DepthToSpace``, which other engines run faster.

    Returns:
        How many were replaced.
    """
    nodes: list[NodeProto] = []
    count = 0
    for node in graph.nodes:
        if _doubles_side(node, graph):
            nodes += _build_convolution(graph, node)
            nodes += (_build_channels_last if channels_last else _build_depth_to_space)(graph, node)
            count += 1
        else:
            nodes.append(node)
    graph.nodes = nodes
    return count


def split_kernel(weight: Array) -> Array:
    """Return the kernel of the convolution that computes all parities of a transposed convolution.

    Over an input that is padded by one pixel on each side, its window (i, j) gives the rows 2i - 1 and 2i of the
    transposed convolution's output, and the columns 2j - 1 and 2j.

    Args:
        weight: Kernel of the transposed convolution, (in, out, 4, 4) or (in, out, 3, 3).

    Returns:
        (4 * out, in, 2, 2): first all channels of the odd rows and odd columns, then of odd rows and even columns, then
        of even rows and odd columns, then of even rows and even columns.
    """
    missing = _SIDE - weight.shape[2]
    weight = np.pad(weight, ((0, 0), (0, 0), (0, missing), (0, missing)))
    parts = [weight[:, :, rows][:, :, :, columns] for rows in _TAPS for columns in _TAPS]
    return np.concatenate([part.transpose(1, 0, 2, 3) for part in parts])


def _doubles_side(node: NodeProto, graph: EditableGraph) -> bool:
    if node.op_type != "ConvTranspose" or node.input[1] not in graph.constants:
        return False
    found: dict[str, Any] = {"group": 1, "dilations": [1, 1], "output_padding": [0, 0], **get_attributes(node)}
    side = graph.constants[node.input[1]].shape[2:]
    return (
        side in ((3, 3), (4, 4))
        and found["group"] == 1
        and list(found["dilations"]) == [1, 1]
        and list(found.get("strides", ())) == [2, 2]
        and list(found.get("pads", ())) == [1, 1, 1, 1]
        and list(found["output_padding"]) == [side[0] % 2] * 2
        and "output_shape" not in found
    )


def _build_convolution(graph: EditableGraph, node: NodeProto) -> list[NodeProto]:
    from onnx import helper

    (name,) = node.output
    inputs = [node.input[0], graph.add_constant(f"{name}.weight", split_kernel(graph.constants[node.input[1]]))]
    if len(node.input) > 2:
        inputs.append(graph.add_constant(f"{name}.bias", np.tile(graph.constants[node.input[2]], 4)))
    return [
        helper.make_node("Conv", inputs, [f"{name}.parities"], pads=[1, 1, 1, 1], kernel_shape=[2, 2], strides=[1, 1])
    ]


def _build_depth_to_space(graph: EditableGraph, node: NodeProto) -> list[NodeProto]:
    from onnx import helper

    (name,) = node.output
    return [
        helper.make_node("DepthToSpace", [f"{name}.parities"], [f"{name}.uncropped"], blocksize=2, mode="DCR"),
        helper.make_node("Slice", [f"{name}.uncropped", *_add_borders(graph, "height_width", (2, 3))], [name]),
    ]


def _build_channels_last(graph: EditableGraph, node: NodeProto) -> list[NodeProto]:
    from onnx import helper

    (name,) = node.output
    channels = graph.constants[f"{name}.weight"].shape[0] // 4
    numbers = {  # all integers of 64 bits, as shapes are
        "axes": graph.add_constant("int8.batch_height_width", [0, 2, 3], np.int64),
        "factors": graph.add_constant("int8.factors", [1, 2, 2], np.int64),
        "channels": graph.add_constant(f"int8.channels.{channels}", [channels], np.int64),
        "split": graph.add_constant(f"int8.split.{channels}", [0, 0, 0, 2, 2 * channels], np.int64),
    }
    parities = f"{name}.parities"
    return [
        helper.make_node("Shape", [parities], [f"{name}.shape"]),
        helper.make_node("Gather", [f"{name}.shape", numbers["axes"]], [f"{name}.sides"], axis=0),
        helper.make_node("Mul", [f"{name}.sides", numbers["factors"]], [f"{name}.doubled"]),
        helper.make_node("Concat", [f"{name}.doubled", numbers["channels"]], [f"{name}.new_shape"], axis=0),
        helper.make_node("Transpose", [parities], [f"{name}.last"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", [f"{name}.last", numbers["split"]], [f"{name}.split"]),
        helper.make_node("Transpose", [f"{name}.split"], [f"{name}.moved"], perm=[0, 1, 3, 2, 4]),
        helper.make_node("Reshape", [f"{name}.moved", f"{name}.new_shape"], [f"{name}.uncropped"]),
        helper.make_node(
            "Slice", [f"{name}.uncropped", *_add_borders(graph, "rows_columns", (1, 2))], [f"{name}.cropped"]
        ),
        helper.make_node("Transpose", [f"{name}.cropped"], [name], perm=[0, 3, 1, 2]),
    ]


def _add_borders(graph: EditableGraph, name: str, axes: tuple[int, int]) -> list[str]:
    """Add the inputs of a ``Slice`` that cuts a pixel off on all sides, and return their names."""
    return [
        graph.add_constant("int8.first", [1, 1], np.int64),
        graph.add_constant("int8.last", [-1, -1], np.int64),
        graph.add_constant(f"int8.{name}", axes, np.int64),
    ]
