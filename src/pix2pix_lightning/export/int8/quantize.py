"""Quantize the convolutions of an ONNX graph: weights of 8 bits by channel, maps of 8 bits by calibrated ranges.

Each quantized value goes through a ``QuantizeLinear`` and a ``DequantizeLinear``. Engines join these with the
operations between them, and compute with integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from pix2pix_lightning.export.int8.depth_to_space import replace_transposed_convolutions
from pix2pix_lightning.export.int8.editing import Array, EditableGraph, get_attributes
from pix2pix_lightning.export.int8.ranges import Range, measure_ranges
from pix2pix_lightning.export.int8.sharing import find_clipped, is_move, share_ranges
from pix2pix_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

FLOAT_LAYERS: Mapping[str, tuple[int, ...]] = {"none": (), "first": (0,), "last": (-1,), "first_last": (0, -1)}
"""Which of the convolutions stay float32."""
_ACTIVATIONS = ("Relu", "LeakyRelu")
_GREATEST_WEIGHT = 127
_TINY = 1e-12  # scale of a channel whose weights are all zero


def quantize(
    model: ModelProto, images: Iterable[Tensor], *, float_layers: str, engine: str, num_threads: int
) -> ModelProto:
    """Quantize a model in place.

    Args:
        model: A model of `write_onnx`, in float32.
        images: Inputs of the model for calibration, at least one.
        float_layers: Which convolutions stay float32, a key of `FLOAT_LAYERS`.
        engine: What runs the model, one of `ENGINES`. For onnxruntime pixels are moved with their channels next to each
            other, and what convolutions return is quantized too; OpenVINO gives it to a norm of the image as it is.
        num_threads: Threads of an operation during calibration.

    Returns:
        The model.

    Raises:
        UserError: It has no convolution to quantize, or onnxruntime refuses an image.
    """
    graph = EditableGraph.read(model)
    is_for_onnxruntime = engine == "onnxruntime"
    replace_transposed_convolutions(graph, channels_last=is_for_onnxruntime)
    split_activations(graph)
    layers = _find_layers(graph, float_layers)
    names = _find_quantized(graph, layers) - (set() if is_for_onnxruntime else _find_before_norms(graph))
    ranges = dict(measure_ranges(graph, names, images, num_threads=num_threads))
    clipped = find_clipped(graph, names)
    share_ranges(graph, ranges, clipped)
    _Quantizer(graph, ranges, {id(node) for node in layers}, clipped).insert()
    return graph.write()


def split_activations(graph: EditableGraph) -> None:
    """Move ReLUs from behind a concatenation of maps to each of them, in place, so that all have one scale there.

    A ReLU of a leaky ReLU is the ReLU of its input.

    Args:
        graph: Graph to change.
    """
    from onnx import helper

    producers = graph.find_producers()
    nodes: list[NodeProto] = []
    for node in graph.nodes:
        before = producers.get(node.input[0]) if node.op_type == "Relu" else None
        if before is None or before.op_type != "Concat":
            nodes.append(node)
            continue
        (name,) = node.output
        parts = []
        for number, part in enumerate(before.input):
            source = producers.get(part)
            taken = source.input[0] if source is not None and source.op_type == "LeakyRelu" else part
            nodes.append(helper.make_node("Relu", [taken], [f"{name}.part_{number}"]))
            parts.append(f"{name}.part_{number}")
        nodes.append(helper.make_node("Concat", parts, [name], **get_attributes(before)))
    graph.nodes = nodes
    graph.remove_unused()


def _find_layers(graph: EditableGraph, float_layers: str) -> list[NodeProto]:
    """Return the convolutions that are quantized."""
    layers = [node for node in graph.nodes if node.op_type == "Conv" and node.input[1] in graph.constants]
    kept = {id(layers[index]) for index in FLOAT_LAYERS[float_layers]} if layers else set()
    found = [node for node in layers if id(node) not in kept]
    if not found:
        raise UserError(
            f"float_layers={float_layers}: the generator has no other convolution, so that nothing would be quantized: "
            "leave precision out"
        )
    return found


def _find_quantized(graph: EditableGraph, layers: list[NodeProto]) -> set[str]:
    """Return the names of the values that are quantized: what convolutions take and return, and values between them."""
    names = {layer.input[0] for layer in layers} | {layer.output[0] for layer in layers}
    for node in graph.nodes:
        if (node.op_type in _ACTIVATIONS or is_move(node)) and node.input[0] in names:
            names.add(node.output[0])
    for node in reversed(graph.nodes):
        if node.output[0] in names:
            if node.op_type == "Concat":
                names.update(node.input)
            elif is_move(node):
                names.add(node.input[0])
    return names - set(graph.outputs) - set(graph.constants)


def _find_before_norms(graph: EditableGraph) -> set[str]:
    """Return what convolutions return and a norm of the image takes, perhaps moved."""
    producers = graph.find_producers()
    names = set()
    for node in graph.nodes:
        if node.op_type == "InstanceNormalization":
            name = node.input[0]
            names.add(name)
            while name in producers and is_move(producers[name]):
                name = producers[name].input[0]
                names.add(name)
    return names


class _Quantizer:
    """Insert the quantization into a graph, in place."""

    def __init__(
        self, graph: EditableGraph, ranges: Mapping[str, Range], layers: set[int], clipped: Mapping[str, str]
    ) -> None:
        self._graph, self._ranges, self._layers, self._clipped = graph, ranges, layers, clipped
        self._nodes: list[NodeProto] = []

    def insert(self) -> None:
        for name in self._graph.inputs:
            self._add_levels(name)
        for node in self._graph.nodes:
            if node.output[0] in self._clipped:
                continue  # its input has no negative values
            self._nodes.append(self._convert(node))
            for name in node.output:
                self._add_levels(name)
        self._graph.nodes = self._nodes

    def _convert(self, node: NodeProto) -> NodeProto:
        from onnx import NodeProto, helper

        is_quantized = node.input and self._resolve(node.input[0]) in self._ranges
        if node.op_type == "Relu" and is_quantized and node.output[0] in self._ranges:
            # onnxruntime has a quantized leaky ReLU, by a table, and no quantized ReLU
            return helper.make_node("LeakyRelu", [self._read(node.input[0])], node.output, alpha=0.0)
        converted = NodeProto()
        converted.CopyFrom(node)
        if node.op_type == "Shape" and is_quantized:
            converted.input[0] = f"{self._resolve(node.input[0])}.levels"  # else the floats are computed for it alone
            return converted
        for index, name in enumerate(node.input):
            converted.input[index] = self._read(name)
        if id(node) in self._layers:
            converted.input[1] = self._add_weight(node.input[1])
            if len(node.input) > 2:
                converted.input[2] = self._add_bias(node)
        return converted

    def _resolve(self, name: str) -> str:
        while name in self._clipped:
            name = self._clipped[name]
        return name

    def _read(self, name: str) -> str:
        """Return the name under which a value is read: behind its quantization, if it has one."""
        name = self._resolve(name)
        return f"{name}.rounded" if name in self._ranges else name

    def _add_levels(self, name: str) -> None:
        from onnx import helper

        if name not in self._ranges or name in self._clipped:
            return
        own = self._ranges[name]
        scale = self._graph.add_constant(f"{name}.scale", own.scale, np.float32)
        zero_point = self._graph.add_constant(f"{name}.zero_point", own.zero_point, np.uint8)
        self._nodes.append(helper.make_node("QuantizeLinear", [name, scale, zero_point], [f"{name}.levels"]))
        self._nodes.append(
            helper.make_node("DequantizeLinear", [f"{name}.levels", scale, zero_point], [f"{name}.rounded"])
        )

    def _add_weight(self, name: str) -> str:
        weight = self._graph.constants[name]
        scales = compute_weight_scales(weight)
        levels = np.clip(np.rint(weight / scales[:, None, None, None]), -_GREATEST_WEIGHT, _GREATEST_WEIGHT)
        return self._add_dequantized(name, levels.astype(np.int8), scales)

    def _add_bias(self, node: NodeProto) -> str:
        """Add the bias in the steps of the convolution's sums, products of the steps of weights and input."""
        scales = compute_weight_scales(self._graph.constants[node.input[1]]).astype(np.float64)
        scales *= np.float32(self._ranges[self._resolve(node.input[0])].scale)
        limit = np.iinfo(np.int32).max
        levels = np.clip(np.rint(self._graph.constants[node.input[2]] / scales), -limit, limit)
        return self._add_dequantized(f"{node.output[0]}.bias", levels.astype(np.int32), scales.astype(np.float32))

    def _add_dequantized(self, name: str, levels: Array, scales: Array) -> str:
        """Add a constant that is stored as levels, with a step for each of its channels, and return its name."""
        from onnx import helper

        inputs = [
            self._graph.add_constant(f"{name}.levels", levels),
            self._graph.add_constant(f"{name}.scales", scales, np.float32),
            self._graph.add_constant(f"{name}.zero_points", np.zeros(len(scales), levels.dtype)),
        ]
        if not any(f"{name}.rounded" in node.output for node in self._nodes):  # layers may share a weight
            self._nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{name}.rounded"], axis=0))
        return f"{name}.rounded"


def compute_weight_scales(weight: Array) -> Array:
    """Return the step of each output channel of a kernel (out, in, height, width), (out,) in float32."""
    greatest: Array = np.abs(weight).reshape(len(weight), -1).max(1) / _GREATEST_WEIGHT
    return np.maximum(greatest, _TINY).astype(np.float32)
