"""ONNX files in onnxruntime, compared with the plain generator."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from many_graphs import run_graphs
from pix2pix_lightning import PairSpec, Pix2PixModule
from pix2pix_lightning.data.sides import build_side
from pix2pix_lightning.export import onnx_file, output_check
from pix2pix_lightning.export.graph import Graph
from pix2pix_lightning.export.onnx_file import write_onnx
from small_networks import GENERATORS, PALETTE, UNET, by_hand, trained

LABEL = build_side(kind="label", palette=PALETTE)
NUMBERS = build_side(kind="label", num_classes=3)
IGNORING = build_side(kind="label", num_classes=3, ignore_index=1)
GRAYSCALE = build_side(kind="grayscale")
SNAPPED = build_side(palette=PALETTE, snap_palette=True)
SMALL = {**UNET, "num_downs": 2, "base_channels": 2}


def run_onnx(path, source):
    session = onnxruntime.InferenceSession(str(path))
    (output,) = session.run(["target"], {"source": np.ascontiguousarray(source)})
    return output


def build_convolution(source=None, target=None):
    """A module whose generator is one convolution, which is exported quickly."""
    spec = PairSpec(source=source or build_side(), target=target or build_side())
    torch.manual_seed(0)
    layer = nn.Conv2d(spec.source.channels, spec.target.channels, 3, padding=1)
    return Pix2PixModule(nn.Sequential(layer, nn.Tanh()), None, pair_spec=spec)


@pytest.mark.parametrize(
    ("generator", "norm"),
    [
        pytest.param(SMALL, "running", marks=pytest.mark.slow),
        ({**SMALL, "norm": "instance", "upsample": "resize"}, "image"),
        pytest.param({**GENERATORS["resnet"], "base_channels": 2}, "image", marks=pytest.mark.slow),
    ],
    ids=["running", "instance", "resnet"],
)
def test_any_batch_and_any_sides(tmp_path, generator, norm):
    module = trained(generator).train()
    state = {key: value.clone() for key, value in module.state_dict().items()}
    assert write_onnx(Graph(module, norm), tmp_path / "model.onnx", made_by={"checkpoint": "best.ckpt"}) < 1e-4
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    torch.testing.assert_close(module.state_dict(), state, rtol=0, atol=0)
    assert all(layer.training for layer in module.generator.modules())
    assert not any("forward" in vars(layer) for layer in module.generator.modules())
    for shape in [(1, 3, 8, 8), (2, 3, 24, 8), (5, 3, 16, 32), (1, 3, 256, 264)]:
        source = torch.rand(shape) * 2 - 1
        expected = by_hand(module, source, norm)
        assert expected.std() > 0.02
        np.testing.assert_allclose(run_onnx(tmp_path / "model.onnx", source.numpy()), expected, rtol=0, atol=1e-5)
    model = onnx.load(tmp_path / "model.onnx")
    (prop,) = model.metadata_props
    metadata = json.loads(prop.value)
    assert prop.key == "pix2pix_lightning"
    assert metadata["made_by"]["checkpoint"] == "best.ckpt"
    assert metadata["made_by"]["onnx"] == onnx.__version__
    assert (metadata["norm"], metadata["side_multiple"]) == (norm, 4)
    sides = [dim.dim_param for dim in model.graph.input[0].type.tensor_type.shape.dim]
    assert sides[0] == "batch"
    assert "4*height" in sides[2]
    assert all(not tensor.external_data for tensor in model.graph.initializer)


BYTES = {
    "palette to classes": (LABEL, IGNORING),
    "classes to palette": (NUMBERS, LABEL),
    "snapped to grayscale": (SNAPPED, GRAYSCALE),
}


def draw_bytes(source):
    """Bytes of a side, (2, C, 16, 24), and what a network sees of them."""
    rng = np.random.default_rng(0)
    if source.kind == "label":
        classes = rng.integers(0, 3, (2, 16, 24))
        seen = np.stack([np.where(classes == number, 1.0, -1.0) for number in range(3)], 1)
        noise = rng.integers(-20, 21, (2, 3, 16, 24)) if source.palette else 0
        pixels = np.array(PALETTE)[classes].transpose(0, 3, 1, 2) if source.palette else classes[:, None]
        return (pixels + noise).clip(0, 255).astype(np.uint8), seen
    pixels = rng.integers(0, 256, (2, source.channels, 16, 24), np.uint8)
    snapped = np.stack([source.prepare(image.transpose(1, 2, 0)).transpose(2, 0, 1) for image in pixels])
    return pixels, snapped / 127.5 - 1


@pytest.fixture(scope="module")
def bytes_out(tmp_path_factory):
    """What one file makes of the bytes of each row."""
    modules = {name: build_convolution(*sides) for name, sides in BYTES.items()}
    graphs = [Graph(module, "image", "uint8", "uint8") for module in modules.values()]
    sources = [draw_bytes(source)[0] for source, _ in BYTES.values()]
    outputs = run_graphs(graphs, sources, tmp_path_factory.mktemp("bytes") / "model.onnx")
    return dict(zip(BYTES, zip(modules.values(), outputs, strict=True), strict=True))


@pytest.mark.parametrize("name", BYTES)
def test_bytes_in_and_out(name, bytes_out):
    source, target = BYTES[name]
    module, actual = bytes_out[name]
    output = by_hand(module, torch.from_numpy(draw_bytes(source)[1]).float(), "image")
    assert actual.dtype == np.uint8
    if target.kind == "label":
        if target is IGNORING:
            assert (output.argmax(1) == 1).any()
            output[:, 1] = -2.0
        classes = output.argmax(1).numpy()
        expected = np.array(PALETTE)[classes].transpose(0, 3, 1, 2) if target.palette else classes[:, None]
        best, second = output.topk(2, 1).values.unbind(1)
        is_clear = (best - second > 1e-4).numpy()[:, None]
        assert is_clear.mean() > 0.99
        assert ((actual == expected) | ~is_clear).all()
    else:
        levels = (output.double().numpy() + 1) * 127.5
        assert actual.shape == levels.shape
        assert np.abs(actual - levels.clip(0, 255)).max() < 0.5 + 1e-2


@pytest.mark.parametrize("norm", ["image", "running"])
def test_metadata(norm):
    spec = PairSpec(source=LABEL, size=64, direction="b_to_a")
    metadata = Graph(trained(UNET, pair_spec=spec), norm, "uint8").build_metadata({"checkpoint": "best.ckpt"})
    metadata = json.loads(json.dumps(metadata))
    assert PairSpec.from_dict(metadata["pair_spec"]) == spec
    assert (metadata["norm"], metadata["input"], metadata["output"]) == (norm, "uint8", "float")
    assert (metadata["side_multiple"], metadata["min_side"]) == (8, 8)
    assert (metadata["context"] is None) == (norm == "image")
    assert metadata["made_by"].keys() == {"checkpoint", "pix2pix_lightning", "torch"}


@pytest.mark.slow
def test_photos_are_coloured_in_the_graph(tmp_path):
    source, target = build_side("lab", part="l"), build_side("lab", part="ab")
    module = build_convolution(source, target)
    write_onnx(Graph(module, "image", "file", "file"), tmp_path / "model.onnx", made_by={})
    photo = np.random.default_rng(0).integers(60, 190, (1, 3, 16, 24), np.uint8)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    (output,) = session.run(None, {session.get_inputs()[0].name: photo})
    assert (output.dtype, output.shape) == (np.uint8, photo.shape)
    light, colour = (side.encode(torch.from_numpy(photo)) for side in (source, target))
    with torch.no_grad():
        colour = module.generator(light)
    expected = target.decode(colour, light).numpy()
    assert np.abs(output.astype(int) - expected).max() <= 1


def test_graph_with_other_outputs_is_not_written(tmp_path, monkeypatch):
    module = build_convolution()
    check = onnx_file.check_outputs

    def check_after_a_step(graph, *arguments):
        with torch.no_grad():
            next(graph.generator.parameters()).mul_(1.01)
        return check(graph, *arguments)

    (tmp_path / "old.onnx").write_text("old")
    with pytest.raises(FileExistsError, match="overwrite=true"):
        write_onnx(Graph(module), tmp_path / "old.onnx", made_by={})
    monkeypatch.setattr(onnx_file, "check_outputs", check_after_a_step)
    with pytest.raises(ValueError, match=r"e-0\d"):
        write_onnx(Graph(module), tmp_path / "old.onnx", made_by={}, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["old.onnx"]
    assert (tmp_path / "old.onnx").read_text() == "old"


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["image", "running"])
def test_unet_256(tmp_path, monkeypatch, norm):
    monkeypatch.setattr(onnx_file, "choose_sizes", output_check.choose_sizes)
    module = Pix2PixModule({"_target_": UNET["_target_"]}, None)
    assert write_onnx(Graph(module, norm), tmp_path / "model.onnx", made_by={}) < 1e-4
