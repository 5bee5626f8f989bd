"""ONNX files, in onnxruntime beside the plain generator."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from pix2pix_lightning import PairSpec, Pix2PixModule, SideSpec
from pix2pix_lightning.export import onnx_file
from pix2pix_lightning.export.graph import Graph
from pix2pix_lightning.export.onnx_file import write_onnx
from small_networks import GENERATORS, PALETTE, UNET, by_hand, trained

LABEL = SideSpec(kind="label", palette=PALETTE)
NUMBERS = SideSpec(kind="label", num_classes=3)
GRAYSCALE = SideSpec(kind="grayscale")


def run(path, source):
    session = onnxruntime.InferenceSession(str(path))
    (output,) = session.run(["target"], {"source": np.ascontiguousarray(source)})
    return output


@pytest.mark.parametrize(
    ("name", "norm"), [*((name, "image") for name in GENERATORS), ("unet", "running"), ("resnet", "running")]
)
def test_any_batch_and_any_sides(tmp_path, name, norm):
    module = trained(GENERATORS[name])
    said = write_onnx(Graph(module, norm), tmp_path / "model.onnx", made_by={})
    assert said < 1e-4
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    for shape in [(1, 3, 8, 8), (2, 3, 24, 8), (5, 3, 16, 32), (1, 3, 256, 264)]:
        source = torch.rand(shape) * 2 - 1
        expected = by_hand(module, source, norm)
        assert expected.std() > 0.05
        np.testing.assert_allclose(run(tmp_path / "model.onnx", source.numpy()), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("source", "target"),
    [(SideSpec(), SideSpec()), (GRAYSCALE, LABEL), (LABEL, GRAYSCALE), (NUMBERS, NUMBERS), (LABEL, SideSpec())],
    ids=["rgb", "grey to label", "label to grey", "numbers", "label to rgb"],
)
def test_bytes_in_and_out(tmp_path, source, target):
    module = trained(UNET, pair_spec=PairSpec(source=source, target=target))
    write_onnx(Graph(module, "image", "uint8", "uint8"), tmp_path / "model.onnx", made_by={})
    rng = np.random.default_rng(0)
    if source.kind == "label":
        classes = rng.integers(0, 3, (2, 16, 24))
        seen = np.stack([np.where(classes == number, 1.0, -1.0) for number in range(3)], 1)
        noise = rng.integers(-20, 21, (2, 3, 16, 24)) if source.palette else 0
        held = np.array(PALETTE)[classes].transpose(0, 3, 1, 2) if source.palette else classes[:, None]
        held = (held + noise).clip(0, 255).astype(np.uint8)
    else:
        held = rng.integers(0, 256, (2, source.channels, 16, 24), np.uint8)
        seen = held / 127.5 - 1
    output = by_hand(module, torch.from_numpy(seen).float(), "image")
    actual = run(tmp_path / "model.onnx", held)
    assert actual.dtype == np.uint8
    if target.kind == "label":
        classes = output.argmax(1).numpy()
        expected = np.array(PALETTE)[classes].transpose(0, 3, 1, 2) if target.palette else classes[:, None]
        best, second = output.topk(2, 1).values.unbind(1)
        clear = (best - second > 1e-4).numpy()[:, None]
        assert clear.mean() > 0.99
        assert ((actual == expected) | ~clear).all()
    else:
        levels = (output.double().numpy() + 1) * 127.5
        assert actual.shape == levels.shape
        assert np.abs(actual - levels.clip(0, 255)).max() < 0.5 + 1e-2


def test_a_palette_that_is_snapped_to(tmp_path):
    side = SideSpec(palette=PALETTE, snap_palette=True)
    module = trained(UNET, pair_spec=PairSpec(source=side))
    write_onnx(Graph(module, "running", "uint8", "float"), tmp_path / "model.onnx", made_by={})
    held = np.random.default_rng(0).integers(0, 256, (1, 3, 16, 8), np.uint8)
    snapped = side.prepare(held[0].transpose(1, 2, 0)).transpose(2, 0, 1)[None]
    expected = by_hand(module, torch.from_numpy(snapped / 127.5 - 1).float(), "running")
    np.testing.assert_allclose(run(tmp_path / "model.onnx", held), expected, rtol=0, atol=1e-5)


def test_what_the_file_says_of_itself(tmp_path):
    spec = PairSpec(source=LABEL, size=64, direction="b_to_a")
    module = trained(UNET, pair_spec=spec)
    for norm in ("image", "running"):
        write_onnx(Graph(module, norm, "uint8"), tmp_path / f"{norm}.onnx", made_by={"checkpoint": "best.ckpt"})
        model = onnx.load(tmp_path / f"{norm}.onnx")
        assert {"pix2pix_lightning"} == {prop.key for prop in model.metadata_props}
        facts = json.loads(model.metadata_props[0].value)
        assert PairSpec.from_dict(facts["pair_spec"]) == spec
        assert (facts["norm"], facts["input"], facts["output"]) == (norm, "uint8", "float")
        assert (facts["side_multiple"], facts["min_side"]) == (8, 8)
        assert (facts["context"] is None) == (norm == "image")
        assert facts["made_by"].keys() == {"checkpoint", "pix2pix_lightning", "torch", "onnx"}
        sides = [dim.dim_param for dim in model.graph.input[0].type.tensor_type.shape.dim]
        assert sides[0] == "batch"
        assert "8*height" in sides[2]
        assert all(not tensor.external_data for tensor in model.graph.initializer)


def test_a_graph_that_is_not_the_module_is_not_kept(tmp_path, monkeypatch):
    module = trained(UNET)
    write = onnx_file.check_outputs

    def after_a_step(graph, *arguments):
        with torch.no_grad():
            next(graph.generator.parameters()).mul_(1.01)
        return write(graph, *arguments)

    (tmp_path / "kept.onnx").write_text("what was there")
    monkeypatch.setattr(onnx_file, "check_outputs", after_a_step)
    for name, overwrite in (("new.onnx", False), ("kept.onnx", True)):
        with pytest.raises(ValueError, match=r"differs from the module by .*e-0\d at .*nothing is written"):
            write_onnx(Graph(module), tmp_path / name, made_by={}, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.onnx"]
    assert (tmp_path / "kept.onnx").read_text() == "what was there"
    with pytest.raises(FileExistsError, match="overwrite=true"):
        write_onnx(Graph(module), tmp_path / "kept.onnx", made_by={})


def test_of_bytes_a_step_is_seen_too(tmp_path, monkeypatch):
    check = onnx_file.check_outputs
    for spec in (PairSpec(), PairSpec(target=LABEL)):
        module = trained(UNET, pair_spec=spec)

        def after_a_step(graph, *arguments):
            with torch.no_grad():
                next(graph.generator.parameters()).mul_(1.2)
            return check(graph, *arguments)

        monkeypatch.setattr(onnx_file, "check_outputs", after_a_step)
        with pytest.raises(ValueError, match="differs from the module"):
            write_onnx(Graph(module, values_out="uint8"), tmp_path / "new.onnx", made_by={})
    assert not list(tmp_path.iterdir())


def test_the_module_is_left_as_it_was(tmp_path):
    module = trained(UNET).train()
    state = {key: value.clone() for key, value in module.state_dict().items()}
    write_onnx(Graph(module), tmp_path / "model.onnx", made_by={})
    torch.testing.assert_close(module.state_dict(), state, rtol=0, atol=0)
    assert all(layer.training for layer in module.generator.modules())
    assert not any("forward" in vars(layer) for layer in module.generator.modules())


@pytest.mark.parametrize(("name", "value"), [("norm", "batch"), ("values_in", "int8"), ("values_out", "float16")])
def test_unknown_values(name, value):
    with pytest.raises(ValueError, match=f"{name}='{value}' is unknown"):
        Graph(trained(UNET), **{name: value})


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["image", "running"])
def test_the_whole_unet_256(tmp_path, norm):
    module = Pix2PixModule({"_target_": UNET["_target_"]}, None)
    assert write_onnx(Graph(module, norm), tmp_path / "model.onnx", made_by={}) < 1e-4
