"""Transposed convolutions as convolutions and a depth-to-space, compared with torch in float64."""

import numpy as np
import pytest
import torch
from onnx import TensorProto, checker, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch.nn import functional as F

from pix2pix_lightning.export.int8.depth_to_space import replace_transposed_convolutions
from pix2pix_lightning.export.int8.editing import EditableGraph


def build_transposed(weight, bias, **attributes):
    """A model of one transposed convolution of stride 2, for inputs of any size."""
    constants = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    node = helper.make_node("ConvTranspose", ["source", *constants], ["target"], strides=[2, 2], **attributes)
    sides = [
        helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["b", None, "h", "w"]) for name in ("source", "target")
    ]
    initializers = [numpy_helper.from_array(values.numpy(), name) for name, values in constants.items()]
    graph = helper.make_graph([node], "graph", sides[:1], sides[1:], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("side", [3, 4])
@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (2, 3, 5, 8)])
def test_it_equals_the_transposed_convolution(shape, side, has_bias, channels_last):
    torch.manual_seed(0)
    weight, source = torch.randn(3, 2, side, side, dtype=torch.float64), torch.randn(shape, dtype=torch.float64)
    bias = torch.randn(2, dtype=torch.float64) if has_bias else None
    padding = [side % 2] * 2
    graph = EditableGraph.read(build_transposed(weight, bias, pads=[1] * 4, output_padding=padding))
    assert replace_transposed_convolutions(graph, channels_last=channels_last) == 1
    model = graph.write()
    checker.check_model(model, full_check=True)
    operators = {node.op_type for node in model.graph.node}
    assert "ConvTranspose" not in operators
    assert ("DepthToSpace" in operators) is not channels_last
    (actual,) = ReferenceEvaluator(model).run(None, {"source": source.numpy()})
    expected = F.conv_transpose2d(source, weight, bias, stride=2, padding=1, output_padding=padding)
    assert expected.shape[2:] == (2 * shape[2], 2 * shape[3])
    np.testing.assert_allclose(actual, expected.numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("side", "attributes"),
    [(2, {}), (4, {"pads": [0] * 4}), (3, {"pads": [1] * 4}), (4, {"pads": [1] * 4, "dilations": [2, 2]})],
)
def test_others_stay(side, attributes):
    graph = EditableGraph.read(build_transposed(torch.ones(3, 2, side, side), None, **attributes))
    before = list(graph.nodes)
    assert replace_transposed_convolutions(graph, channels_last=True) == 0
    assert graph.nodes == before
