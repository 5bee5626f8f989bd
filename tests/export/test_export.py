"""The command, in this process: what it writes can be used, and what it says of mistakes."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import make_strips
from pix2pix_lightning import Pix2PixModule, Translator, evaluate, predict
from pix2pix_lightning.checkpoints.junyanz import read_junyanz
from pix2pix_lightning.export import __main__ as export
from small_networks import PALETTE, UNET, save, trained

DEEP = {**UNET, "num_downs": 5, "dropout_at": "junyanz"}
PATCH = {"_target_": "pix2pix_lightning.networks.PatchDiscriminator", "num_layers": 2, "base_channels": 4}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Of a run without a config.yaml."""
    module = trained(DEEP)
    whole = Pix2PixModule(DEEP, PATCH)
    whole.generator.load_state_dict(module.generator.state_dict())
    return save(whole, tmp_path_factory.mktemp("run") / "checkpoints" / "best.ckpt")


@pytest.fixture(scope="module")
def onnx_file(checkpoint, tmp_path_factory):
    """Of the checkpoint, with the statistics of the image."""
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    assert call(checkpoint, path) == 0
    return path


def call(checkpoint, output, *words):
    return export.main([f"checkpoint={checkpoint}", f"output={output}", *words])


def line(capsys):
    printed = capsys.readouterr()
    (only,) = (printed.err or printed.out).strip().splitlines()
    return only


def picture(height, width):
    rng = np.random.default_rng([height, width])
    return rng.integers(20, 220, (height, width, 3), np.uint8)


def assert_a_level_apart(one, other):
    assert one.shape == other.shape
    assert np.abs(one.astype(int) - other).max() <= 1


@pytest.mark.filterwarnings("ignore:.*treespec:FutureWarning")
@pytest.mark.parametrize(
    ("kind", "norm"),
    [
        *(("onnx", "image"), ("onnx", "running"), ("onnx, bytes", "image"), ("torch", "image")),
        *(("safetensors", "running"), ("junyanz", "image"), ("hub", "running")),
    ],
)
def test_what_is_exported_gives_what_the_checkpoint_gives(checkpoint, tmp_path, capsys, kind, norm):
    name, _, values = kind.partition(", ")
    ending = {"onnx": "model.onnx", "torch": "model.pt2", "safetensors": "model.safetensors"}.get(name, "folder")
    fixed = name in ("onnx", "torch")
    words = [
        f"format={name}",
        *([f"norm={norm}"] if fixed else []),
        *(["values_in=uint8", "values_out=uint8"] if values else []),
    ]
    assert call(checkpoint, "out/" + ending, *words) == 0
    assert f"out/{ending}" in line(capsys)
    opened = Translator(f"out/{ending}", trust=name == "torch", **({} if fixed else {"norm": norm}))
    plain = Translator(checkpoint, norm=norm)
    sizes = [(64, 64), (70, 133)] if name == "torch" else [(32, 32), (20, 50), (70, 133)]
    for size in sizes:
        assert_a_level_apart(opened(picture(*size)), plain(picture(*size)))
    floats = torch.rand(2, 3, 64, 96) * 2 - 1
    tolerance = 0.02 if values else 1e-5
    torch.testing.assert_close(opened(floats), plain(floats), rtol=0, atol=tolerance)
    if norm == "running" and name == "onnx":
        large = picture(200, 300)
        in_tiles = Translator(f"out/{ending}", tile=192)
        assert_a_level_apart(in_tiles(large), plain(large))


def test_the_doors_take_what_was_exported(checkpoint, onnx_file, tmp_path, capsys):
    Image.fromarray(picture(40, 48)).save("photo.png")
    make_strips(tmp_path / "pairs", train=1, val=2, side=64)
    assert call(checkpoint, "theirs", "format=junyanz") == 0
    for name, folder in ((str(onnx_file), "a"), ("theirs/latest_net_G.pth", "b"), (str(checkpoint), "c")):
        assert predict.main([f"checkpoint={name}", "input=photo.png", f"output={folder}"]) == 0
        data = ["data=folder", "data.root=pairs", "data.size=64", "data.num_workers=0"]
        words = [f"checkpoint={name}", *(data if name.endswith("pth") else [*data, "data.size=256"])]
        assert evaluate.main([*words, f"output={folder}/figures"]) == 0
    images = [np.asarray(Image.open(f"{folder}/photo.png")) for folder in "abc"]
    assert_a_level_apart(images[0], images[2])
    assert (images[1] == images[2]).all()
    figures = {folder: json.loads(Path(f"{folder}/figures/metrics.json").read_text()) for folder in "abc"}
    assert figures["a"]["metrics"]["l1"]["mean"] == pytest.approx(figures["c"]["metrics"]["l1"]["mean"], abs=1e-4)
    assert figures["b"]["batches_seen"] is None
    capsys.readouterr()


def test_j_s_files_go_there_and_back(checkpoint, capsys):
    assert call(checkpoint, "theirs", "format=junyanz") == 0
    assert line(capsys) == "latest_net_G.pth and latest_net_D.pth in theirs"
    assert read_junyanz(Path("theirs/latest_net_D.pth")).role == "discriminator"
    before = {path.name: path.read_bytes() for path in Path("theirs").iterdir()}
    assert call(checkpoint, "theirs", "format=junyanz") == 1
    assert "latest_net_G.pth exists: choose another output, or say overwrite=true" in line(capsys)
    assert call("theirs", "again", "format=junyanz") == 0
    first = torch.load("theirs/latest_net_G.pth", weights_only=True)
    second = torch.load("again/latest_net_G.pth", weights_only=True)
    assert list(first) == list(second)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not Path("again/latest_net_D.pth").exists()
    assert {path.name: path.read_bytes() for path in Path("theirs").iterdir()} == before


def test_of_a_generator_of_j_s_with_classes(capsys):
    module = trained({**DEEP, "in_channels": 3})
    from pix2pix_lightning.checkpoints.junyanz import write_junyanz

    write_junyanz(module.generator, Path("latest_net_G.pth"))
    palette = json.dumps([list(colour) for colour in PALETTE]).replace(" ", "")
    words = [f"pair.source={{kind:label,palette:{palette}}}", "pair.size=128", "pair.direction=b_to_a"]
    assert call("latest_net_G.pth", "model.safetensors", "format=safetensors", *words) == 0
    spec = Translator("model.safetensors").pair_spec
    assert (spec.size, spec.direction, spec.source.palette) == (128, "b_to_a", PALETTE)
    capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["format=tflite"], ["format=tflite is unknown", "onnx, torch, safetensors, junyanz, hub, web"]),
        (["mode=paper"], ["mode=paper", "no noise that a seed determines", "use predict"]),
        (["output=model.bin"], ["ends with .onnx", "say output=model.bin.onnx"]),
        (["norm=batch"], ["norm='batch' is unknown"]),
        (["values_in=int8"], ["values_in='int8' is unknown"]),
        (["checkpoint=none.ckpt"], ["none.ckpt does not exist"]),
        (["checkpoint=text.onnx"], ["is an exported graph"]),
        (["format=torch", "output=m.pt2", "size=100"], ["size=100", "multiples of 32"]),
        (["norm=running", "format=junyanz", "output=m"], ["norm=running does nothing for format=junyanz"]),
        (["license=mit"], ["license=mit does nothing for format=onnx, it is for hub: leave it out"]),
        (["trust=true"], ["trust=True", "a list of packages"]),
        (["format=torch", "output=m.pt2", "size=abc"], ["size=abc", "multiples of 32"]),
        (["weights=ema"], ["has no EMA weights"]),
        (["pair.size=128"], ["pair={'size': 128}", "leave pair out"]),
    ],
)
def test_mistakes(checkpoint, tmp_path, capsys, words, parts):
    (tmp_path / "text.onnx").write_text("text")
    given = {word.partition("=")[0]: word for word in [f"checkpoint={checkpoint}", "output=model.onnx", *words]}
    assert export.main(list(given.values())) == 1
    said = line(capsys)
    assert said.startswith("error: ")
    assert all(part in said for part in parts), said
    assert [path.name for path in tmp_path.iterdir()] == ["text.onnx"]


class Runs:
    """What a pickle that wants to run code looks like."""

    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def hostile_files(folder):
    """Files that are none of what their names say."""
    (folder / "page.pth").write_text("<!DOCTYPE html><html></html>")
    (folder / "page.onnx").write_text("<!DOCTYPE html><html></html>")
    (folder / "page.pt2").write_text("<!DOCTYPE html><html></html>")
    (folder / "page.safetensors").write_text("<!DOCTYPE html><html></html>")
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "code.pth").write_bytes(pickle.dumps(Runs()))
    torch.save({"generator": Runs()}, folder / "code.pt")
    torch.save({"generator": Runs()}, folder / "code.ckpt")
    torch.save({"generator": Runs()}, folder / "code.pt2")
    torch.save({"layer.weight": torch.zeros(3)}, folder / "other.pth")
    torch.save(torch.nn.Linear(1, 1), folder / "model.pth")
    return sorted(path.name for path in folder.iterdir())


def test_hostile_files_get_a_line_and_run_nothing(checkpoint, onnx_file, tmp_path, capsys):
    folder = tmp_path / "files"
    folder.mkdir()
    content = checkpoint.read_bytes()
    for share in (0.1, 0.5, 0.99):
        (folder / f"cut_{share}.ckpt").write_bytes(content[: int(share * len(content))])
    whole = onnx_file.read_bytes()
    for share in (0.1, 0.5, 0.99):
        (folder / f"cut_{share}.onnx").write_bytes(whole[: int(share * len(whole))])
    Image.new("RGB", (8, 8)).save("photo.png")
    for name in hostile_files(folder):
        words = [f"checkpoint={folder / name}", "input=photo.png", "output=out"]
        assert predict.main(words) == 1, name
        said = line(capsys)
        assert said.startswith("error: "), said
        assert name in said
        assert len(said) < 600
    assert not Path("executed").exists()
    assert not Path("out").exists()
    assert predict.main([f"checkpoint={folder / 'page.pt2'}", "input=photo.png", "output=out", "trust=true"]) == 1
    assert "cannot be read as a program" in line(capsys)


def test_a_pt2_is_read_when_it_is_trusted_alone(checkpoint, capsys):
    assert call(checkpoint, "model.pt2", "format=torch", "size=64") == 0
    assert "of 64 x 64 alone" in capsys.readouterr().out
    Image.new("RGB", (64, 64)).save("photo.png")
    words = ["checkpoint=model.pt2", "input=photo.png", "output=out"]
    assert predict.main(words) == 1
    assert "say trust=true" in line(capsys)
    Image.new("RGB", (80, 80)).save("larger.png")
    assert predict.main(["checkpoint=model.pt2", "input=larger.png", "output=out", "trust=true"]) == 1
    assert "exported for 64 x 64 alone: say resize=64" in line(capsys)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "running"}, "norm='running', but .*model.onnx was exported with 'image'"),
        ({"mode": "paper"}, "dropout=on of .*model.onnx"),
        ({"precision": "bf16"}, "precision=bf16 of .*model.onnx"),
        ({"weights": "ema"}, "weights=ema of .*model.onnx"),
        ({"tile": 64}, "normalises by the statistics of an image"),
    ],
)
def test_what_an_exported_graph_cannot_do(onnx_file, options, message):
    with pytest.raises(ValueError, match=message):
        Translator(onnx_file, **options)(picture(100, 100))


def test_an_onnx_file_of_somebody_else(tmp_path):
    import onnx

    tensor = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 8, 8])
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [tensor],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, "other.onnx")
    with pytest.raises(ValueError, match=r"other.onnx does not say what its images mean"):
        Translator("other.onnx")
    good = {"format": 1, "pair_spec": {}, "side_multiple": 8, "min_side": 8, "norm": "image", "context": None}
    good |= {"input": "float", "output": "float"}
    for facts, message in (
        *(({**good, "side_multiple": value}, f"side_multiple={value}") for value in (0, -8, True)),
        ({**good, "min_side": 12}, "min_side=12"),
        ({**good, "context": -3}, "context=-3"),
        ({**good, "norm": "x"}, "norm='x'"),
        ({**good, "pair_spec": {"source": 3}}, "does not describe a SideSpec"),
        ({**good, "pair_spec": {"size": "big"}}, "size='big'"),
        ({"format": 2}, "has format 2"),
        ({"format": 1, "pair_spec": 3}, "says pair_spec=3"),
        ([], "does not say"),
    ):
        onnx.helper.set_model_props(model, {"pix2pix_lightning": json.dumps(facts)})
        onnx.save(model, "other.onnx")
        with pytest.raises(ValueError, match=message):
            Translator("other.onnx")
    for lie in ({"input": "uint8"}, {"pair_spec": {"source": {"kind": "grayscale"}}}):
        onnx.helper.set_model_props(model, {"pix2pix_lightning": json.dumps({**good, **lie})})
        onnx.save(model, "other.onnx")
        with pytest.raises(ValueError, match="the file is not what it says"):
            Translator("other.onnx")(np.zeros((8, 8, 3), np.uint8))
