from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from pix2pix_lightning.benchmark.advice import Option
from pix2pix_lightning.benchmark.cases import Setting
from pix2pix_lightning.benchmark.gains import measure_gains

OPTIONS = [
    Option({"speed.precision": "bf16-mixed"}, "a"),
    Option({"speed.channels_last": True}, "b"),
    Option({"speed.fused_optimizer": True}, "c"),
    Option({"data.num_workers": 2}, "d", "training"),
    Option({"data.cache": True}, "e", "waiting"),
]
RATIOS = {"a": [1.5, 1.4, 1.6], "b": [1.02, 1.02, 1.02], "c": [1.2, 0.9, 0.9, 1.3, 1.2], "d": [1.1, 0.4, 1.1]}


def test_each_option_is_tried_on_top_of_those_that_gained():
    speed = {"precision": "32-true", "winograd_convolutions": True}
    cfg = {"speed": speed, "trainer": {"precision": "${speed.precision}"}, "data": {}}
    setting = Setting(OmegaConf.create(cfg), torch.device("cpu"), Path())
    seen = {}

    def measure(before, after, option):
        seen[option.reason] = [OmegaConf.to_container(one.cfg, resolve=True) for one in (before, after)]
        return RATIOS[option.reason]

    rows = {row["reason"]: row for row in measure_gains(setting, OPTIONS, 0.2, measure)}
    fast = {"precision": "bf16-mixed", "winograd_convolutions": "auto"}
    start = {"speed": speed, "trainer": {"precision": "32-true"}, "data": {}}
    narrow = {"speed": fast, "trainer": {"precision": "bf16-mixed"}, "data": {}}
    assert seen["a"] == [start, narrow]
    assert seen["b"] == [narrow, {**narrow, "speed": {**fast, "channels_last": True}}]
    assert seen["c"][0] == narrow  # too little gained
    assert seen["d"] == [narrow, {**narrow, "data": {"num_workers": 2}}]  # slower in two turns of five
    assert {reason: row["gains"] for reason, row in rows.items()} == {
        "a": True,
        "b": False,
        "c": False,
        "d": True,
        "e": True,
    }
    assert rows["a"]["ratio"] == 1.5
    assert rows["a"]["ratios"] == RATIOS["a"]
    assert rows["a"]["set"] == "speed.precision=bf16-mixed"
    assert rows["b"]["set"] == "speed.channels_last=true"
    assert rows["e"]["ratio"] == pytest.approx(1.25)  # a step without its fifth of waiting
    assert rows["e"]["ratios"] == []
    assert "e" not in seen
