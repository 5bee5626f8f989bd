"""The export command: its files can be used, and its errors."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from helpers import make_strips
from pix2pix_lightning import PairSpec, Pix2PixModule, Translator, compose, evaluate, predict
from pix2pix_lightning.checkpoints.files import read_checkpoint
from pix2pix_lightning.checkpoints.junyanz import read_junyanz, write_junyanz
from pix2pix_lightning.export import __main__ as export
from pix2pix_lightning.export.formats import FORMATS, check_keys
from pix2pix_lightning.training.resuming import find_resumed_checkpoint
from small_networks import PALETTE, UNET, save, trained

SMALL = {**UNET, "num_downs": 2, "base_channels": 2}
DEEP = {**UNET, "num_downs": 5, "base_channels": 2, "dropout_at": "junyanz"}
PATCH = {"_target_": "pix2pix_lightning.networks.PatchDiscriminator", "num_layers": 2, "base_channels": 2}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint in a run's folder without config.yaml."""
    return save(
        trained(SMALL, pair_spec=PairSpec(size=32)), tmp_path_factory.mktemp("run") / "checkpoints" / "best.ckpt"
    )


@pytest.fixture(scope="module")
def deep_checkpoint(tmp_path_factory):
    """A checkpoint of networks that the reference implementation has too."""
    module = Pix2PixModule(DEEP, PATCH)
    module.generator.load_state_dict(trained(DEEP).generator.state_dict())
    return save(module, tmp_path_factory.mktemp("deep") / "checkpoints" / "best.ckpt")


@pytest.fixture(scope="module")
def exported(checkpoint, tmp_path_factory):
    """A folder with an exported file of each kind of graph."""
    folder = tmp_path_factory.mktemp("exported")
    words = ["norm=running", "values_in=uint8", "values_out=uint8"]
    assert call(checkpoint, folder / "image.onnx", "--config-dir", str(folder)) == 0
    assert call(checkpoint, folder / "running_bytes.onnx", *words) == 0
    assert call(checkpoint, folder / "model.pt2", "format=torch", "size=64") == 0
    return folder


def call(checkpoint, output, *words):
    return export.main([f"checkpoint={checkpoint}", f"output={output}", *words])


def read_line(capsys):
    printed = capsys.readouterr()
    (line,) = (printed.err or printed.out).strip().splitlines()
    return line


def make_image(height, width):
    rng = np.random.default_rng([height, width])
    return rng.integers(20, 220, (height, width, 3), np.uint8)


def assert_within_one_level(one, other):
    assert one.shape == other.shape
    assert np.abs(one.astype(int) - other).max() <= 1


@pytest.mark.filterwarnings("ignore:.*treespec:FutureWarning")
@pytest.mark.parametrize(
    ("name", "norm", "tolerance"),
    [("image.onnx", "image", 1e-5), ("running_bytes.onnx", "running", 0.02), ("model.pt2", "image", 1e-5)],
)
def test_exported_graphs_translate_as_the_checkpoint(checkpoint, exported, name, norm, tolerance):
    graph = Translator(exported / name, trust=name.endswith("pt2"))
    plain = Translator(checkpoint, norm=norm)
    for size in [(64, 64)] if name.endswith("pt2") else [(32, 32), (20, 50), (70, 133)]:
        assert_within_one_level(graph(make_image(*size)), plain(make_image(*size)))
    floats = torch.rand(2, 3, 64, 64) * 2 - 1
    torch.testing.assert_close(graph(floats), plain(floats), rtol=0, atol=tolerance)
    assert not graph(floats).requires_grad  # else files of floats could not be written
    options = {"trust": name.endswith("pt2"), "rounding": "floor"}
    if "bytes" in name:
        with pytest.raises(ValueError, match=r"rounding=floor.*values_out=float"):
            Translator(exported / name, **options)
    else:
        lower = Translator(exported / name, **options)(make_image(64, 64))
        assert set(np.unique(graph(make_image(64, 64)).astype(int) - lower)) == {0, 1}
    if norm == "running":
        large = make_image(200, 300)
        assert_within_one_level(Translator(exported / name, tile=96)(large), plain(large))


def test_metadata_contain_overrides_but_no_paths(exported):
    onnx = pytest.importorskip("onnx")
    commands = {}
    for name in ("image.onnx", "running_bytes.onnx"):
        (entry,) = onnx.load(exported / name).metadata_props
        assert str(exported) not in entry.value
        commands[name] = json.loads(entry.value)["made_by"]["export"]
    assert commands == {"image.onnx": "", "running_bytes.onnx": "norm=running values_in=uint8 values_out=uint8"}


@pytest.mark.parametrize(
    ("kind", "output"), [("safetensors", "model.safetensors"), ("junyanz", "folder"), ("hub", "folder")]
)
def test_exported_weights_translate_as_the_checkpoint(deep_checkpoint, capsys, kind, output):
    assert call(deep_checkpoint, output, f"format={kind}") == 0
    assert output in read_line(capsys)
    image = make_image(20, 50)
    assert (Translator(output)(image) == Translator(deep_checkpoint)(image)).all()


def test_commands_read_exported_files(checkpoint, exported, tmp_path):
    Image.fromarray(make_image(40, 48)).save("photo.png")
    onnx_path = exported / "image.onnx"
    assert predict.main([f"checkpoint={onnx_path}", "input=photo.png", "output=out"]) == 0
    expected = Translator(checkpoint)("photo.png")
    assert_within_one_level(np.asarray(Image.open("out/photo.png")), expected)
    make_strips(tmp_path / "pairs", train=1, val=2, side=32)
    write_junyanz(trained(DEEP).generator, Path("latest_net_G.pth"))
    data = ["data=folder", "data.root=pairs", "data.size=32", "data.num_workers=0"]
    results = {}
    for path in (onnx_path, checkpoint, Path("latest_net_G.pth")):
        assert evaluate.main([f"checkpoint={path}", *data, f"output={path.name}_out"]) == 0
        results[path] = json.loads(Path(f"{path.name}_out/metrics.json").read_text())
    means = [results[path]["metrics"]["l1"]["mean"] for path in (onnx_path, checkpoint)]
    assert means[0] == pytest.approx(means[1], abs=1e-4)
    assert results[Path("latest_net_G.pth")]["batches_seen"] is None


def test_junyanz_files_both_ways(deep_checkpoint, capsys):
    assert call(deep_checkpoint, "theirs", "format=junyanz") == 0
    assert read_junyanz(Path("theirs/latest_net_D.pth")).role == "discriminator"
    before = {path.name: path.read_bytes() for path in Path("theirs").iterdir()}
    capsys.readouterr()
    assert call(deep_checkpoint, "theirs", "format=junyanz") == 1
    line = read_line(capsys)
    assert "latest_net_G.pth" in line
    assert "overwrite=true" in line
    assert call("theirs", "again", "format=junyanz") == 0
    first = torch.load("theirs/latest_net_G.pth", weights_only=True)
    second = torch.load("again/latest_net_G.pth", weights_only=True)
    assert list(first) == list(second)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not Path("again/latest_net_D.pth").exists()
    capsys.readouterr()
    Path("link").symlink_to("theirs")
    assert call("theirs/latest_net_G.pth", "link", "format=junyanz", "overwrite=true") == 1  # onto its own checkpoint
    assert "checkpoint=theirs" in read_line(capsys)
    assert {path.name: path.read_bytes() for path in Path("theirs").iterdir()} == before


def test_pair_of_a_junyanz_generator():
    write_junyanz(trained(DEEP).generator, Path("latest_net_G.pth"))
    palette = json.dumps([list(colour) for colour in PALETTE]).replace(" ", "")
    words = [f"pair.source={{kind:label,palette:{palette}}}", "pair.size=128", "pair.direction=b_to_a"]
    assert call("latest_net_G.pth", "model.safetensors", "format=safetensors", *words) == 0
    spec = Translator("model.safetensors").pair_spec
    assert (spec.size, spec.direction, spec.source.palette) == (128, "b_to_a", PALETTE)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["format=tflite"], ["format=tflite", "onnx, torch, safetensors, ckpt, junyanz, hub, web"]),
        (["mode=paper"], ["mode=paper"]),
        (["output=model.bin"], ["output=model.bin.onnx"]),
        (["checkpoint=text.onnx"], ["text.onnx"]),
        (["license=mit"], ["license=mit", "hub"]),
        (["trust=true"], ["trust=True"]),
        (["weights=ema"], ["callbacks=[default,ema]"]),
        (["pair.size=128"], ["pair={'size': 128}"]),
    ],
)
def test_errors(checkpoint, tmp_path, capsys, words, parts):
    (tmp_path / "text.onnx").write_text("text")
    given = {word.partition("=")[0]: word for word in [f"checkpoint={checkpoint}", "output=model.onnx", *words]}
    assert export.main(list(given.values())) == 1
    line = read_line(capsys)
    assert line.startswith("error: ")
    assert all(part in line for part in parts), line
    assert [path.name for path in tmp_path.iterdir()] == ["text.onnx"]


def test_keys_that_a_format_ignores():
    defaults = dict(compose("export", ["checkpoint=x", "output=x"]))
    values = {"norm": "running", "values_in": "uint8", "values_out": "uint8", "size": 64, "runtime": "dist"}
    values |= {"license": "mit", "pictures": True, "push_to": "me/x", "private": False, "half": True}
    used = {
        "onnx": {"norm", "values_in", "values_out"},
        "torch": {"norm", "values_in", "values_out", "size"},
        "web": {"norm", "runtime"},
        "hub": {"license", "pictures", "push_to", "private"},
        "safetensors": set(),
        "ckpt": {"half"},
        "junyanz": set(),
    }
    assert used.keys() == FORMATS.keys()
    for name in FORMATS:
        check_keys(name, defaults)
        for key, value in values.items():
            if key in used[name]:
                check_keys(name, {**defaults, key: value})
            else:
                with pytest.raises(ValueError, match=f"{key}={value}.*format={name}"):
                    check_keys(name, {**defaults, key: value})


class Hostile:
    """An object whose pickle runs code."""

    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def write_hostile_files(folder, checkpoint, onnx_path):
    """Write files that are not what their names say."""
    folder.mkdir()
    for suffix in ("pth", "onnx", "pt2", "safetensors"):
        (folder / f"page.{suffix}").write_text("<!DOCTYPE html><html></html>")
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "code.pth").write_bytes(pickle.dumps(Hostile()))
    for suffix in ("pt", "ckpt", "pt2"):
        torch.save({"generator": Hostile()}, folder / f"code.{suffix}")
    torch.save({"layer.weight": torch.zeros(3)}, folder / "other.pth")
    torch.save(torch.nn.Linear(1, 1), folder / "model.pth")
    for path in (checkpoint, onnx_path):
        content = path.read_bytes()
        for share in (0.1, 0.5, 0.99):
            (folder / f"cut_{share}{path.suffix}").write_bytes(content[: int(share * len(content))])
    return sorted(folder.iterdir())


def test_hostile_files_run_nothing(checkpoint, exported, tmp_path):
    for path in write_hostile_files(tmp_path / "files", checkpoint, exported / "image.onnx"):
        with pytest.raises(ValueError, match=path.name) as caught:
            Translator(path)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 600
    with pytest.raises(ValueError, match=r"page\.pt2"):
        Translator(tmp_path / "files" / "page.pt2", trust=True)
    assert not Path("executed").exists()


def test_pt2_needs_trust_and_its_size(exported):
    with pytest.raises(ValueError, match="trust=true"):
        Translator(exported / "model.pt2")
    with pytest.raises(ValueError, match="resize=64"):
        Translator(exported / "model.pt2", trust=True)(np.zeros((80, 80, 3), np.uint8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "running"}, "norm='running'.*image.onnx"),
        ({"mode": "paper"}, "dropout=on.*image.onnx"),
        ({"precision": "bf16"}, "precision=bf16.*image.onnx"),
        ({"weights": "ema"}, "weights=ema.*image.onnx"),
        ({"tile": 64}, "norm=running"),
    ],
)
def test_options_that_an_exported_graph_cannot_follow(exported, options, message):
    with pytest.raises(ValueError, match=message):
        Translator(exported / "image.onnx", **options)(make_image(100, 100))


def test_foreign_onnx_files():
    import onnx

    tensors = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3, 8, 8]) for name in "xy"]
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", tensors[:1], tensors[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, "other.onnx")
    with pytest.raises(ValueError, match=r"other.onnx"):
        Translator("other.onnx")
    good = {"format": 1, "pair_spec": {}, "side_multiple": 8, "min_side": 8, "norm": "image", "context": None}
    good |= {"input": "float", "output": "float"}
    for metadata, message in (
        *(({**good, "side_multiple": value}, f"side_multiple={value}") for value in (0, -8, True)),
        ({**good, "min_side": 12}, "min_side=12"),
        ({**good, "context": -3}, "context=-3"),
        ({**good, "norm": "x"}, "norm='x'"),
        ({**good, "pair_spec": {"source": 3}}, "source=3"),
        ({**good, "pair_spec": {"size": "big"}}, "size=big"),
        ({"format": 2}, "format 2"),
        ({"format": 1, "pair_spec": 3}, "pair_spec=3"),
        ([], "other.onnx"),
    ):
        onnx.helper.set_model_props(model, {"pix2pix_lightning": json.dumps(metadata)})
        onnx.save(model, "other.onnx")
        with pytest.raises(ValueError, match=message):
            Translator("other.onnx")
    for wrong in ({"input": "uint8"}, {"pair_spec": {"source": {"kind": "grayscale"}}}):
        onnx.helper.set_model_props(model, {"pix2pix_lightning": json.dumps({**good, **wrong})})
        onnx.save(model, "other.onnx")
        with pytest.raises(ValueError, match="metadata are wrong"):
            Translator("other.onnx")(np.zeros((8, 8, 3), np.uint8))


def test_the_ema_weights_of_the_last_checkpoint_of_a_gan_are_exported(tmp_path, capsys):
    module, run = Pix2PixModule(SMALL, PATCH, pair_spec=PairSpec(size=32)), tmp_path / "run"
    ema = {name: value / 2 for name, value in trained(SMALL).generator.state_dict().items()}
    _, last = (save(module, run / "checkpoints" / f"{name}.ckpt") for name in ("best", "last"))
    torch.save({**torch.load(last, weights_only=True), "ema_generator": ema}, last)
    for weights, expected in (("auto", ema), ("trained", module.generator.state_dict())):
        output = tmp_path / f"{weights}.ckpt"
        assert call(run, output, "format=ckpt", f"weights={weights}") == 0
        assert capsys.readouterr().err.startswith(f"weights: {last} (")
        saved = read_checkpoint(output)
        assert all(torch.equal(saved["state_dict"][f"generator.{key}"], value) for key, value in expected.items())
        made_by = saved["pix2pix_lightning"]["made_by"]
        chosen = "trained" if weights == "trained" else "ema"
        assert (made_by["checkpoint"], made_by["weights"]) == ("last.ckpt", chosen)


def test_ckpt_holds_the_generator_alone_and_where_it_is_from(tmp_path):
    generator = trained(SMALL, pair_spec=PairSpec(size=32)).generator
    module = Pix2PixModule(SMALL, PATCH, pair_spec=PairSpec(size=32))
    module.generator.load_state_dict(generator.state_dict())
    module.batches_seen = 3
    run, output = tmp_path / "run", tmp_path / "small.ckpt"
    checkpoint = save(module, run / "checkpoints" / "best.ckpt")
    command = "python -m pix2pix_lightning.train data=folder data.root=/home/me/pairs seed=3"
    (run / "config.yaml").write_text(json.dumps({"command": command, "data": {"root": "/home/me", "size": 32}}))
    (run / "metrics.csv").write_text("epoch,step,val/l1,val/psnr\n0,1,0.5,10\n1,2,0.25,12\n2,5,0.1,20\n")
    assert call(checkpoint, output, "format=ckpt", "half=true") == 0
    saved = read_checkpoint(output)
    assert saved["state_dict"].keys() == {f"generator.{name}" for name in generator.state_dict()}
    for name, value in generator.state_dict().items():
        assert torch.equal(saved["state_dict"][f"generator.{name}"], value.half())
    own = saved["pix2pix_lightning"]
    assert (own["batches_seen"], own["data"]) == (3, {"size": 32})
    assert own["made_by"]["train"] == command.replace("/home/me/pairs", "'<path>'").replace(
        "data.root='", "'data.root="
    )
    assert own["made_by"]["metrics"] == {"l1": 0.25, "psnr": 12.0}  # of the validation before the third batch
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    difference = Translator(output, device="cpu")(picture).astype(int) - Translator(checkpoint, device="cpu")(picture)
    assert abs(difference).max() <= 1
    with pytest.raises(ValueError, match=f"init_from={output}"):
        find_resumed_checkpoint(OmegaConf.create({"resume": str(output), "run_dir": None}))
