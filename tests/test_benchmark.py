import copy
import json
import time

import pytest
import torch

from pix2pix_lightning import Pix2PixModule, compose
from pix2pix_lightning.benchmark import benchmark, main
from pix2pix_lightning.benchmarks import measure_step
from pix2pix_lightning.benchmarks.plain_loop import plain_step
from pix2pix_lightning.networks import PatchDiscriminator, UNetGenerator

SMALL = {"_target_": "pix2pix_lightning.networks.UNetGenerator", "num_downs": 4, "base_channels": 2}


def test_the_two_are_measured_in_turn_and_each_by_itself(monkeypatch):
    order = []

    class Slow(Pix2PixModule):
        def training_step(self, batch, batch_idx):
            order.append("ours")
            time.sleep(0.2)

    def fake(device):
        def step(source, target):
            order.append("plain")
            assert source.min() >= -1
            assert source.max() <= 1
            time.sleep(0.05)

        return step

    monkeypatch.setattr("pix2pix_lightning.benchmarks.step.plain_step", fake)
    row = measure_step(Slow(SMALL, None), batch_size=3, size=16, rounds=2, device="cpu", precision="32-true")
    assert order == ["ours", "plain"] * 3
    # what is known of both: a sleep takes at least its time
    assert row["ours"] <= 3 / 0.2
    assert row["plain"] <= 3 / 0.05
    assert row["ratio"] == pytest.approx(row["ours"] / row["plain"])


def test_the_plain_loop_is_the_papers_step(monkeypatch):
    networks = {}

    def keep(name, network):
        networks[name] = network
        return network

    torch.manual_seed(0)
    small_g = UNetGenerator(num_downs=4, base_channels=2, dropout=0.0)
    small_d = PatchDiscriminator(num_layers=1, base_channels=2)
    where = "pix2pix_lightning.benchmarks.plain_loop"
    monkeypatch.setattr(f"{where}.UNetGenerator", lambda: keep("g", small_g.double()))
    monkeypatch.setattr(f"{where}.PatchDiscriminator", lambda: keep("d", small_d.double()))
    module = Pix2PixModule(copy.deepcopy(small_g), copy.deepcopy(small_d)).double()
    source, target = torch.rand(2, 2, 3, 32, 32, dtype=torch.float64) * 2 - 1
    plain_step(torch.device("cpu"))(source, target)
    module.log = lambda *args, **kwargs: None
    (optimizer_g, optimizer_d), _ = module.configure_optimizers()
    output = module.generator(source)
    module.discriminator_loss(source, target, output.detach()).backward()
    optimizer_d.step()
    optimizer_g.zero_grad()
    module.generator_loss(source, target, output).backward()
    optimizer_g.step()
    for ours, theirs in ((module.generator, networks["g"]), (module.discriminator, networks["d"])):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert (a - b).abs().max() < 1e-10


def test_the_door_prints_a_row_for_each_batch_size(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("pix2pix_lightning.benchmarks.step.plain_step", lambda device: lambda s, t: None)
    small = ["module.generator.base_channels=2", "module.discriminator.base_channels=2"]
    assert main(["batch_sizes=[1,2]", "rounds=1", "device=cpu", "output=out.json", *small]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["1", "2"]
    saved = json.loads((tmp_path / "out.json").read_text())
    assert [row["batch_size"] for row in saved["rows"]] == [1, 2]
    with pytest.raises(FileExistsError, match=r"out\.json exists"):
        benchmark(compose("benchmark", ["output=out.json"]))
