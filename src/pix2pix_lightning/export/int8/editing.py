"""Nodes and constants of an ONNX graph as plain lists and dictionaries, which are easier to change."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Array = npt.NDArray[Any]


@dataclass
class EditableGraph:
    """The graph of an ONNX model.

    Args:
        model: The model that it was read from, with its inputs, outputs and metadata.
        nodes: The nodes, each after those whose outputs it takes.
        constants: The initializers by name.
    """

    model: ModelProto
    nodes: list[NodeProto]
    constants: dict[str, Array]

    @classmethod
    def read(cls, model: ModelProto) -> EditableGraph:
        """Read a model, which is not changed until `write`."""
        from onnx import numpy_helper

        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        return cls(model, list(model.graph.node), constants)

    @property
    def inputs(self) -> list[str]:
        """Names of the graph's inputs."""
        return [value.name for value in self.model.graph.input]

    @property
    def outputs(self) -> list[str]:
        """Names of the graph's outputs."""
        return [value.name for value in self.model.graph.output]

    def add_constant(self, name: str, values: Any, dtype: npt.DTypeLike | None = None) -> str:
        """Add a constant, unless there is one of its name.

        Args:
            name: Name of the constant.
            values: Its values.
            dtype: Their type; None for that of ``values``.

        Returns:
            ``name``.
        """
        if name not in self.constants:
            self.constants[name] = np.array(values, dtype=dtype, order="C")
        return name

    def find_producers(self) -> dict[str, NodeProto]:
        """Return the node that computes each value."""
        return {output: node for node in self.nodes for output in node.output}

    def find_consumers(self) -> dict[str, list[NodeProto]]:
        """Return the nodes that take each value; a value that nobody takes has an empty list."""
        consumers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                consumers[name].append(node)
        return consumers

    def remove_unused(self) -> None:
        """Remove nodes whose outputs nobody takes."""
        needed = set(self.outputs)
        used = []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                used.append(node)
        self.nodes = used[::-1]

    def write(self) -> ModelProto:
        """Write nodes, and the constants that they take, into the model, and return it."""
        from onnx import numpy_helper

        taken = {name for node in self.nodes for name in node.input} | set(self.outputs)
        graph = self.model.graph
        for field in ("node", "initializer", "value_info"):
            graph.ClearField(field)
        graph.node.extend(self.nodes)
        for name, values in self.constants.items():
            if name in taken:
                graph.initializer.append(numpy_helper.from_array(values, name))
        return self.model


def get_attributes(node: NodeProto) -> dict[str, Any]:
    """Return the attributes of a node by name, as plain values."""
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
