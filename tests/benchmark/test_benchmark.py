import json
import re

import pytest

from pix2pix_lightning import compose
from pix2pix_lightning.benchmark.__main__ import benchmark, main

SMALL = [
    "size=32",
    "generator=unet_128",
    "module.generator.num_downs=5",
    "module.generator.base_channels=4",
    "discriminator=patch_16",
    "module.discriminator.base_channels=4",
    "device=cpu",
    "rounds=2",
    "turn=0",
]
MOVED = {"per_network": {"generator": 4_000_000, "discriminator": 1_000_000}, "find_unused": 9_000_000}


@pytest.mark.slow
def test_everything_is_measured_beside_the_reference(capsys, tmp_path, monkeypatch):
    where = "pix2pix_lightning.benchmark.communication.measure_communication"
    monkeypatch.setattr(where, lambda: MOVED)
    assert main([*SMALL, "batch_sizes=[2]", "speed.precision=32-true", "output=out.json"]) == 0
    out = capsys.readouterr().out
    report = json.loads((tmp_path / "out.json").read_text())
    rows = {row["what"]: row for row in report["rows"]}
    assert [name for name in rows if name != "prediction, bf16"] == [
        "step",
        "training",
        "prediction",
        "data",
        "data, cached",
    ]
    for row in rows.values():
        ours, reference = row["ours"], row["reference"]
        assert len(ours["seconds"]) == len(reference["seconds"]) == 2
        assert row["ratio"] == pytest.approx(ours["images_per_second"] / reference["images_per_second"])
        assert f"{row['what']:<13}{row['batch_size']:>6}{ours['images_per_second']:>11.2f}" in out
    step, training = rows["step"], rows["training"]
    assert step["flop"] == training["flop"] > 1e6
    rate = report["matrix_rate"]["float32"]  # of the training's precision
    assert step["ours"]["share"] == pytest.approx(step["flop"] / 2 * step["ours"]["images_per_second"] / rate)
    bare = training["bare_step"]["images_per_second"]
    assert training["overhead"] == pytest.approx(bare / training["ours"]["images_per_second"] - 1)
    for side in ("ours", "reference"):
        parts = step["memory"][side]
        assert parts["gradients"] > 0
        assert parts["optimizer"] > 2 * parts["gradients"]  # two moments and counters
        assert parts["activations"] > 0
    assert report["communication"] == MOVED
    assert "generator 4.0, discriminator 1.0; with find_unused_parameters 9.0" in out
    assert report["machine"]["cores"] >= 1
    assert report["versions"]["torch"]
    assert report["settings"]["module"]["generator"]["num_downs"] == 5
    assert report["settings"]["data"]["size"] == 32
    assert "auto" not in report["settings"]["speed"].values()
    assert str(tmp_path) not in json.dumps(report)

    before = out
    assert main(["compare=[out.json,out.json]"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == ""  # they differ in nothing
    assert sum(line.endswith("1.00") for line in lines) >= 15
    assert before != lines
    with pytest.raises(FileExistsError, match=r"out\.json exists"):
        benchmark(compose("benchmark", ["output=out.json"]))


@pytest.mark.slow
def test_runtimes_are_compared_on_one_image(capsys, tmp_path, monkeypatch):
    asked = []
    where = "pix2pix_lightning.benchmark.measuring.choose_compile"
    monkeypatch.setattr(where, lambda cfg, data: asked.append(len(data.train_dataloader())))  # as on a GPU
    shallow = "module.generator.num_downs=2"  # exports take time by the number of layers
    assert main([*SMALL, shallow, "what=runtimes", "output=out.json"]) == 0
    rows = {row["what"]: row for row in json.loads((tmp_path / "out.json").read_text())["rows"]}
    always = {"runtimes, 32", "runtimes, torch", "runtimes, onnx", "runtimes, int8"}
    assert rows.keys() - {"runtimes, bf16", "runtimes, openvino"} == always
    for row in rows.values():
        assert row["ratio"] == pytest.approx(row["ours"]["images_per_second"] / row["reference"]["images_per_second"])
    assert asked[0] > 0
    assert "runtimes, onnx" in capsys.readouterr().out


@pytest.fixture(scope="module")
def composed():
    return compose("benchmark")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("what", ["step", "gallop"], "what=gallop is unknown: some of step, training"),
        ("what", "gallop", "what=gallop is unknown"),
        ("batch_sizes", [4, 0], "batch_sizes=0"),
        ("batch_sizes", [], "batch_sizes=[]: at least one"),
        ("rounds", 0, "rounds=0"),
        ("turn", -1, "turn=-1: seconds are expected"),
        ("allocator", "theirs", "allocator=theirs is unknown: one of own, same"),
        ("device", "abacus", "device=abacus is unknown: one of auto, cpu"),
        ("compare", ["a.json"], "compare=['a.json']: two files are expected"),
        ("compare", ["a.json", "b.json"], "compare: a.json does not exist"),
    ],
)
def test_a_value_that_cannot_be_is_named(composed, key, value, message):
    cfg = composed.copy()
    cfg[key] = value
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        benchmark(cfg)
    assert "\n" not in str(caught.value)


def test_an_error_on_the_command_line_is_one_line(capsys):
    assert main(["round=3"]) == 1
    assert capsys.readouterr().err == "error: round is no key of this configuration: did you mean rounds?\n"


def test_groups_and_keys_of_a_training_can_be_given():
    cfg = compose("benchmark", ["experiment=quickstart", "generator=resnet_6", "speed=off", "trainer=cpu", "size=64"])
    assert cfg.module.generator.num_blocks == 6
    assert cfg.data.batch_size == compose("train", ["experiment=quickstart"]).data.batch_size
    assert cfg.speed.channels_last is False
    assert cfg.device == "cpu"
    assert compose("benchmark", ["data.size=128"]).size == 128
