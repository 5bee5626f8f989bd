"""Feature networks in ONNX files, small graphs whose outputs NumPy computes anew."""

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from pix2pix_lightning.networks.features import OnnxFeatures, check_features, load_features
from pix2pix_lightning.networks.features.input_values import InputValues
from pix2pix_lightning.utils.errors import UserError

MIX = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)  # channels of the layer by colours


def write_graph(path, *, shape=("n", 3, "h", "w"), kind=TensorProto.FLOAT, outputs=("layer", "vector")):
    """A graph that mixes the colours (layer), and sums that over the positions (vector (B, 5, 1, 1), flat (B, 5))."""
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["floats", "mix"], ["layer"]),
        helper.make_node("ReduceSum", ["layer", "axes"], ["vector"], keepdims=1),
        helper.make_node("Flatten", ["vector"], ["flat"]),
        helper.make_node("ReduceSum", ["layer", "axes"], ["three"], keepdims=0),
        helper.make_node("Unsqueeze", ["three", "axis"], ["tokens"]),
    ]
    constants = {"mix": MIX[..., None, None], "axes": np.array([2, 3]), "axis": np.array([1])}
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    image = helper.make_tensor_value_info("image", kind, shape)
    graph = helper.make_graph(nodes, "features", [image], infos, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return str(path)


def draw_images(count=2, height=6, width=8):
    levels = torch.randint(0, 256, (count, 3, height, width), generator=torch.Generator().manual_seed(0))
    return levels.float() / 127.5 - 1, levels.numpy()


def mix(values):
    return np.einsum("dc,bchw->bdhw", MIX, values)


def test_outputs_are_layers_and_embedding(tmp_path):
    images, levels = draw_images()
    network = load_features(write_graph(tmp_path / "a.onnx"))
    found, expected = network(images), mix(levels / 127.5 - 1)
    np.testing.assert_allclose(found.layers[0], expected, atol=1e-5)
    np.testing.assert_allclose(found.embedding, expected.sum((2, 3)), atol=1e-4)
    assert len(found.layers) == 1
    assert torch.equal(network.compute_layers(images)[0], found.layers[0])
    assert network.layer_channels == [5]
    assert not network.is_differentiable
    # a layer stays one where an image is so small that it has one position
    assert network(images[..., :1, :1]).layers[0].shape == (2, 5, 1, 1)
    assert network(images.double()).embedding.dtype == torch.float64


def test_without_a_vector_the_embedding_is_the_mean_of_the_last_layer(tmp_path):
    images, levels = draw_images()
    found = load_features(write_graph(tmp_path / "a.onnx", outputs=("layer",)))(images)
    np.testing.assert_allclose(found.embedding, mix(levels / 127.5 - 1).mean((2, 3)), atol=1e-5)


def test_of_several_vectors_the_user_names_one(tmp_path):
    path = write_graph(tmp_path / "a.onnx", outputs=("vector", "flat"))
    with pytest.raises(UserError, match=r"set features\.embedding to one of vector, flat"):
        load_features(path)
    found = load_features({"onnx": path, "embedding": "flat"})(draw_images()[0])
    assert found.embedding.shape == (2, 5)
    assert found.layers == []
    with pytest.raises(UserError, match=r"features\.embedding='layer'"):
        OnnxFeatures(write_graph(tmp_path / "b.onnx"), embedding="layer")


def test_range_mean_and_deviation_are_those_that_the_user_states(tmp_path):
    images, levels = draw_images()
    path, mean, std = write_graph(tmp_path / "a.onnx"), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    found = load_features({"onnx": path, "range": [0, 1], "mean": mean, "std": std}).compute_layers(images)[0]
    colours = [np.array(value)[:, None, None] for value in (mean, std)]
    np.testing.assert_allclose(found, mix((levels / 255 - colours[0]) / colours[1]), atol=1e-4)
    found = load_features({"onnx": path, "range": [0, 255], "mean": 100}).compute_layers(images)[0]
    np.testing.assert_allclose(found, mix(levels - 100.0), rtol=1e-4, atol=1e-3)
    found = load_features({"onnx": path, "range": [-3, 5]}).compute_layers(images)[0]
    np.testing.assert_allclose(found, mix(levels / 255 * 8 - 3), atol=1e-4)
    levels_path = write_graph(tmp_path / "b.onnx", kind=TensorProto.UINT8)
    found = load_features({"onnx": levels_path, "range": "uint8"}).compute_layers(images)[0]
    np.testing.assert_allclose(found, mix(levels.astype(float)), rtol=1e-5, atol=1e-3)
    with pytest.raises(UserError, match=r"takes tensor\(uint8\): set features.range=uint8"):
        check_features(levels_path)
    with pytest.raises(UserError, match=r"takes tensor\(float\): set features.range to two numbers"):
        check_features({"onnx": path, "range": "uint8"})


def test_a_fixed_size_is_kept_to(tmp_path):
    images, levels = draw_images(count=3, height=8, width=8)
    path = write_graph(tmp_path / "a.onnx", shape=(1, 3, 4, 4))
    found = load_features(path)(images)
    blocks = (levels / 127.5 - 1)[..., 2:6, 2:6]  # antialiasing is a triangle of the width of two output pixels
    weights = np.array([1, 3, 3, 1]) / 8
    inner = np.einsum("bchw,h,w->bc", (levels / 127.5 - 1)[..., 1:5, 1:5], weights, weights)
    assert blocks.shape[2:] == (4, 4)
    assert found.layers[0].shape == (3, 5, 4, 4)
    np.testing.assert_allclose(found.layers[0][:, :, 1, 1], inner @ MIX.T, atol=1e-5)
    for one, image in zip(found.embedding, images, strict=True):
        np.testing.assert_allclose(load_features(path)(image[None]).embedding[0], one, atol=1e-5)
    with pytest.raises(UserError, match=r"takes \[4, 4\] alone"):
        check_features({"onnx": path, "size": 8})
    assert load_features({"onnx": write_graph(tmp_path / "b.onnx"), "size": [2, 3]})(images).layers[0].shape[2:] == (
        2,
        3,
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"shape": (1, 1, 8, 8)}, "one tensor(float) [N, 3, H, W] is expected"),
        ({"shape": (4, 3, 8, 8)}, "one tensor(float) [N, 3, H, W] is expected"),
        ({"kind": TensorProto.DOUBLE}, "one tensor(float) [N, 3, H, W] is expected"),
        ({"outputs": ("tokens",)}, "its output tokens has the shape [1, 1, 5]"),
    ],
)
def test_other_graphs_are_refused(tmp_path, settings, words):
    with pytest.raises(UserError) as error:
        check_features(write_graph(tmp_path / "a.onnx", **settings))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_no_graph_is_refused(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"no graph")
    with pytest.raises(UserError, match="cannot be read as ONNX"):
        check_features(tmp_path / "a.onnx")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"range": [1, 1]}, "two different numbers"),
        ({"range": "floats"}, "or uint8 is expected"),
        ({"range": "uint8", "mean": 3}, "range=.0, 255."),
        ({"mean": [1, 2]}, "3 numbers"),
        ({"std": 0}, "other numbers than 0"),
        ({"size": 0.5}, "whole numbers"),
        ({"size": 0}, "at least 1"),
        ({"mean": "much"}, "a number is expected"),
    ],
)
def test_impossible_values_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        InputValues(**settings)
