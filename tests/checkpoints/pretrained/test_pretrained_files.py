"""Modules as folders and files: lossless round trips, and safe reading of files from strangers."""

import json
import os
import random
import re
import stat
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pix2pix_lightning import Pix2PixModule
from pix2pix_lightning.checkpoints.pretrained import (
    Card,
    is_pretrained,
    load_pretrained,
    read_pretrained,
    write_safetensors,
)
from pix2pix_lightning.cli.errors import format_error
from pix2pix_lightning.networks import PatchDiscriminator, UNetGenerator

SMALL_G = {"_target_": "pix2pix_lightning.networks.UNetGenerator", "num_downs": 3, "base_channels": 4}
SMALL_D = {"_target_": "pix2pix_lightning.networks.PatchDiscriminator", "num_layers": 1, "base_channels": 4}
LABELS = {"source": {"kind": "label", "palette": [[0, 0, 9], [9, 0, 0]]}, "size": 32, "direction": "b_to_a"}


@pytest.fixture
def module():
    module = Pix2PixModule(SMALL_G, SMALL_D, pair_spec=LABELS, weights={"l1": 7.0}, seed=3)
    module.batches_seen = 11
    module.generator(torch.rand(2, 2, 32, 32))  # changes the running statistics
    return module


def parsed(path):
    """Parse a safetensors file by the specification of the format, without the library."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    metadata = header.pop("__metadata__")
    body = content[8 + length :]
    return metadata, {name: (entry["shape"], body[slice(*entry["data_offsets"])]) for name, entry in header.items()}


def assert_holds(path, module):
    _, tensors = parsed(path)
    state = module.state_dict()
    assert tensors.keys() == state.keys()
    for name, value in state.items():
        shape, content = tensors[name]
        assert shape == list(value.shape)
        assert content == value.cpu().contiguous().numpy().tobytes(), name


def assert_equal(loaded, module):
    assert loaded.state_dict().keys() == module.state_dict().keys()
    for name, value in module.state_dict().items():
        assert loaded.state_dict()[name].dtype == value.dtype
        assert torch.equal(loaded.state_dict()[name], value.cpu()), name


def error_line(action):
    """Return the line that the user sees for the error of an action."""
    with pytest.raises((ValueError, OSError)) as caught:
        action()
    line = format_error(caught.value, "predict")
    assert line is not None, "a traceback"
    assert "\n" not in line
    assert len(line) < 700
    return line


def as_file(module, path):
    write_safetensors(module, path)
    return path


def as_folder(module, path):
    module.save_pretrained(path)
    return path


@pytest.mark.parametrize("write", [as_file, as_folder])
@pytest.mark.parametrize("discriminator", [SMALL_D, None])
def test_round_trip_is_lossless(tmp_path, write, discriminator):
    module = Pix2PixModule(SMALL_G, discriminator, pair_spec=LABELS, conditional=False, gradient_clip=2.0, seed=3)
    module.batches_seen = 11
    path = write(module, tmp_path / "m.safetensors")
    assert is_pretrained(path)
    assert_holds(path / "model.safetensors" if path.is_dir() else path, module)
    loaded = Pix2PixModule.from_pretrained(path)
    assert_equal(loaded, module)
    assert not loaded.training
    assert (loaded.hparams, loaded.pair_spec, loaded.batches_seen) == (module.hparams, module.pair_spec, 11)


def test_outputs_equal_those_of_the_checkpoint(module, tmp_path):
    checkpoint = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}
    module.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "a.ckpt")
    module.save_pretrained("model")
    one, other = Pix2PixModule.load_from_checkpoint(tmp_path / "a.ckpt"), Pix2PixModule.from_pretrained("model")
    source = torch.rand(2, 2, 32, 40) * 2 - 1
    assert torch.equal(one(source), other(source))
    assert torch.equal(one(source), module.eval()(source))
    assert read_pretrained("model").keys() == checkpoint.keys()
    assert read_pretrained("model")["hyper_parameters"] == checkpoint["hyper_parameters"]


def test_content_of_a_folder(module):
    module.save_pretrained("model")
    config = json.loads(Path("model/config.json").read_text())
    assert config["module"] == "pix2pix_lightning.models.pix2pix.Pix2PixModule"
    assert config["batches_seen"] == 11
    assert config["hyper_parameters"]["generator"] == {**SMALL_G, "in_channels": 2, "out_channels": 3}
    assert config["hyper_parameters"]["pair_spec"]["direction"] == "b_to_a"
    assert json.loads(parsed(Path("model/model.safetensors"))[0]["pix2pix_lightning"]) == config
    assert Path("model/README.md").read_text().startswith("---\nlibrary_name: pix2pix-lightning\n")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in Path("model").iterdir()}
    assert modes == {0o666 & ~umask()}, "the umask of the user decides"


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_weights_of_a_folder_can_be_used_alone(module):
    module.save_pretrained("model")
    Path("model/model.safetensors").rename("alone.safetensors")
    assert_equal(Pix2PixModule.from_pretrained("alone.safetensors"), module)


def test_config_json_takes_precedence_over_the_header(module):
    module.save_pretrained("model")
    config = json.loads(Path("model/config.json").read_text())
    Path("model/config.json").write_text(json.dumps({**config, "batches_seen": 12}))
    for path in ("model", "model/model.safetensors"):
        assert Pix2PixModule.from_pretrained(path).batches_seen == 12


def test_channels_last_weights(module, tmp_path):
    module.to(memory_format=torch.channels_last)
    weight = module.generator.down[1].conv.weight
    assert not weight.is_contiguous()
    assert_holds(as_file(module, tmp_path / "m.safetensors"), module)
    assert not weight.is_contiguous(), "the module stays as it is"
    assert_equal(load_pretrained(Pix2PixModule, tmp_path / "m.safetensors"), module)


class Tied(nn.Module):
    """A network with a shared weight, and with a buffer that is a view of another."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1)
        self.second = nn.Conv2d(3, 3, 1)
        self.second.weight = self.first.weight
        self.register_buffer("whole", torch.arange(6.0))
        self.register_buffer("part", self.whole[2:])

    def forward(self, x):
        return self.second(self.first(x))


def test_weights_that_share_memory(tmp_path):
    module = Pix2PixModule({"_target_": f"{__name__}.Tied"}, None)
    path = as_file(module, tmp_path / "m.safetensors")
    assert_holds(path, module)
    loaded = Pix2PixModule.from_pretrained(path, trust=[__name__])
    assert_equal(loaded, module)
    assert loaded.generator.second.weight is loaded.generator.first.weight


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_other_precisions(module, tmp_path, dtype):
    module.to(dtype)
    assert_equal(Pix2PixModule.from_pretrained(as_file(module, tmp_path / "m.safetensors")), module)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_from_a_gpu_to_the_cpu(module, tmp_path):
    module.cuda().to(memory_format=torch.channels_last)
    path = as_file(module, tmp_path / "m.safetensors")
    assert_holds(path, module)
    loaded = Pix2PixModule.from_pretrained(path)
    assert next(loaded.parameters()).device.type == "cpu"
    assert_equal(loaded, module)


def test_live_objects_must_be_given_again(tmp_path):
    def live():
        networks = UNetGenerator(num_downs=3, base_channels=4), PatchDiscriminator(6, num_layers=1, base_channels=4)
        return dict(zip(("generator", "discriminator"), networks, strict=True))

    module = Pix2PixModule(**live())
    path = as_folder(module, tmp_path / "model")
    line = error_line(lambda: Pix2PixModule.from_pretrained(path))
    assert line == f"{path} was made with live objects: give generator=, discriminator= as arguments"
    assert_equal(Pix2PixModule.from_pretrained(path, **live()), module)


class Extended(Pix2PixModule):
    def __init__(self, *args, edge_weight=1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.save_hyperparameters("edge_weight")


def test_subclass(tmp_path):
    path = as_folder(Extended(SMALL_G, None, edge_weight=7.0), tmp_path / "model")
    assert Extended.from_pretrained(path).hparams["edge_weight"] == 7.0
    assert read_pretrained(path)["pix2pix_lightning"]["module"] == f"{__name__}.Extended"
    assert "edge_weight" in error_line(lambda: Pix2PixModule.from_pretrained(path))


def test_hyperparameters_must_be_plain_data():
    module = Extended(SMALL_G, None, edge_weight=Path("a"))
    line = error_line(lambda: module.save_pretrained("model"))
    assert line.startswith("a hyperparameter is no plain data (")
    assert not Path("model").exists()


# ---- writing -----------------------------------------------------------------------------------------------------


def snapshot(folder):
    return {str(path): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_existing_model_is_overwritten_only_on_request(module):
    module.save_pretrained("model", card=Card("mine", {"pictures/0.png": np.zeros((2, 2, 3), np.uint8)}))
    Path("model/notes.txt").write_text("keep this")
    before = snapshot("model")
    other = Pix2PixModule(SMALL_G, None)
    assert "overwrite=true" in error_line(lambda: other.save_pretrained("model"))
    assert snapshot("model") == before
    other.save_pretrained("model", overwrite=True)
    assert_equal(Pix2PixModule.from_pretrained("model"), other)
    assert Path("model/notes.txt").read_text() == "keep this"

    write_safetensors(module, "m.safetensors")
    assert "overwrite=true" in error_line(lambda: write_safetensors(other, "m.safetensors"))
    write_safetensors(other, "m.safetensors", overwrite=True)
    assert_equal(Pix2PixModule.from_pretrained("m.safetensors"), other)
    assert sorted(path.name for path in Path().iterdir()) == ["m.safetensors", "model"], "nothing is left behind"


def test_other_folders_are_never_written_to(module):
    Path("project").mkdir()
    Path("project/README.md").write_text("of a project")
    for overwrite in (False, True):
        error_line(lambda overwrite=overwrite: module.save_pretrained("project", overwrite=overwrite))
    assert snapshot("project") == {"project/README.md": b"of a project"}
    Path("a_file").touch()
    assert error_line(lambda: module.save_pretrained("a_file")) == "a_file is a file: give a folder"
    Path("empty").mkdir()
    module.save_pretrained("empty")
    assert_equal(Pix2PixModule.from_pretrained("empty"), module)


def test_folder_is_written_completely_or_not_at_all(module):
    module.save_pretrained("model")
    before = snapshot(".")
    pictures = {"pictures/0.png": np.zeros((2, 2, 3), np.uint8), "pictures/1.none": np.zeros((2, 2, 3), np.uint8)}
    for folder in ("model", "other"):
        line = error_line(lambda folder=folder: module.save_pretrained(folder, card=Card("", pictures), overwrite=True))
        assert "names no image format" in line
    assert snapshot(".") == before
    assert [path.name for path in Path().iterdir()] == ["model"]


def test_without_the_package(module, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    Path("m.safetensors").touch()
    for action in (lambda: module.save_pretrained("model"), lambda: Pix2PixModule.from_pretrained("m.safetensors")):
        assert 'is missing: pip install "pix2pix-lightning[hub]"' in error_line(action)
    assert not Path("model").exists()


# ---- hostile files -----------------------------------------------------------------------------------------------

HOSTILE = [
    "os.system",
    "builtins.eval",
    "torch.nn.modules.module.torch.hub.load",
    "torch.nn.parallel.distributed.os.system",
    "torch.optim.optimizer.torch.load",
    "pix2pix_lightning.utils.instantiate.build",
    "pix2pix_lightning.inference.Translator",
    "subprocess.Popen",
    "pix2pix_lightning_evil.Network",
    None,
]


def with_configuration(folder, change, *, in_header):
    """A saved model whose configuration is changed, in ``config.json`` or in the header of a file by itself."""
    path = Path(folder)
    config = change(json.loads((path / "config.json").read_text()))
    text = config if isinstance(config, str) else json.dumps(config)
    if not in_header:
        (path / "config.json").write_text(text)
        return path
    from safetensors.torch import load_file, save_file

    save_file(load_file(path / "model.safetensors"), "alone.safetensors", {"pix2pix_lightning": text})
    return Path("alone.safetensors")


@pytest.mark.parametrize(("target", "in_header"), [(target, False) for target in HOSTILE] + [("os.system", True)])
def test_configuration_with_untrusted_targets_calls_nothing(module, monkeypatch, tmp_path, target, in_header):
    (tmp_path / "pix2pix_lightning_evil.py").write_text(
        f"import pathlib, torch; pathlib.Path({str(tmp_path / 'imported')!r}).touch()\n"
        "class Network(torch.nn.Module): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    called = []
    monkeypatch.setattr("os.system", lambda *a: called.append(a))
    monkeypatch.setattr("pix2pix_lightning.models.components.build", lambda *a: called.append(a))
    monkeypatch.setattr("pix2pix_lightning.checkpoints.restore.build", lambda *a: called.append(a))
    module.save_pretrained("model")
    bad = {"_target_": target, "command": "touch owned"}
    for where in ("generator", "discriminator", "adversarial", "reconstruction", "nested", "optimizer_g", "schedule"):

        def change(config, where=where):
            parts = config["hyper_parameters"]
            if where == "nested":
                parts["generator"]["norm"] = {"deep": [bad]}
            else:
                parts[where] = {"l1": bad} if where == "reconstruction" else bad
            return config

        path = with_configuration("model", change, in_header=in_header)
        line = error_line(lambda path=path: Pix2PixModule.from_pretrained(path))
        assert "_target_" in line or f"{path} names {target!r}" in line
    assert not called
    assert not (tmp_path / "imported").exists()


def without(key):
    return lambda config: {name: value for name, value in config.items() if name != key}


def part(name, **changes):
    def change(config):
        parts = config["hyper_parameters"]
        return {**config, "hyper_parameters": {**parts, name: {**(parts[name] or {}), **changes}}}

    return change


ABSURD = {"in_channels": 2**14, "out_channels": 2**18, "kernel_size": 1}
MALFORMED = {
    "no JSON": lambda config: "{",
    "an HTML page": lambda config: "<!DOCTYPE html><html><body>Sign in</body></html>",
    "a list": lambda config: [config],
    "a number": lambda config: 3,
    "empty": lambda config: " ",
    "enormous": lambda config: {**config, "more": "x" * 2**21},
    "deep": lambda config: "[" * 100_000,
    "a later format": lambda config: {**config, "format": 2},
    "format is a word": lambda config: {**config, "format": "1"},
    "hyperparameters are a list": lambda config: {**config, "hyper_parameters": []},
    "live is a word": lambda config: {**config, "live": "generator"},
    "live names numbers": lambda config: {**config, "live": [3]},
    "batches are a word": lambda config: {**config, "batches_seen": "many"},
    "a surprise": lambda config: {**config, "hyper_parameters": {**config["hyper_parameters"], "surprise": 3}},
    "the generator is a word": lambda config: {**config, "hyper_parameters": {"generator": "unet"}},
    "losses are a number": lambda config: {**config, "hyper_parameters": {"reconstruction": 3}},
    "a side is a number": part("pair_spec", source=3),
    "an unknown side": part("pair_spec", third={}),
    "other widths": part("generator", base_channels=8),
    "absurd widths": part("generator", base_channels=2**14),
    "other depth": part("generator", num_downs=4),
    "no such argument": part("generator", surprise=1),
    "an absurd loss": part("reconstruction", l2={"_target_": "torch.nn.Conv2d", **ABSURD}),
    **{f"no {key}": without(key) for key in ("format", "module", "live", "batches_seen", "hyper_parameters")},
}


@pytest.mark.parametrize(
    ("name", "in_header"),
    [(name, False) for name in MALFORMED] + [(name, True) for name in ("no JSON", "enormous", "a later format")],
)
def test_malformed_configuration_is_refused_in_one_line(module, name, in_header):
    module.save_pretrained("model")
    path = with_configuration("model", MALFORMED[name], in_header=in_header)
    assert error_line(lambda: Pix2PixModule.from_pretrained(path)).startswith(str(path))


def test_shapes_are_checked_before_memory_is_allocated(module, monkeypatch):
    module.save_pretrained("model")
    path = with_configuration("model", part("generator", base_channels=2**12), in_header=False)
    monkeypatch.setattr(Pix2PixModule, "__init__", lambda *a, **k: pytest.fail("it is being built"))
    line = error_line(lambda: Pix2PixModule.from_pretrained(path))
    assert "generator.down.0.conv.weight is 4x2x4x4" in line
    assert "4096x2x4x4" in line


def cut(content):
    return content[: len(content) // 2]


def other_weights(content):
    from safetensors.torch import save

    text = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])["__metadata__"]
    del text["checksum"]
    return save({"layer.weight": torch.zeros(3)}, text)


BYTES = {
    "cut in the middle": cut,
    "cut in the header": lambda content: content[:300],
    "cut in the length": lambda content: content[:5],
    "one byte short": lambda content: content[:-1],
    "empty": lambda content: b"",
    "an HTML page": lambda content: b"<!DOCTYPE html><html><body>Sign in to download</body></html>",
    "a header of a billion bytes": lambda content: struct.pack("<Q", 2**40) + content[8:],
    "weights of another model": other_weights,
}


@pytest.mark.parametrize(("name", "in_folder"), [(name, False) for name in BYTES] + [("one byte short", True)])
def test_damaged_weights_are_refused(module, name, in_folder):
    module.save_pretrained("model")
    weights = Path("model/model.safetensors")
    weights.write_bytes(BYTES[name](weights.read_bytes()))
    path = Path("model") if in_folder else weights.rename("alone.safetensors")
    line = error_line(lambda: Pix2PixModule.from_pretrained(path))
    assert line.startswith(str(path))
    if name == "weights of another model":
        assert re.search(r"it lacks \d\d weights, such as generator\.down\.0", line)
    else:
        assert line.endswith(": copy or download it again")


def test_surplus_weights_are_refused(module):
    module.save_pretrained("model")
    Pix2PixModule(SMALL_G, None, pair_spec=LABELS).save_pretrained("other")
    Path("other/config.json").replace("model/config.json")
    assert re.fullmatch(
        r"model does not make a Pix2PixModule: it has no place for \d+ of the saved weights, such as discriminator\..*",
        error_line(lambda: Pix2PixModule.from_pretrained("model")),
    )


def test_safetensors_of_other_projects_are_refused():
    from safetensors.torch import save_file

    save_file({"layer.weight": torch.zeros(3)}, "bert.safetensors")
    assert error_line(lambda: Pix2PixModule.from_pretrained("bert.safetensors")).startswith("bert.safetensors")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_folder_without_one_of_the_files(module, name):
    module.save_pretrained("model")
    Path("model", name).unlink()
    assert is_pretrained(Path("model"))
    assert error_line(lambda: Pix2PixModule.from_pretrained("model")).startswith(f"model has no {name}: give")


def test_other_paths_are_not_pretrained(tmp_path):
    assert not is_pretrained(tmp_path)
    (tmp_path / "a.ckpt").touch()
    assert not is_pretrained(tmp_path / "a.ckpt")
    assert error_line(lambda: read_pretrained(tmp_path / "no.safetensors")).startswith(
        f"{tmp_path}/no.safetensors does not exist: give"
    )


def test_damaged_headers_raise_user_errors_only(module, tmp_path):
    path, rng, refused = as_file(module, tmp_path / "m.safetensors"), random.Random(0), 0
    content = path.read_bytes()
    length = 8 + struct.unpack("<Q", content[:8])[0]
    for _ in range(40):
        damaged = bytearray(content)
        for _ in range(3):
            damaged[rng.randrange(length)] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            Pix2PixModule.from_pretrained(path)
        except (ValueError, OSError) as error:
            assert format_error(error, "predict") is not None  # noqa: PT017
            refused += 1
    assert refused > 10
