"""Measure between which values the maps of a graph lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from torch import Tensor

from pix2pix_lightning.export.int8.editing import EditableGraph
from pix2pix_lightning.utils.onnx_graph import OnnxGraph

if TYPE_CHECKING:
    from onnx import ModelProto


class Range(NamedTuple):
    """Least and greatest value of a map; it contains 0."""

    low: float
    high: float

    @property
    def scale(self) -> float:
        """The step between two of 256 levels."""
        return max(self.high - self.low, 1e-6) / 255

    @property
    def zero_point(self) -> int:
        """The level of 0."""
        return min(max(round(-self.low / self.scale), 0), 255)


def measure_ranges(
    graph: EditableGraph, names: Iterable[str], images: Iterable[Tensor], *, num_threads: int
) -> Mapping[str, Range]:
    """Run a graph on images and return the range of some of its values over all of them.

    Args:
        graph: The graph, in float.
        names: Names of the values.
        images: Inputs of the graph, at least one.
        num_threads: Threads of an operation.

    Returns:
        The range of each value.

    Raises:
        UserError: onnxruntime is missing or refuses an image.
    """
    names = list(names)
    session = OnnxGraph(_build_measuring(graph, names).SerializeToString(), "the graph", num_threads=num_threads)
    extremes = np.array([session.run(image.numpy()) for image in images], np.float64)
    lows, highs = np.split(extremes, 2, axis=1)
    return {
        name: Range(min(0.0, float(low)), max(0.0, float(high)))
        for name, low, high in zip(names, lows.min(0), highs.max(0), strict=True)
    }


def _build_measuring(graph: EditableGraph, names: list[str]) -> ModelProto:
    """Build a model whose outputs are the least values, then the greatest ones; in place of whole maps."""
    from onnx import ModelProto, TensorProto, helper

    model = ModelProto()
    model.CopyFrom(graph.write())
    model.graph.ClearField("output")
    for operator in ("ReduceMin", "ReduceMax"):
        for name in names:
            output = f"{name}.{operator}"
            model.graph.node.append(helper.make_node(operator, [name], [output], keepdims=0))
            model.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, []))
    return model
