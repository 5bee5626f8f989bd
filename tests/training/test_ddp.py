"""Several processes over gloo, started as a user starts them."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from helpers import TINY, make_strips
from pix2pix_lightning import Pix2PixModule, compose
from pix2pix_lightning.checkpoints.files import read_checkpoint
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
import os
import sys
import time
from lightning.pytorch import Callback

WRITTEN = set()


def note(event, args):
    """Which files below the present folder were opened for writing, moved or made."""
    if event == "open" and isinstance(args[0], str) and args[2] & (os.O_WRONLY | os.O_RDWR):
        WRITTEN.add(os.path.relpath(args[0]))
    elif event in ("os.rename", "os.mkdir"):
        WRITTEN.add(os.path.relpath(args[event == "os.rename"]))


sys.addaudithook(note)


class Witness(Callback):
    """Writes what each rank holds when training ends, which pairs it saw, and which files it wrote."""

    def __init__(self):
        self.names = []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.names += batch["name"]

    def teardown(self, trainer, module, stage):
        with open(f"written_{trainer.global_rank}.json", "w") as file:
            json.dump(sorted(WRITTEN), file)

    def on_train_end(self, trainer, module):
        state = {name: value.double().sum().item() for name, value in module.state_dict().items()}
        facts = {"state": state, "names": self.names, "strategy": trainer.strategy._ddp_kwargs}
        with open(f"rank_{trainer.global_rank}.json", "w") as file:
            json.dump(facts, file)


class Fails(Callback):
    """In one process, after the first batch."""

    def __init__(self, rank, how):
        self.rank, self.how = rank, how

    def on_train_batch_end(self, trainer, module, *args):
        if trainer.global_rank == self.rank:
            if self.how == "raise":
                raise RuntimeError(f"rank {self.rank} broke")
            time.sleep(1000)
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
    check_said_once(process.stderr)
    return ranks_of(2)


def ranks_of(number):
    return [json.loads(Path(f"rank_{rank}.json").read_text()) for rank in range(number)]


def check_said_once(said):
    assert len(re.findall("^(?:training|resuming) ", said, re.M)) == 1, said
    assert len(re.findall("^done: ", said, re.M)) == 1, said
    epochs = re.findall("^epoch ([0-9]+) ", said, re.M)
    assert len(set(epochs)) == len(epochs) > 0, said
    assert "Initializing" not in said


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
    first, second = (
        {name for name in json.loads(Path(f"written_{rank}.json").read_text()) if name.startswith("two/")}
        for rank in (0, 1)
    )
    assert {"two/gallery/index.html", "two/metrics.csv", "two/config.yaml"} <= first
    assert not second

    command(pairs, *INSTANCE, "trainer.max_epochs=1", "run_dir=parts")
    command(pairs, *INSTANCE, "trainer.max_epochs=3", "run_dir=parts", "resume=parts")
    parts = weights("parts")
    assert all(torch.equal(two[name], parts[name]) for name in two)


def test_batch_norm_and_dropout_train_and_end_equal_on_all_ranks(pairs):
    ranks = command(
        pairs, "trainer.max_epochs=1", "run_dir=two", "trainer=cpu", "trainer.devices=2", "trainer.precision=bf16-mixed"
    )
    assert ranks[0]["state"] == ranks[1]["state"]
    assert any("running_mean" in name for name in ranks[0]["state"])
    assert "find_unused_parameters" not in ranks[0]["strategy"]
    assert OmegaConf.load("two/config.yaml").trainer.strategy == "ddp_per_network"
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
    assert ranks[0]["strategy"]["find_unused_parameters"] is True  # right without our strategy too


# ---- what else starts processes, and how they end --------------------------------------------------------------------

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "-m"]
ALONE = [sys.executable, "-m"]
SLURM = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "x", "SLURM_NODELIST": "localhost", "SLURM_NNODES": "1"}
SLURM |= {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NODEID": "0"}


def started(pairs, *overrides, start=ALONE, **environment):
    Path("witness.py").write_text(WITNESS)
    words = [*TINY, f"data.root={pairs}", *TWO, *overrides]
    return subprocess.Popen(
        [*start, "pix2pix_lightning.train", *words],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def check_one_run(said, number):
    check_said_once(said)
    (folder,) = Path("runs/default").iterdir()
    assert (folder / "summary.json").is_file()
    ranks = ranks_of(number)
    assert all(rank["state"] == ranks[0]["state"] for rank in ranks)
    assert sorted(name for rank in ranks for name in rank["names"]) == sorted(f"train_{n}" for n in range(8))
    for rank in range(1, number):
        assert not [x for x in json.loads(Path(f"written_{rank}.json").read_text()) if x.startswith("runs")]
    return folder


@pytest.mark.slow
def test_torchrun_makes_one_run_and_goes_on_with_it(pairs):
    said = started(pairs, "trainer.max_epochs=1", start=TORCHRUN).communicate(timeout=300)[1]
    folder = check_one_run(said, 2)
    for epochs, says in ((1, "is finished already"), (2, "resuming")):
        again = started(pairs, f"trainer.max_epochs={epochs}", f"run_dir={folder}", "resume=auto", start=TORCHRUN)
        said = again.communicate(timeout=300)[1]
        assert again.returncode == 0, said
        assert said.count(says) == 1
    refused = started(pairs, f"run_dir={folder}", start=TORCHRUN)
    said = refused.communicate(timeout=300)[1]
    assert refused.returncode != 0
    assert said.count("error: run_dir=") == 1


@pytest.mark.slow
@pytest.mark.parametrize("starter", ["shells", "Slurm"])
def test_processes_that_are_started_one_by_one_make_one_run(pairs, starter):
    port = str(free_port())
    if starter == "shells":  # of two nodes, where Lightning starts the node's other process
        words = ["data.batch_size=1", "trainer.num_nodes=2", "data.val_split=train"]
        own = [{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": str(node)} for node in (0, 1)]
    else:
        words = []
        own = [{**SLURM, "MASTER_PORT": port, "SLURM_PROCID": str(n), "SLURM_LOCALID": str(n)} for n in (0, 1)]
    processes = [started(pairs, "trainer.max_epochs=1", *words, **environment) for environment in own]
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert said[1] == ""
    check_one_run(said[0], 4 if starter == "shells" else 2)


@pytest.mark.slow
@pytest.mark.parametrize("start", [ALONE, TORCHRUN], ids=["lightning", "torchrun"])
@pytest.mark.parametrize(("rank", "how"), [(0, "raise"), (1, "raise"), (0, "hang"), (1, "hang")])
def test_a_process_that_fails_ends_all(pairs, start, rank, how):
    words = ["+callbacks.fails._target_=witness.Fails", f"+callbacks.fails.rank={rank}", f"+callbacks.fails.how={how}"]
    process = started(pairs, *words, "trainer.strategy.timeout_minutes=0.2", start=start)
    said = process.communicate(timeout=200)[1]  # of waiting for one that hangs, 12 s
    assert process.returncode != 0
    if how == "raise":
        assert said.count(f"RuntimeError: rank {rank} broke") == 1, said


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
