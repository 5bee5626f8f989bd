import json
from statistics import median

import pytest
from torch import nn

from pix2pix_lightning import compose
from pix2pix_lightning.benchmark.__main__ import benchmark, main
from pix2pix_lightning.benchmark.profile import format_advice, format_profile

SMALL = [
    "what=[profile]",
    "data.size=32",
    "data.num_workers=0",
    "data.batch_size=2",
    "generator=unet_128",
    "module.generator.num_downs=2",
    "module.generator.base_channels=4",
    "discriminator=pixel",
    "module.discriminator.base_channels=4",
    "device=cpu",
    "rounds=1",
    "turn=0",
]


def test_a_training_is_profiled_and_options_that_are_off_are_tried(capsys, tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda self: compiled.append(self))  # which takes a minute
    off = ["speed.channels_last=false", "speed.compile=true"]
    data = ["data.cache=cache", "speed.keep_memory=true"]  # leave nothing but the layout
    assert main([*SMALL, *off, *data, "output=out.json"]) == 0
    report = json.loads((tmp_path / "out.json").read_text())
    out, row = capsys.readouterr().out, report["profile"]
    assert report["rows"] == []
    assert row["batch_size"] == 2
    assert len(row["seconds"]) == len(row["profiled_seconds"]) == len(row["as_configured"]) == 1
    assert sum(part["seconds"] for part in row["parts"]) == pytest.approx(median(row["seconds"]))
    assert sum(part["share"] for part in row["parts"]) == pytest.approx(1)
    assert row["overhead"] == pytest.approx(row["profiled_seconds"][0] / row["seconds"][0] - 1)
    assert {part["name"] for part in row["parts"]} > {"generator down.0.conv", "discriminator", "callback WatchNumbers"}
    tried = {one["set"]: one for one in row["advice"]}
    assert "speed.channels_last=true" in tried
    measured = sum(bool(one["ratios"]) for one in row["advice"])  # on a busy machine of the data too
    # both networks, as configured and with and without each option, not for the parts
    assert len(compiled) == 2 * (1 + 2 * measured)
    assert not {"speed.fused_optimizer=true", "speed.keep_memory=true"} & tried.keys()
    for one in row["advice"]:
        assert f"{one['set']:<34}{one['ratio']:.2f} times" in out or f"{one['set']}, {one['ratio']:.2f} times" in out
    table = out[out.index("part of a step") :].split("\n\n")[0].splitlines()
    assert len(table) == 1 + 10 + 2  # a heading, ten parts, what is left, and all
    assert table[-1].split()[:2] == ["a", "step"]
    shown = [float(line.split()[-2]) for line in table[1:]]
    assert sum(shown[:-1]) == pytest.approx(shown[-1], abs=0.1)
    assert str(tmp_path) not in json.dumps(report)
    assert main(["compare=[out.json,out.json]"]) == 0
    assert f"{2 / median(row['seconds']):.2f}" in capsys.readouterr().out


REPORT = {
    "batch_size": 1,
    "seconds": [0.1, 0.2, 0.3],
    "profiled_seconds": [0.25],
    "overhead": 0.25,
    "parts": [
        {"name": "other", "direction": "", "seconds": 0.05, "share": 0.25},
        *({"name": f"generator {i}", "direction": "forward", "seconds": 0.008, "share": 0.04} for i in range(12)),
        {"name": "discriminator a", "direction": "backward", "seconds": 0.004, "share": 0.02},
        {"name": "logging", "direction": "", "seconds": 0.05, "share": 0.25},
    ],
    "page_faults": None,
    "system_seconds": None,
    "epoch_ends": True,
    "as_configured": None,
}


def test_the_rest_is_one_line():
    lines = format_profile({**REPORT, "parts": sorted(REPORT["parts"], key=lambda part: -part["seconds"])})
    assert lines[2].split() == ["logging", "50.00", "25.0%"]
    assert lines[11].split() == ["generator", "8", "forward", "8.00", "4.0%"]
    assert lines[12].split() == ["other", "78.00", "39.0%"]  # 200 - 50 - 9 * 8
    assert lines[13].split() == ["a", "step", "200.00", "100.0%"]
    assert "96.0 ms forward" in lines[15]
    assert "4.0 ms backward" in lines[16]


def test_advice_is_what_gained():
    gained = {"set": "speed.a=true", "reason": "why", "ratio": 1.5, "ratios": [1.4, 1.5, 1.6], "gains": True}
    lost = {**gained, "set": "speed.b=true", "ratio": 0.9, "ratios": [0.9], "gains": False}
    unknown = {**gained, "set": "data.cache=true", "ratio": 1.25, "ratios": []}
    lines = format_advice([gained, lost, unknown, {**gained, "set": "speed.c=true", "ratio": 2.0}])
    assert "1.40 to 1.60" in lines[1]
    assert "not measured" in lines[2]
    assert lines[4].strip() == "together 3.00 times as fast: speed.a=true speed.c=true"
    assert "speed.b=true" in lines[5]
    assert "nothing" in format_advice([lost])[0]
    assert "nothing" in format_advice([])[0]


def test_a_device_whose_kernels_are_not_seen_is_refused(monkeypatch):
    monkeypatch.setattr("pix2pix_lightning.benchmark.measuring.resolve_device", lambda name: "mps")
    with pytest.raises(ValueError, match=r"device=auto: what=\[profile\] .* set device=cpu") as caught:
        benchmark(compose("benchmark", ["what=[profile]"]))
    assert "\n" not in str(caught.value)


def test_crops_and_shapes_that_have_no_plain_counterpart_are_profiled(monkeypatch):
    asked = []

    def stop(cfg):
        asked.append((cfg.data.crop, cfg.data.size))
        raise KeyboardInterrupt

    monkeypatch.setattr("pix2pix_lightning.benchmark.measuring.choose_options", stop)
    words = ["data=folder", "data.resize=none", "data.crop=64", "data.size=[32,64]"]
    with pytest.raises(KeyboardInterrupt):
        benchmark(compose("benchmark", ["what=[profile]", *words]))
    assert asked == [(64, [32, 64])]
    with pytest.raises(ValueError, match=r"data\.crop"):
        benchmark(compose("benchmark", ["what=[profile,step]", *words[:-1]]))
