"""The command train: what a run leaves behind, resuming, stopping."""

import csv
import json
import math
import os
import shutil
import signal
from datetime import datetime
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from omegaconf import OmegaConf

from pix2pix_lightning import compose
from pix2pix_lightning.checkpoints.files import read_checkpoint
from pix2pix_lightning.train import main, train
from pix2pix_lightning.training import run_dir
from pix2pix_lightning.utils.errors import Interrupted
from tiny_training import (
    NO_GALLERY,
    SMALLEST,
    StopAt,
    configure,
    raise_keyboard_interrupt,
    raise_runtime_error,
    use_probe,
)

DECAYING = [
    "trainer.precision=64-true",
    "schedule=linear_decay",
    "module.schedule.hold_epochs=1",
    "module.schedule.decay_epochs=3",
]
NO_PROBE = ["callbacks.probe=null", "trust=[test_train]"]
SLURM = {"SLURM_JOB_ID": "42", "SLURM_JOB_NAME": "x", "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
SLURM |= {"SLURM_NODEID": "0", "SLURM_NNODES": "1"}


@pytest.fixture(scope="session")
def train_in(small_pairs):
    def train_in(folder, *words):
        gallery = () if any(word.startswith("callbacks.gallery") for word in words) else (NO_GALLERY,)
        return train(configure(f"data.root={small_pairs}", f"run_dir={folder}", *gallery, *words))

    return train_in


@pytest.fixture(scope="session")
def finished(train_in, tmp_path_factory):
    """The folder of a run of two epochs, and what ``train`` returned; tests only read it."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # so that its copies have the same name
        metrics = train_in("run", "callbacks.gallery.num_images=2")
    return folder / "run", metrics


@pytest.fixture
def run(finished):
    """A copy of the finished run, named ``run``."""
    shutil.copytree(finished[0], "run")
    return read_files()


@pytest.fixture(scope="session")
def whole(train_in, tmp_path_factory):
    """The folder of a run of four epochs in float64 whose learning rate decays."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train_in(folder, *DECAYING, "trainer.max_epochs=4", "callbacks.gallery.num_images=1")
    return folder


def read_files():
    return {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}


def read_last(folder="run"):
    return read_checkpoint(Path(folder) / "checkpoints/last.ckpt")


def read_weights(folder="run"):
    return read_last(folder)["state_dict"]


def assert_same_weights(one, other):
    first, second = read_weights(one), read_weights(other)
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def read_rows(folder="run"):
    with Path(folder, "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


# ---- what a run leaves behind --------------------------------------------------------------------------------------


def test_files_of_a_run(finished):
    folder, metrics = finished
    names = {"config.yaml", "checkpoints", "metrics.csv", "summary.json", "gallery", "train.log"}
    assert {p.name for p in folder.iterdir()} == names
    assert {p.name for p in (folder / "checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}
    names = ["train/loss_g", "train/loss_d", "train/adversarial", "train/l1", "train/d_real", "train/d_fake"]
    assert {*names, "val/l1", "val/psnr", "val/ssim", "best/l1"} <= metrics.keys()
    assert all(isinstance(value, float) for value in metrics.values())
    rows = read_rows(folder)
    assert [int(row["step"]) for row in rows] == [0, 1, 2, 3]
    for row in rows:
        expected = float(row["train/adversarial"]) + 100 * float(row["train/l1"])
        assert float(row["train/loss_g"]) == pytest.approx(expected, rel=1e-5)
    assert [row["epoch"] for row in rows if row["val/l1"]] == ["0", "1"]
    assert float(rows[-1]["val/l1"]) == metrics["val/l1"]
    assert metrics["best/l1"] == min(float(row["val/l1"]) for row in rows if row["val/l1"])
    assert 0 < metrics["val/l1"] < 1
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["metrics"] == metrics
    assert summary["epochs"] == 2
    assert summary["device"] == "cpu"
    assert summary["images_per_second"] > 0
    assert summary["versions"]["torch"] == torch.__version__
    assert "epoch 1" in (folder / "train.log").read_text()
    pairs = sorted((folder / "gallery" / "images").iterdir())
    assert [p.name for p in pairs] == ["000_val_0", "001_val_1"]
    pictures = {"input.png", "target.png", "untrained.png", "epoch_0000.png", "epoch_0001.png"}
    assert {p.name for p in pairs[0].iterdir()} == pictures
    page = (folder / "gallery" / "index.html").read_text()
    assert 'src="images/000_val_0/epoch_0001.png"' in page


def test_config_yaml_repeats_the_run(finished):
    cfg = OmegaConf.load(finished[0] / "config.yaml")
    cfg.run_dir, cfg.callbacks.gallery = "again", None
    train(cfg)
    assert_same_weights(finished[0], "again")


def test_workers_do_not_change_the_weights_but_the_seed_does(finished, train_in):
    train_in("workers", "data.num_workers=2")
    train_in("seed", "seed=1")
    assert_same_weights(finished[0], "workers")
    name = "generator.down.0.conv.weight"
    assert not torch.equal(read_weights(finished[0])[name], read_weights("seed")[name])


def test_config_yaml_holds_what_auto_came_to_and_what_was_resumed(train_in):
    train_in("run", "trainer=auto", "trainer.max_epochs=1", "trainer.log_every_n_steps=1")
    saved = OmegaConf.load("run/config.yaml")
    assert (saved.trainer.accelerator, saved.trainer.devices, saved.trainer.max_epochs) == ("cpu", 1, 1)
    train(compose("train", ["resume=run", "trainer.max_epochs=2"]))
    assert OmegaConf.load("run/config.yaml").trainer.max_epochs == 2


def test_runs_of_the_same_second_get_folders_of_their_own(monkeypatch):
    class Noon(datetime):
        @classmethod
        def now(cls):
            return cls(2026, 1, 2, 12, 0, 0)

    monkeypatch.setattr(run_dir, "datetime", Noon)
    folders = [run_dir.resolve_run_dir(configure("name=same")).folder for _ in range(3)]
    assert [folder.name for folder in folders] == [f"2026-01-02_12-00-00{end}" for end in ("", ".1", ".2")]
    assert all(folder.is_dir() for folder in folders)


def test_a_tilde_is_the_home_folder(small_pairs, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    one_batch = ["trainer.max_epochs=1", "trainer.limit_train_batches=1", NO_GALLERY]
    assert main([*SMALLEST, f"data.root={small_pairs}", "run_dir=~/a:b", *one_batch]) == 0
    assert (tmp_path / "home/a:b/checkpoints/last.ckpt").exists()
    assert (tmp_path / "home/a:b/config.yaml").exists()


def test_class_numbers_in_the_gallery(train_in, tmp_path):
    root = tmp_path / "numbers"
    for split in ("train", "val"):
        for side in "AB":
            (root / split / side).mkdir(parents=True)
        cv2.imwrite(str(root / split / "A/0.png"), np.zeros((16, 16, 3), np.uint8))
        cv2.imwrite(str(root / split / "B/0.png"), np.tile(np.uint8([0, 1, 2, 255]).repeat(4), (16, 1)))
    labels = ["data.b.kind=label", "data.b.num_classes=3", "data.b.ignore_index=255"]
    train_in("run", f"data.root={root}", *labels, "trainer.max_epochs=1", "callbacks.gallery.num_images=1")
    target = cv2.imread("run/gallery/images/000_0/target.png", cv2.IMREAD_GRAYSCALE)
    assert set(np.unique(target)) == {0, 85, 170, 255}
    output = cv2.imread("run/gallery/images/000_0/epoch_0000.png", cv2.IMREAD_GRAYSCALE)
    assert set(np.unique(output)) <= {0, 85, 170}


def test_training_learns(train_in):
    settings = ["module.optimizer_g.lr=1e-2", "data.jitter=false", "module.generator.base_channels=8"]
    metrics = train_in("run", "loss=l1", "trainer.max_epochs=8", *settings)
    first = float(next(row["val/l1"] for row in read_rows() if row["val/l1"]))
    assert metrics["val/l1"] < 0.8 * first


class FailAfter(Callback):
    """Raises an error at the end of a batch, before the end of its epoch."""

    def __init__(self, batches):
        self.batches = batches

    def on_train_batch_end(self, trainer, module, *args):
        if module.batches_seen == self.batches:
            raise_runtime_error()


# ---- resuming ------------------------------------------------------------------------------------------------------


def test_resuming_equals_going_through(whole, train_in, tmp_path):
    parts = tmp_path / "parts"
    saving_each_batch = ["callbacks.gallery.num_images=1", "saving.every_minutes=1e-9", "callbacks.interrupted=null"]
    with pytest.raises(RuntimeError):
        train_in(parts, *DECAYING, "trainer.max_epochs=4", *saving_each_batch, use_probe(FailAfter(4)))
    assert (
        read_last(parts)["pix2pix_lightning"]["batches_seen"] == 3
    )  # as if killed then: of the epoch, batch 1 is kept
    saved = OmegaConf.load(parts / "config.yaml")
    del saved.callbacks.probe
    OmegaConf.save(saved, parts / "config.yaml")
    train(compose("train", [f"resume={parts}", "trainer.max_epochs=2", "saving.every_minutes=15"]))
    assert OmegaConf.load(parts / "config.yaml").saving.every_minutes == 15
    assert not (tmp_path / "runs").exists()
    parts.rename(tmp_path / "moved")  # a checkpoint of the run names it too, and its folder may have been moved
    train(compose("train", [f"resume={tmp_path}/moved/checkpoints/last.ckpt", "trainer.max_epochs=4"]))
    assert not parts.exists()
    parts = tmp_path / "moved"

    assert_same_weights(whole, parts)
    one, other = read_last(whole), read_last(parts)
    for a, b in zip(one["optimizer_states"], other["optimizer_states"], strict=True):
        assert a["param_groups"] == b["param_groups"]
        for state in a["state"]:
            assert torch.equal(a["state"][state]["exp_avg_sq"], b["state"][state]["exp_avg_sq"])
    assert [s["last_epoch"] for s in other["lr_schedulers"]] == [4, 4]
    assert one["lr_schedulers"] == other["lr_schedulers"]
    assert one["pix2pix_lightning"] == other["pix2pix_lightning"]
    assert read_rows(whole) == read_rows(parts)
    assert len(list((parts / "gallery/images/000_val_0").glob("epoch_*.png"))) == 4


def test_another_network_cannot_be_resumed(run, train_in):
    with pytest.raises(ValueError, match="generator"):
        train_in("run", "resume=run", "trainer.max_epochs=3", "module.generator.base_channels=6")
    after = read_files()
    assert {path: after[path] for path in run if path.name != "train.log"} == {
        path: content for path, content in run.items() if path.name != "train.log"
    }


def test_resume_with_groups_describes_the_whole_run(train_in, small_pairs):
    train_in("run", "loss=l1", "trainer.max_epochs=1")
    with pytest.raises(ValueError, match="resume=run"):
        compose("train", ["resume=run", "loss=l2", "trainer.max_epochs=2"])
    words = [*SMALLEST, NO_GALLERY, f"data.root={small_pairs}", "loss=l1", "resume=run", "trainer.max_epochs=2"]
    assert main(words) == 0
    assert len([row for row in read_rows() if row["val/l1"]]) == 2


def test_a_finished_run_stays_as_it_is(run, finished, train_in):
    assert train_in("run", "resume=run", "callbacks.gallery.num_images=2") == finished[1]
    assert read_files() == run
    shutil.copytree("run", "moved")
    assert train_in("moved", "resume=moved", "callbacks.gallery.num_images=2") == finished[1]
    for key in ("trainer.gradient_clip", "trainer.limit_train_batches"):
        with pytest.raises(Exception, match=key):
            train(compose("train", ["resume=run", f"{key}=2"]))
    assert read_files() == run


def test_another_runs_folder_is_not_resumed_into(run, train_in):
    shutil.copytree("run", "other")
    with pytest.raises(FileExistsError, match="run_dir="):
        train_in("other", "resume=run", "trainer.max_epochs=3")


def test_a_moved_run_keeps_its_best_checkpoint(train_in):
    # a rate so high that the last epochs are worse than the best one
    train_in("a", "loss=l1", "module.optimizer_g.lr=1.0", "trainer.max_epochs=4")
    values = [float(row["val/l1"]) for row in read_rows("a") if row["val/l1"]]
    assert min(values) < values[-1]
    Path("a").rename("b")
    metrics = train(compose("train", ["resume=b", "trainer.max_epochs=5"]))
    assert metrics["best/l1"] == min(*values, metrics["val/l1"])


class LooksAtMetrics(Callback):
    """Reads metrics.csv when a checkpoint is saved, before it is written."""

    rows = None

    def on_save_checkpoint(self, trainer, module, checkpoint):
        LooksAtMetrics.rows = read_rows()


def test_a_longer_cosine_and_another_rate_are_used_and_recorded(train_in):
    cosine = ["schedule=cosine", "module.schedule.warmup_epochs=0", "trainer.limit_train_batches=1"]
    train_in("run", *cosine, "trainer.max_epochs=3", "callbacks.probe._target_=test_train.LooksAtMetrics")
    assert LooksAtMetrics.rows == read_rows()  # a run that is killed after its checkpoint has lost no cell
    words = ["resume=run", "trainer.max_epochs=6", "module.optimizer_g.lr=1e-3", *NO_PROBE]
    train(compose("train", words))
    short = [(1 + math.cos(math.pi * e / 2)) / 2 for e in range(3)]
    long = [(1 + math.cos(math.pi * e / 5)) / 2 for e in range(3, 6)]
    for name, later in (("g", 1e-3), ("d", 2e-4)):
        rates = [float(row[f"train/lr_{name}"]) for row in read_rows() if row[f"train/lr_{name}"]]
        expected = [2e-4 * factor for factor in short] + [later * factor for factor in long]
        assert rates == [pytest.approx(rate, abs=1e-9) for rate in expected]
    saved = OmegaConf.load("run/config.yaml").module
    assert (saved.optimizer_g.lr, saved.optimizer_d.lr, saved.schedule.total_epochs) == (1e-3, 2e-4, 6)


def test_resume_auto_goes_on_with_the_unfinished_run_of_the_same_settings(train_in, tmp_path, monkeypatch):
    class LaterEachTime(datetime):  # folders are named by the second
        seconds = count()

        @classmethod
        def now(cls):
            return cls(2026, 1, 2, 12, 0, next(cls.seconds))

    monkeypatch.setattr(run_dir, "datetime", LaterEachTime)
    words = ["name=auto", "resume=auto", "run_dir=null"]
    train_in(None, *words, "seed=7")  # another run, and finished
    with pytest.raises(Interrupted):
        train_in(None, *words, use_probe(StopAt(3, raise_keyboard_interrupt)))
    folders = set((tmp_path / "runs/auto").iterdir())
    page = (tmp_path / "runs/index.html").read_text()
    states = ("running", "stopped", "finished")
    assert [page.count(f'"state {state}">1 {state}') for state in states] == [0, 1, 1]
    assert page.count("pix2pix_lightning.train resume=runs/auto/") == 1
    train_in(None, *words, use_probe(Callback()))
    assert set((tmp_path / "runs/auto").iterdir()) == folders
    assert len(folders) == len([f for f in folders if (f / "summary.json").exists()]) == 2
    train_in(None, *words, use_probe(Callback()))  # none is unfinished: a new one
    assert len(set((tmp_path / "runs/auto").iterdir())) == 3


def test_a_run_of_an_earlier_version_is_resumed(run):
    saved = OmegaConf.load("run/config.yaml")
    for key in ("about", "command", "objective"):
        del saved[key]
    del saved.data["max_pairs"]
    OmegaConf.save(saved, "run/config.yaml")
    train(compose("train", ["resume=run", "trainer.max_epochs=3", NO_GALLERY]))
    assert read_last()["epoch"] == 2


def test_data_of_a_resumed_run_may_lie_elsewhere(run, small_pairs):
    shutil.copytree(small_pairs, "elsewhere")
    train(compose("train", ["resume=run", "trainer.max_epochs=3", NO_GALLERY, "data.root=elsewhere"]))
    saved = OmegaConf.load("run/config.yaml")
    assert saved.data.root == "elsewhere"
    assert saved.command.endswith("data.root=elsewhere")


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("data.rot=x", "data.root"),
        ("trainer.max_epochs=soon", "trainer.max_epochs=soon"),
        ("module.weights.adversarial=0", "discriminator"),
    ],
)
def test_what_is_no_key_of_a_resumed_run_is_named(run, word, names):
    with pytest.raises(ValueError, match=names):
        train(compose("train", ["resume=run", word]))


# ---- stopping ------------------------------------------------------------------------------------------------------


def test_an_extended_run_that_was_stopped_is_unfinished(run, train_in):
    with pytest.raises(RuntimeError, match="stopped by the test"):
        train_in("run", "trainer.max_epochs=3", "resume=run", use_probe(StopAt(5, raise_runtime_error)))
    assert not Path("run/summary.json").exists()
    assert Path("run/train.log").read_text().splitlines()[-1].endswith(" ERROR failed: stopped by the test")


@pytest.mark.parametrize(("batch", "is_kept"), [(0, False), (1, True)])
def test_a_run_without_a_last_checkpoint_is_kept_once_it_has_trained(train_in, batch, is_kept):
    words = ["callbacks.last=null", "callbacks.interrupted=null", use_probe(StopAt(batch, raise_runtime_error))]
    with pytest.raises(RuntimeError, match="stopped by the test"):
        train_in("run", *words)
    assert Path("run/metrics.csv").exists() == is_kept
    assert Path("run").exists() == is_kept


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_leaves_a_checkpoint_that_goes_on_with_the_next_batch(whole, train_in, workers):
    words = [*DECAYING, "trainer.max_epochs=4", f"data.num_workers={workers}"]
    with pytest.raises(RuntimeError, match="stopped by the test"):
        train_in("parts", *words, use_probe(StopAt(3, raise_runtime_error)))
    assert not Path("parts/summary.json").exists()
    train_in("parts", *words, "resume=parts")
    assert_same_weights(whole, "parts")
    assert read_rows(whole) == read_rows("parts")


def test_an_error_before_the_first_batch_does_not_touch_the_resumed_checkpoint(run, train_in):
    with pytest.raises(RuntimeError, match="stopped by the test"):
        train_in("run", "trainer.max_epochs=3", "resume=run", use_probe(StopAt(4, raise_runtime_error)))
    last = Path("run/checkpoints/last.ckpt")
    assert last.read_bytes() == run[last]


class SendsSignal(Callback):
    """Before the third batch."""

    def __init__(self, number):
        self.number = number

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if module.batches_seen == 2:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGUSR1, 75)])
def test_a_signal_leaves_a_checkpoint_and_tells_how_to_go_on(whole, small_pairs, capfd, monkeypatch, number, status):
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background ignore it
    if number == signal.SIGUSR1:
        for name, value in SLURM.items():
            monkeypatch.setenv(name, value)
    command = [*SMALLEST, f"data.root={small_pairs}", "run_dir=run", NO_GALLERY, *DECAYING, "trainer.max_epochs=4"]
    probe = ["+callbacks.probe._target_=test_train.SendsSignal", f"+callbacks.probe.number={number.value}"]
    try:
        assert main([*command, *probe]) == status
    finally:
        signal.signal(signal.SIGINT, handler)
    err = capfd.readouterr().err
    assert err.rstrip().endswith("resume=run 'trust=[test_train]'")
    assert "Traceback" not in err
    assert [path.name for path in Path().iterdir()] == ["run"]
    assert read_last()["pix2pix_lightning"]["batches_seen"] == 3  # the batch that was running is trained
    train(compose("train", ["resume=run", *NO_PROBE]))
    assert_same_weights(whole, "run")


class StopInValidation(Callback):
    """Sends SIGTERM in the second epoch, when the first of several validation batches was seen."""

    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0):
        if trainer.current_epoch == 1 and batch_idx == 0:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_validation_that_was_stopped_is_repeated_as_a_whole(train_in):
    words = ["data.batch_size=1", "trainer.limit_train_batches=1", "trainer.max_epochs=2"]
    expected = train_in("whole", *words)
    with pytest.raises(Interrupted) as stop:
        train_in("run", *words, use_probe(StopInValidation()))
    assert stop.value.status == 75
    assert train_in("run", *words, "resume=run") == expected
    assert read_rows("whole") == read_rows()
