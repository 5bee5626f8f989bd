"""What moves between processes, that many of them train as one, and how they find each other."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.plugins import TorchSyncBatchNorm
from torch import distributed, nn
from torch.utils.data import DataLoader

from helpers import TINY, make_strips
from many_processes import COMMAND, DISCRIMINATOR, GENERATOR, INSTANCE
from pix2pix_lightning import Pix2PixModule, compose
from pix2pix_lightning.benchmark.communication import measure_communication
from pix2pix_lightning.checkpoints.files import read_checkpoint
from pix2pix_lightning.networks import UNetGenerator, use_eval_mode
from pix2pix_lightning.train import main, train
from pix2pix_lightning.training import rendezvous as launch
from pix2pix_lightning.training.ddp import PerNetworkDDPStrategy, restore_batch_norms, uses_plain_ddp
from pix2pix_lightning.training.rendezvous import Process, broadcast_decision, detect_process
from pix2pix_lightning.utils.processes import count_processes

SCRIPT = Path(__file__).parents[1] / "many_processes.py"
HYDRA_QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


@pytest.fixture(scope="module")
def strips(tmp_path_factory):
    return make_strips(tmp_path_factory.mktemp("pairs"), train=8, val=5, side=16)


@pytest.fixture(scope="module")
def out(strips, tmp_path_factory):
    """The folder of what all processes wrote."""
    return run_script(strips, tmp_path_factory.mktemp("facts"))


@pytest.fixture(scope="module")
def facts(out):
    """What each process had, by the number of processes."""
    return load_facts(out, (1, 2, 4))


def run_script(strips, out, *words):
    script = [sys.executable, SCRIPT, strips, out, *words]
    run = subprocess.run(script, capture_output=True, text=True, timeout=300, cwd=out)
    assert run.returncode == 0, run.stderr
    return out


def load_facts(out, numbers):
    return {n: [torch.load(out / f"{n}_{rank}.pt", weights_only=True) for rank in range(n)] for n in numbers}


@pytest.fixture
def alone(monkeypatch):
    """A group of processes may be formed, of this one; nothing of it is left."""
    for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    yield
    if distributed.is_initialized():
        distributed.destroy_process_group()


def count_parameters(module, name):
    return sum(parameter.numel() for parameter in getattr(module, name).parameters())


# ---- many processes are as one ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", ["steps", "accumulated"])
@pytest.mark.parametrize("number", [2, 4])
def test_many_processes_equal_one(facts, number, training):
    one = facts[1][0][training]
    for rank in facts[number]:
        for name, value in one["state"].items():
            assert (value - rank[training]["state"][name]).abs().max() < 1e-9, name
        assert rank[training]["metrics"] == pytest.approx(one["metrics"], abs=1e-6)


@pytest.mark.parametrize("number", [1, 2, 4])
def test_each_validation_image_counts_once(facts, strips, number):
    """Five images, batches of at most two, over up to four processes."""
    ranks = [rank["steps"] for rank in facts[number]]
    seen = Counter(name for rank in ranks for name in rank["names"])
    assert seen == {f"val_{image}": 2 for image in range(5)}  # epochs

    generator = UNetGenerator(num_downs=4, base_channels=4, **INSTANCE).double().eval()
    generator.load_state_dict(
        {name.removeprefix("generator."): v for name, v in ranks[0]["state"].items() if name.startswith("generator.")}
    )
    l1 = []
    for image in range(5):
        strip = cv2.cvtColor(cv2.imread(str(strips / f"val/val_{image}.png")), cv2.COLOR_BGR2RGB) / 255
        source, target = strip[:, :16], strip[:, 16:]
        with torch.no_grad():
            output = generator(torch.from_numpy(source.transpose(2, 0, 1)[None] * 2 - 1))
        l1.append(np.abs((output[0].numpy().transpose(1, 2, 0) + 1) / 2 - target).mean())
    for rank in ranks:
        assert rank["metrics"]["val/l1"] == pytest.approx(np.mean(l1), abs=1e-6)


@pytest.mark.parametrize("number", [1, 2, 4])
def test_each_gradient_is_moved_once_a_step_and_not_while_gradients_gather(facts, number):
    module = Pix2PixModule({**GENERATOR, **INSTANCE}, {**DISCRIMINATOR, "norm": "instance"})
    once = {name: 8 * count_parameters(module, name) for name in ("generator", "discriminator")}
    for rank in facts[number]:
        assert rank["steps"]["moved"] == [once] * 4
        assert rank["accumulated"]["moved"] == [{}, once] * 2


def test_running_statistics_are_made_equal_for_a_checkpoint(facts):
    one, other = (rank["batch_norm"]["statistics"] for rank in facts[2])
    assert len(one) == 2
    for (before, after), (before_other, after_other) in zip(one, other, strict=True):
        assert before.keys() == after.keys()
        assert any(not torch.equal(value, before_other[name]) for name, value in before.items())
        for name, value in before.items():
            torch.testing.assert_close(after[name], (value + before_other[name]) / 2)
            assert torch.equal(after[name], after_other[name])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch synchronises batch norm on GPUs alone")
def test_with_synchronised_batch_norm_two_processes_equal_one(strips, tmp_path):
    facts = load_facts(run_script(strips, tmp_path, "cuda"), (1, 2))
    one, two = (facts[number][0]["batch_norm"]["state"] for number in (1, 2))
    assert any("running_mean" in name for name in one)
    for name, value in one.items():
        assert (value - two[name]).abs().max() < 1e-9, name


def read_json(out, name, rank):
    return json.loads((out / f"{name}_{rank}.json").read_text())


def test_commands_under_torchrun_equal_one_process_and_resume(out, strips, tmp_path):
    words = [*COMMAND, "trainer=cpu", "data.batch_size=4", "trainer.max_epochs=2", "run_dir=one"]
    metrics = train(compose("train", [*words, f"data.root={strips}"]))
    one, two = (read_checkpoint(folder / "checkpoints/last.ckpt") for folder in (tmp_path / "one", out / "two"))
    for name, value in one["state_dict"].items():
        assert (value - two["state_dict"][name]).abs().max() < 1e-9, name
    assert one["lr_schedulers"] == two["lr_schedulers"]
    summary = json.loads((out / "two/summary.json").read_text())
    assert summary["num_devices"] == 2
    for name in ("val/l1", "val/psnr", "val/ssim"):  # five pairs over two ranks, each counted once
        assert summary["metrics"][name] == pytest.approx(metrics[name], abs=1e-6)
    assert (out / "two/metrics.csv").read_text().count("\n") == 1 + 2 * 2
    assert len(list((out / "two/gallery/images/000_val_0").glob("epoch_*.png"))) == 2
    for epochs in (1, 2):
        first, second = (read_json(out, f"rank_{epochs}", rank) for rank in (0, 1))
        assert first["state"] == second["state"]
        assert sorted(first["names"][:4] + second["names"][:4]) == sorted(f"train_{n}" for n in range(8))
        first, second = ((out / f"err_{epochs}_{rank}.txt").read_text() for rank in (0, 1))
        assert first.startswith("0\n")
        assert first.count("downloaded: 8 pairs in train, 5 pairs in val") == (epochs == 1)
        assert second == "0\n"  # only the first process speaks
        assert len(re.findall("^done: ", first, re.M)) == 1
    assert len(re.findall("^epoch 2/2 ", first, re.M)) == 1
    first, second = ({n for n in read_json(out, "written_2", rank) if n.startswith("two/")} for rank in (0, 1))
    assert {"two/gallery/index.html", "two/metrics.csv", "two/config.yaml"} <= first
    assert not second


def test_a_plain_trainer_with_two_devices_sees_every_pair_once(out):
    ranks = [read_json(out, "rank", rank) for rank in (0, 1)]
    assert sorted(ranks[0]["names"] + ranks[1]["names"]) == sorted(f"train_{n}" for n in range(8))
    parameters = [{k: v for k, v in rank["state"].items() if "running_" not in k} for rank in ranks]
    assert parameters[0] == parameters[1]
    assert ranks[0]["strategy"] == "DDPStrategy"  # right without our strategy too
    assert ranks[0]["find_unused"] is True


# ---- what is moved ---------------------------------------------------------------------------------------------------


def small():
    return Pix2PixModule(GENERATOR, DISCRIMINATOR)


def test_bytes_of_a_step_beside_those_of_lightnings_own_strategy():
    before = dict(os.environ)
    sizes = {name: 4 * count_parameters(small(), name) for name in ("generator", "discriminator")}
    assert measure_communication(small, size=16) == {"per_network": sizes, "find_unused": 2 * sum(sizes.values())}
    assert not distributed.is_initialized()
    assert dict(os.environ) == before


def step(strategy):
    """Of one step of plain gradient descent of rate 1, what it added to each network's weights.

    The generator learns from L1 alone, so that the discriminator's rounding does not change its gradients.
    """
    descent = {"_target_": "torch.optim.SGD", "lr": 1.0}
    weights = {"adversarial": 0.0, "feature_matching": 0.0, "l1": 1.0}
    module = Pix2PixModule(GENERATOR, DISCRIMINATOR, weights=weights, optimizer_g=descent, optimizer_d=descent)
    before = [parameter.detach().clone() for parameter in module.parameters()]
    sides = torch.rand(2, 2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    batch = {"source": sides[0], "target": sides[1], "name": ["", ""]}
    trainer = Trainer(**HYDRA_QUIET, devices=1, max_epochs=1, strategy=strategy)
    trainer.fit(module, DataLoader([batch], batch_size=None))
    return [after.detach() - value for after, value in zip(module.parameters(), before, strict=True)]


def test_one_device_with_a_reducer_for_each_network_is_as_without(alone):
    for one, other in zip(step("auto"), step("ddp_per_network"), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_gradients_moved_in_bfloat16_are_half_the_bytes_and_rounded(alone, monkeypatch):
    moved = Counter()
    all_reduce = distributed.all_reduce

    def counted(tensor, *args, **kwargs):
        moved[tensor.dtype] += tensor.nbytes
        return all_reduce(tensor, *args, **kwargs)

    expected = step("auto")
    monkeypatch.setattr(distributed, "all_reduce", counted)
    rounded = step(PerNetworkDDPStrategy(reduce_in="bfloat16"))
    assert moved[torch.bfloat16] == 2 * (
        count_parameters(small(), "generator") + count_parameters(small(), "discriminator")
    )
    for one, other in zip(expected, rounded, strict=True):
        torch.testing.assert_close(other, one, rtol=2**-7, atol=1e-6)
    assert any(
        not torch.allclose(one, other, rtol=2**-12, atol=1e-7) for one, other in zip(expected, rounded, strict=True)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reduce_in": "float16"}, "reduce_in=float16: bfloat16 is expected"),
        ({"bucket_mb": 0}, "bucket_mb=0: a number above 0"),
        ({"bucket_mib": 3}, "bucket_mib=3"),
        ({"timeout_minutes": -1}, "timeout_minutes=-1: a number above 0"),
        ({"reduce_in": "bfloat16", "ddp_comm_hook": print}, "both say how gradients are moved"),
    ],
)
def test_options_of_the_strategy_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        PerNetworkDDPStrategy(**options)


def test_what_the_options_become():
    strategy = PerNetworkDDPStrategy(bucket_mb=3, timeout_minutes=2)
    assert strategy._reducer_options["bucket_cap_mb"] == 3
    assert strategy._timeout == timedelta(minutes=2)
    assert PerNetworkDDPStrategy()._timeout == timedelta(minutes=10)


class Other(LightningModule):
    def configure_optimizers(self):
        return None


@pytest.mark.filterwarnings("ignore:`LightningModule.configure_optimizers` returned")
def test_another_module_is_refused(alone):
    trainer = Trainer(**HYDRA_QUIET, devices=1, max_epochs=1, strategy="ddp_per_network")
    module = Other()
    module.training_step = lambda batch: None
    with pytest.raises(ValueError, match="for a Pix2PixModule, not for a Other: use ddp"):
        trainer.fit(module, DataLoader([0]))


def test_which_trainers_have_one_reducer_for_both_networks():
    two = {**HYDRA_QUIET, "devices": 2}
    assert uses_plain_ddp(Trainer(**two), "auto")
    assert uses_plain_ddp(Trainer(**two, strategy="ddp"), "ddp")
    assert not uses_plain_ddp(Trainer(**two, strategy="ddp_per_network"), "ddp_per_network")
    named = "ddp_find_unused_parameters_true"  # as runs of earlier versions have it
    assert not uses_plain_ddp(Trainer(**two, strategy=named), named)
    assert not uses_plain_ddp(Trainer(**HYDRA_QUIET, devices=1), "auto")


def test_batch_norms_are_known_again_after_they_were_synchronised(alone):
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    sync = TorchSyncBatchNorm()
    reverted = sync.revert(sync.apply(module))
    restore_batch_norms(reverted)
    images = torch.rand(2, 3, 4, 4) * torch.tensor([1.0, 5.0]).reshape(2, 1, 1, 1)
    with use_eval_mode(reverted), torch.no_grad():
        together, apart = reverted(images), torch.cat([reverted(image[None]) for image in images])
    torch.testing.assert_close(together, apart)
    torch.testing.assert_close(together.mean((2, 3)), torch.zeros(2, 4), atol=1e-5, rtol=0)  # each image by its own


def test_synchronised_batch_norm_is_refused_on_a_cpu(alone):
    trainer = Trainer(**HYDRA_QUIET, devices=1, max_epochs=1, strategy="ddp_per_network", sync_batchnorm=True)
    with pytest.raises(ValueError, match="sync_batchnorm=true on a CPU"):
        trainer.fit(small(), DataLoader([0]))


# ---- how processes find each other -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trainer", "number"),
    [
        ({}, 1),
        ({"devices": 3, "num_nodes": 2}, 6),
        ({"devices": "2"}, 2),
        ({"devices": [1, 3]}, 2),
        ({"devices": [1]}, 1),
        ({"devices": "0,1,2"}, 3),
        ({"devices": "auto"}, 4),
        ({"devices": -1, "num_nodes": 2}, 8),
        ({"devices": "auto", "accelerator": "cpu"}, 1),
    ],
)
def test_how_many_processes_are_asked_for(monkeypatch, trainer, number):
    gpus = 1 if trainer == {} else 4
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert count_processes(trainer) == number


TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "MASTER_ADDR": "a"}
SLURM = {"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2", "SLURM_JOB_NAME": "x", "SLURM_PROCID": "2"}
SLURM |= {"SLURM_JOB_ID": "71234", "SLURM_NODELIST": "node[5-6]"}
SHELL = {"MASTER_ADDR": "b", "NODE_RANK": "1"}
TWO_BY_TWO = {"accelerator": "cpu", "devices": 2, "num_nodes": 2}


@pytest.mark.parametrize(
    ("environment", "trainer", "process"),
    [
        ({}, {"accelerator": "cpu", "devices": 2}, None),  # Lightning starts the other one
        (TORCHRUN, TWO_BY_TWO, Process(3, 4, "a", 29511)),
        (SLURM, TWO_BY_TWO, Process(2, 4, "node5", 29511)),
        (SLURM, {"accelerator": "cpu", "devices": 1}, None),  # four runs
        (SHELL, TWO_BY_TWO, Process(1, 2, "b", 29511)),
    ],
)
def test_which_process_this_is(alone, monkeypatch, environment, trainer, process):
    for name, value in {"MASTER_PORT": "29511", **environment}.items():
        monkeypatch.setenv(name, value)
    assert detect_process(trainer) == process


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({**TORCHRUN, "WORLD_SIZE": "2"}, "torchrun .* 2 .* 4: .*trainer.devices=1"),
        ({**SLURM, "SLURM_NTASKS": "6"}, "Slurm .* 6 .* 4: .*trainer.devices=3"),
        ({"SLURM_NTASKS": "4"}, "Use `--ntasks-per-node=4` instead"),
        ({"MASTER_ADDR": "b"}, "trainer.num_nodes=2 without NODE_RANK: start this with torchrun or srun"),
    ],
)
def test_processes_that_do_not_fit_the_settings(alone, monkeypatch, environment, message):
    for name, value in {"MASTER_PORT": "29511", **environment}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message):
        detect_process(TWO_BY_TWO)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_the_first_process_decides_for_all(monkeypatch):
    monkeypatch.setattr(launch, "_rounds", repeat(0))  # they are threads here
    port, decided = free_port(), []

    def decide(rank):
        decided.append(rank)
        time.sleep(0.1)  # the others wait
        return f"decided by {rank}"

    with ThreadPoolExecutor(3) as pool:
        processes = [Process(rank, 3, "127.0.0.1", port) for rank in (2, 1, 0)]
        answers = pool.map(lambda process: broadcast_decision(process, lambda: decide(process.rank)), processes)
        assert list(answers) == ["decided by 0"] * 3
    assert decided == [0]


def test_where_the_first_fails_the_others_end_without_a_word(monkeypatch):
    monkeypatch.setattr(launch, "_rounds", repeat(0))
    port = free_port()

    def fail():
        raise ValueError("the folder exists")

    with ThreadPoolExecutor(2) as pool:
        first, other = (pool.submit(broadcast_decision, Process(rank, 2, "127.0.0.1", port), fail) for rank in (0, 1))
        assert str(first.exception()) == "the folder exists"
        assert isinstance(other.exception(), SystemExit)
        assert other.exception().code == 1


def test_processes_that_do_not_come_are_not_waited_for_forever(monkeypatch):
    monkeypatch.setattr(launch, "_TIMEOUT", timedelta(seconds=0.2))
    port = free_port()
    for rank in (0, 1):
        with pytest.raises(ValueError, match=f"2 processes of this run do not find each other at 127.0.0.1:{port}"):
            broadcast_decision(Process(rank, 2, "127.0.0.1", port), lambda: "")


def test_a_sweep_with_several_devices_is_refused(tmp_path, capfd):
    root = make_strips(tmp_path / "pairs", train=1, val=1)
    assert main([*TINY, f"data.root={root}", "-m", "seed=choice(0)", "trainer=ddp", "trainer.devices=[0,1]"]) == 1
    err = capfd.readouterr().err
    assert "trainer.devices=[0, 1] trainer.num_nodes=1" in err
    assert "trainer.devices=1" in err
    assert err.count("error") == 1
    assert not list(tmp_path.rglob("config.yaml"))


def test_a_sweep_under_torchrun_is_refused(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main([*TINY, "data.root=.", "-m", "seed=choice(0)"]) == 1
    assert capfd.readouterr().err.count("torchrun starts a sweep several times: leave it out") == 1
