"""Several processes over gloo, started as a user starts them; test_processes.py tests what they compute."""

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
from pix2pix_lightning import Pix2PixModule
from pix2pix_lightning.checkpoints.files import read_checkpoint

TWO = [
    "trainer=ddp",
    "trainer.accelerator=cpu",
    "trainer.devices=2",
    "data.batch_size=2",
    "+callbacks.witness._target_=witness.Witness",
]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "-m"]
ALONE = [sys.executable, "-m"]
SLURM = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "x", "SLURM_NODELIST": "localhost", "SLURM_NNODES": "1"}
SLURM |= {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NODEID": "0"}


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    return make_strips(tmp_path_factory.mktemp("pairs"), train=8, val=3)


def start(pairs, *overrides, command=ALONE, **environment):
    words = [*TINY, f"data.root={pairs}", *TWO, *overrides]
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [*command, "pix2pix_lightning.train", *words],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )


def read_ranks(number):
    return [json.loads(Path(f"rank_{rank}.json").read_text()) for rank in range(number)]


def check_logged_once(err):
    assert len(re.findall("^(?:training|resuming) ", err, re.M)) == 1, err
    assert len(re.findall("^done: ", err, re.M)) == 1, err
    epochs = re.findall("^epoch ([0-9]+)", err, re.M)
    assert len(set(epochs)) == len(epochs) > 0, err
    assert "Initializing" not in err
    assert "Warning" not in err


def test_a_command_with_two_devices_is_one_run(pairs):
    words = ["trainer.max_epochs=1", "run_dir=two", "trainer=cpu", "trainer.devices=2", "trainer.precision=bf16-mixed"]
    process = start(pairs, *words)
    err = process.communicate(timeout=300)[1]
    assert process.returncode == 0, err
    check_logged_once(err)
    ranks = read_ranks(2)
    assert ranks[0]["state"] == ranks[1]["state"]
    assert any("running_mean" in name for name in ranks[0]["state"])
    assert ranks[0]["strategy"] == "PerNetworkDDPStrategy"
    assert OmegaConf.load("two/config.yaml").trainer.strategy == "ddp_per_network"
    best = read_checkpoint(Path("two/checkpoints/best.ckpt"))
    assert best["pix2pix_lightning"]["batches_seen"] == 2
    assert isinstance(Pix2PixModule.load_from_checkpoint("two/checkpoints/best.ckpt"), Pix2PixModule)


# ---- what else starts processes, and how they end --------------------------------------------------------------------


def check_one_run(err, number):
    check_logged_once(err)
    (folder,) = Path("runs/default").iterdir()
    assert (folder / "summary.json").is_file()
    ranks = read_ranks(number)
    assert all(rank["state"] == ranks[0]["state"] for rank in ranks)
    assert sorted(name for rank in ranks for name in rank["names"]) == sorted(f"train_{n}" for n in range(8))
    for rank in range(1, number):
        assert not [x for x in json.loads(Path(f"written_{rank}.json").read_text()) if x.startswith("runs")]
    return folder


@pytest.mark.slow
def test_torchrun_makes_one_run_and_goes_on_with_it(pairs):
    rounded = "saving.moments=bfloat16"
    err = start(pairs, "trainer.max_epochs=1", rounded, command=TORCHRUN).communicate(timeout=300)[1]
    folder = check_one_run(err, 2)
    (state, *_) = read_checkpoint(folder / "checkpoints/last.ckpt")["optimizer_states"][0]["state"].values()
    assert state["exp_avg"].dtype == torch.bfloat16
    for epochs, message in ((1, "is finished already"), (2, "resuming")):
        again = start(pairs, f"trainer.max_epochs={epochs}", f"run_dir={folder}", "resume=auto", command=TORCHRUN)
        err = again.communicate(timeout=300)[1]
        assert again.returncode == 0, err
        assert err.count(message) == 1
        assert err.count("saving.moments") == epochs - 1
    refused = start(pairs, f"run_dir={folder}", command=TORCHRUN)
    err = refused.communicate(timeout=300)[1]
    assert refused.returncode != 0
    assert err.count("error: run_dir=") == 1


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
    processes = [start(pairs, "trainer.max_epochs=1", *words, **environment) for environment in own]
    err = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], err
    assert err[1] == ""
    check_one_run(err[0], 4 if starter == "shells" else 2)


@pytest.mark.slow
@pytest.mark.parametrize("command", [ALONE, TORCHRUN], ids=["lightning", "torchrun"])
@pytest.mark.parametrize(("rank", "how"), [(0, "raise"), (1, "raise"), (0, "hang"), (1, "hang")])
def test_a_process_that_fails_ends_all(pairs, command, rank, how):
    words = ["+callbacks.fails._target_=witness.Fails", f"+callbacks.fails.rank={rank}", f"+callbacks.fails.how={how}"]
    process = start(pairs, *words, "trainer.strategy.timeout_minutes=0.2", command=command)
    err = process.communicate(timeout=200)[1]  # of waiting for one that hangs, 12 s
    assert process.returncode != 0
    if how == "raise":
        assert err.count(f"RuntimeError: rank {rank} broke") == 1, err


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
