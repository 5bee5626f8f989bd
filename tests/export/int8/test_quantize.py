"""Quantized graphs in onnxruntime: what is computed with integers, and how exactly."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from pix2pix_lightning.export.graph import Graph
from pix2pix_lightning.export.int8.editing import EditableGraph
from pix2pix_lightning.export.int8.quantize import quantize, split_activations
from pix2pix_lightning.export.int8.ranges import measure_ranges
from pix2pix_lightning.utils.errors import UserError
from small_networks import GENERATORS, UNET, trained

IMAGES = [torch.rand(1, 3, 32, 24, generator=torch.Generator().manual_seed(seed)) * 2 - 1 for seed in range(3)]
OPTIONS = {"float_layers": "none", "engine": "onnxruntime", "num_threads": 1}


def build_model(nodes, constants):
    """A model of nodes from ``source`` to ``target``."""
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("source", "target")]
    initializers = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "graph", sides[:1], sides[1:], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def run(model, source):
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"source": source})[0]


def list_operators(model, path):
    """The operations of the graph that onnxruntime makes of a model."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3  # it warns that the file is for this machine alone
    onnxruntime.InferenceSession(model.SerializeToString(), options)
    return [node.op_type for node in onnx.load(path).graph.node]


def test_one_convolution_by_hand():
    # In steps of 2 / 255 of the input, 1 / 127 and 0.5 / 127 of the weights, and of the output's own range.
    weight = np.array([[[[1.0]], [[-0.25]]], [[[0.5]], [[0.5]]]], np.float32)
    nodes = [helper.make_node("Conv", ["source", "weight"], ["sum"]), helper.make_node("Tanh", ["sum"], ["target"])]
    source = np.random.default_rng(0).uniform(-0.5, 1.5, (1, 2, 4, 4)).astype(np.float32)
    source[0, :, 0, 0], source[0, :, 0, 1] = -0.5, 1.5
    model = quantize(build_model(nodes, {"weight": weight}), [torch.from_numpy(source)], **OPTIONS)
    step, zero = 2 / 255, round(0.5 / 2 * 255)
    levels = np.clip(np.rint(source / step) + zero, 0, 255) - zero
    weights = np.array([[127, np.rint(-0.25 * 127)], [127, 127]])
    sums = np.einsum("oi,bihw->bohw", weights, levels) * step * np.array([1, 0.5])[None, :, None, None] / 127
    exact = np.einsum("oi,bihw->bohw", weight[:, :, 0, 0], source)
    low, high = min(0, exact.min()), max(0, exact.max())
    step_out = (high - low) / 255
    rounded = np.clip(np.rint(sums / step_out), np.rint(low / step_out), np.rint(low / step_out) + 255) * step_out
    np.testing.assert_allclose(run(model, source), np.tanh(rounded), rtol=0, atol=step_out * 1.01)
    assert np.mean(np.abs(run(model, source) - np.tanh(rounded)) < 1e-4) > 0.9  # others lie on a boundary


@pytest.mark.parametrize(
    ("norm", "engine"), [("running", "onnxruntime"), ("running", "openvino"), ("image", "onnxruntime")]
)
def test_all_convolutions_compute_with_integers(norm, engine, tmp_path, write_cached):
    write_cached(Graph(trained(UNET), norm), tmp_path / "float.onnx", made_by={})
    options = {**OPTIONS, "engine": engine}
    counts = {}
    for float_layers in ("none", "first", "last", "first_last"):
        model = quantize(onnx.load(tmp_path / "float.onnx"), IMAGES, **{**options, "float_layers": float_layers})
        operators = list_operators(model, tmp_path / "optimized.onnx")
        counts[float_layers] = sum("Conv" in name and name != "QLinearConv" for name in operators)
        assert counts[float_layers] + operators.count("QLinearConv") == 6  # of three levels down and up
        if norm == "running" and float_layers == "none":
            assert operators.count("QLinearConcat") == 2
            assert "Relu" not in operators
            assert operators.count("QLinearLeakyRelu") == 4  # two of the encoder and of the skips; others are clipped
    assert counts == {"none": 0, "first": 1, "last": 1, "first_last": 2}


def test_openvino_gets_unrounded_sums_for_norms_of_the_image(tmp_path, write_cached):
    write_cached(Graph(trained(UNET)), tmp_path / "float.onnx", made_by={})
    graph = EditableGraph.read(
        quantize(onnx.load(tmp_path / "float.onnx"), IMAGES, **{**OPTIONS, "engine": "openvino"})
    )
    producers = graph.find_producers()
    layers = [node for node in graph.nodes if node.op_type == "Conv"]
    assert len(layers) == 6
    assert all(producers[name].op_type == "DequantizeLinear" for layer in layers for name in layer.input)
    norms = [node for node in graph.nodes if node.op_type == "InstanceNormalization"]
    assert [producers[node.input[0]].op_type for node in norms] == ["Conv", "Slice", "Slice"]
    rounded = {node.input[0] for node in graph.nodes if node.op_type == "QuantizeLinear"}
    assert sum(layer.output[0] in rounded for layer in layers) == 3  # others go to a norm


@pytest.mark.parametrize("name", ["unet", pytest.param("resnet", marks=pytest.mark.slow)])
def test_outputs_are_close_to_the_float_graph(name, tmp_path, write_cached):
    module = trained(GENERATORS[name])
    write_cached(Graph(module), tmp_path / "float.onnx", made_by={})
    model, before = (onnx.load(tmp_path / "float.onnx") for _ in range(2))
    quantize(model, IMAGES, **OPTIONS)
    batch = torch.cat([*IMAGES[:2], torch.zeros(1, 3, 32, 24)]).numpy()
    expected, actual = run(before, batch), run(model, batch)
    error = np.abs(actual - expected)
    assert 0 < error.mean() < 0.03 * np.ptp(expected)
    np.testing.assert_allclose(run(model, batch[1:2])[0], actual[1], rtol=0, atol=1e-5)  # the batch changes nothing


def test_relu_of_a_concatenation_is_that_of_its_parts():
    nodes = [
        helper.make_node("LeakyRelu", ["source"], ["skip"], alpha=0.2),
        helper.make_node("Neg", ["skip"], ["other"]),
        helper.make_node("Concat", ["skip", "other"], ["both"], axis=1),
        helper.make_node("Relu", ["both"], ["target"]),
    ]
    source = np.linspace(-2, 2, 16, dtype=np.float32).reshape(1, 1, 4, 4)
    model = build_model(nodes, {})
    expected = run(model, source)
    graph = EditableGraph.read(model)
    split_activations(graph)
    assert [node.op_type for node in graph.nodes] == ["LeakyRelu", "Neg", "Relu", "Relu", "Concat"]
    assert graph.nodes[2].input[0] == "source"
    np.testing.assert_array_equal(run(graph.write(), source), expected)


def test_ranges_span_all_images_and_zero():
    graph = EditableGraph.read(build_model([helper.make_node("Neg", ["source"], ["target"])], {}))
    images = [torch.full((1, 1, 2, 2), value) for value in (1.0, 3.0)]
    ranges = measure_ranges(graph, ["source", "target"], images, num_threads=1)
    assert ranges == {"source": (0, 3), "target": (-3, 0)}
    assert ranges["source"].zero_point == 0
    assert ranges["target"].zero_point == 255
    assert ranges["source"].scale == pytest.approx(3 / 255)


def test_a_graph_without_convolutions_to_quantize():
    nodes = [helper.make_node("Conv", ["source", "weight"], ["target"])]
    model = build_model(nodes, {"weight": np.ones((1, 3, 1, 1), np.float32)})
    with pytest.raises(UserError, match="float_layers=first_last"):
        quantize(model, IMAGES, **{**OPTIONS, "float_layers": "first_last"})
