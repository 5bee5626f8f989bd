"""Two processes over gloo, started as a user starts them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from helpers import TINY, make_strips
from pix2pix_lightning import Pix2PixModule, compose
from pix2pix_lightning.checkpoints import read_checkpoint
from pix2pix_lightning.train import train

INSTANCE = [
    "trainer.precision=64-true",
    "module.generator.norm=instance",
    "module.generator.dropout=0.0",
    "module.discriminator.norm=instance",
    "schedule=linear_decay",
    "module.schedule.hold_epochs=2",
]
TWO = [
    "trainer=ddp",
    "trainer.accelerator=cpu",
    "trainer.devices=2",
    "data.batch_size=2",
    "+callbacks.witness._target_=witness.Witness",
]
WITNESS = '''
import json
from lightning.pytorch import Callback


class Witness(Callback):
    """Writes what each rank holds when training ends, and which pairs it saw."""

    def __init__(self):
        self.names = []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.names += batch["name"]

    def on_train_end(self, trainer, module):
        state = {name: value.double().sum().item() for name, value in module.state_dict().items()}
        facts = {"state": state, "names": self.names, "strategy": trainer.strategy._ddp_kwargs}
        with open(f"rank_{trainer.global_rank}.json", "w") as file:
            json.dump(facts, file)
'''


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    return make_strips(tmp_path_factory.mktemp("pairs"), train=8, val=3)


def command(pairs, *overrides):
    Path("witness.py").write_text(WITNESS)
    words = [*TINY, f"data.root={pairs}", *TWO, *overrides]
    process = subprocess.run(
        [sys.executable, "-m", "pix2pix_lightning.train", *words], capture_output=True, text=True, timeout=300
    )
    assert process.returncode == 0, process.stderr
    return [json.loads(Path(f"rank_{rank}.json").read_text()) for rank in (0, 1)]


def weights(folder):
    return read_checkpoint(Path(folder) / "checkpoints/last.ckpt")["state_dict"]


def test_two_processes_equal_one_and_resume(pairs):
    ranks = command(pairs, *INSTANCE, "trainer.max_epochs=3", "run_dir=two")
    assert ranks[0]["state"] == ranks[1]["state"]
    assert not set(ranks[0]["names"][:4]) & set(ranks[1]["names"][:4])
    assert len(set(ranks[0]["names"][:4] + ranks[1]["names"][:4])) == 8

    cfg = compose(
        "train", [*TINY, f"data.root={pairs}", *INSTANCE, "trainer.max_epochs=3", "run_dir=one", "data.batch_size=4"]
    )
    metrics = train(cfg)
    one, two = weights("one"), weights("two")
    for name in one:
        assert (one[name] - two[name]).abs().max() < 1e-9, name
    summary = json.loads(Path("two/summary.json").read_text())
    assert summary["num_devices"] == 2
    for name in ("val/l1", "val/psnr", "val/ssim"):  # three pairs over two ranks, each counted once
        assert summary["metrics"][name] == pytest.approx(metrics[name], abs=1e-6)
    assert len(list(Path("two/gallery/images").iterdir())) >= 2

    command(pairs, *INSTANCE, "trainer.max_epochs=1", "run_dir=parts")
    command(pairs, *INSTANCE, "trainer.max_epochs=3", "run_dir=parts", "resume=parts")
    parts = weights("parts")
    assert all(torch.equal(two[name], parts[name]) for name in two)


def test_batch_norm_and_dropout_train_and_end_equal_on_all_ranks(pairs):
    ranks = command(
        pairs, "trainer.max_epochs=1", "run_dir=two", "trainer.precision=bf16-mixed", "trainer.strategy=auto"
    )
    assert ranks[0]["state"] == ranks[1]["state"]
    assert any("running_mean" in name for name in ranks[0]["state"])
    assert ranks[0]["strategy"]["find_unused_parameters"] is True
    best = read_checkpoint(Path("two/checkpoints/best.ckpt"))
    assert best["pix2pix_lightning"]["batches_seen"] == 2
    assert isinstance(Pix2PixModule.load_from_checkpoint("two/checkpoints/best.ckpt"), Pix2PixModule)


SCRIPT = """
from lightning.pytorch import Trainer
from pix2pix_lightning import PairedDataModule, Pix2PixModule
from witness import Witness

small = {"_target_": "pix2pix_lightning.networks.UNetGenerator", "num_downs": 4, "base_channels": 4}
data = PairedDataModule(PAIRS, size=32, num_workers=0)
module = Pix2PixModule(small, pair_spec=data.pair_spec)
Trainer(accelerator="cpu", devices=2, max_epochs=1, logger=False, enable_checkpointing=False,
        callbacks=[Witness()]).fit(module, data)
"""


def test_a_plain_trainer_with_two_devices_sees_every_pair_once(pairs):
    Path("witness.py").write_text(WITNESS)
    Path("script.py").write_text(SCRIPT.replace("PAIRS", repr(str(pairs))))
    process = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr
    ranks = [json.loads(Path(f"rank_{rank}.json").read_text()) for rank in (0, 1)]
    assert sorted(ranks[0]["names"] + ranks[1]["names"]) == sorted(f"train_{n}" for n in range(8))
    assert ranks[0]["state"] == ranks[1]["state"]


def test_accumulation_over_two_processes_equals_one(pairs):
    settings = [*INSTANCE, "trainer.max_epochs=2", "module.accumulate=2"]
    command(pairs, *settings, "run_dir=two")
    train(compose("train", [*TINY, f"data.root={pairs}", *settings, "run_dir=one", "data.batch_size=4"]))
    one, two = weights("one"), weights("two")
    assert read_checkpoint(Path("two/checkpoints/last.ckpt"))["global_step"] == 4
    for name in one:
        assert (one[name] - two[name]).abs().max() < 1e-9, name
