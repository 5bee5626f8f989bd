"""The door train: what a run leaves behind, resuming, stopping, sweeps."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from functools import partial

import cv2
import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from omegaconf import OmegaConf

from helpers import TINY, make_strips
from pix2pix_lightning import compose
from pix2pix_lightning.checkpoints.files import read_checkpoint
from pix2pix_lightning.train import main, train
from pix2pix_lightning.training.run_dir import resolve_run_dir

DOUBLE = ["trainer.precision=64-true"]


@pytest.fixture(scope="session")
def strips(tmp_path_factory):
    return make_strips(tmp_path_factory.mktemp("pairs"))


@pytest.fixture
def run(strips):
    def trained(folder, *overrides):
        cfg = compose("train", [*TINY, f"data.root={strips}", f"run_dir={folder}", *overrides])
        return train(cfg)

    return trained


def weights(folder, name="last"):
    return read_checkpoint(folder / "checkpoints" / f"{name}.ckpt")["state_dict"]


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_what_the_contract_says(run, tmp_path):
    folder = tmp_path / "run"
    metrics = run(folder, "schedule=linear_decay")
    assert {p.name for p in folder.iterdir()} == {
        "config.yaml",
        "checkpoints",
        "metrics.csv",
        "summary.json",
        "gallery",
        "train.log",
    }
    assert {p.name for p in (folder / "checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}
    names = ["train/loss_g", "train/loss_d", "train/adversarial", "train/l1", "train/d_real", "train/d_fake"]
    assert {*names, "val/l1", "val/psnr", "val/ssim", "best/l1"} <= metrics.keys()
    logged = rows(folder)
    assert [int(row["step"]) for row in logged] == [0, 1, 2, 3, 4, 5]
    assert all(row["train/loss_g"] for row in logged)
    assert [row["epoch"] for row in logged if row["val/l1"]] == ["0", "1"]
    assert float(logged[-1]["val/l1"]) == metrics["val/l1"]
    assert metrics["best/l1"] == min(float(row["val/l1"]) for row in logged if row["val/l1"])
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["metrics"] == metrics
    assert summary["epochs"] == 2
    assert summary["device"] == "cpu"
    assert summary["images_per_second"] > 0
    assert summary["versions"]["torch"] == torch.__version__
    assert "epoch 1" in (folder / "train.log").read_text()
    pairs = sorted((folder / "gallery" / "images").iterdir())
    assert [p.name for p in pairs] == ["000_val_0", "001_val_1", "002_val_2"]
    assert {p.name for p in pairs[0].iterdir()} == {"input.png", "target.png", "epoch_0000.png", "epoch_0001.png"}
    page = (folder / "gallery" / "index.html").read_text()
    assert 'src="images/000_val_0/epoch_0001.png"' in page


def test_the_generators_loss_is_the_weighted_sum_of_its_terms(run, tmp_path):
    run(tmp_path / "run", "trainer.max_epochs=1")
    for row in rows(tmp_path / "run"):
        expected = float(row["train/adversarial"]) + 100 * float(row["train/l1"])
        assert float(row["train/loss_g"]) == pytest.approx(expected, rel=1e-5)


def test_config_yaml_repeats_the_run(run, tmp_path):
    run(tmp_path / "first")
    cfg = OmegaConf.load(tmp_path / "first" / "config.yaml")
    cfg.run_dir = str(tmp_path / "second")
    train(cfg)
    assert_same(weights(tmp_path / "first"), weights(tmp_path / "second"))


def test_workers_do_not_change_the_weights_but_the_seed_does(run, tmp_path):
    run(tmp_path / "a")
    run(tmp_path / "b", "data.num_workers=2")
    run(tmp_path / "c", "seed=1")
    assert_same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not torch.equal(
        weights(tmp_path / "a")["generator.down.0.conv.weight"], weights(tmp_path / "c")["generator.down.0.conv.weight"]
    )


RESUMED = [*DOUBLE, "schedule=linear_decay", "module.schedule.hold_epochs=1", "module.schedule.decay_epochs=3"]


def test_resuming_at_an_epochs_end_equals_going_through(run, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(whole, *RESUMED, "trainer.max_epochs=4")
    run(parts, *RESUMED, "trainer.max_epochs=2")
    run(parts, *RESUMED, "trainer.max_epochs=4", f"resume={parts}")
    assert_same(weights(whole), weights(parts))
    one, other = (read_checkpoint(f / "checkpoints/last.ckpt") for f in (whole, parts))
    for a, b in zip(one["optimizer_states"], other["optimizer_states"], strict=True):
        assert a["param_groups"] == b["param_groups"]
        for state in a["state"]:
            assert torch.equal(a["state"][state]["exp_avg_sq"], b["state"][state]["exp_avg_sq"])
    assert [s["last_epoch"] for s in other["lr_schedulers"]] == [4, 4]
    assert one["lr_schedulers"] == other["lr_schedulers"]
    assert one["pix2pix_lightning"] == other["pix2pix_lightning"]
    assert rows(whole) == rows(parts)
    assert len(list((parts / "gallery/images/000_val_0").glob("epoch_*.png"))) == 4


def test_resume_alone_goes_on_with_the_runs_own_settings(run, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(whole, *RESUMED, "trainer.max_epochs=3")
    run(parts, *RESUMED, "trainer.max_epochs=1")
    assert main([f"resume={parts}", "trainer.max_epochs=3"]) == 0
    assert_same(weights(whole), weights(parts))
    assert not (tmp_path / "runs").exists()
    # a checkpoint of the run says it too, and a folder that was moved
    parts.rename(tmp_path / "moved")
    assert main([f"resume={tmp_path}/moved/checkpoints/last.ckpt", "trainer.max_epochs=4"]) == 0
    assert (tmp_path / "moved/gallery/images/000_val_0/epoch_0003.png").exists()
    assert not parts.exists()


def test_resuming_with_another_network_is_refused(run, tmp_path, strips, capfd):
    run(tmp_path / "run")
    before = (tmp_path / "run/checkpoints/last.ckpt").read_bytes()
    words = [*TINY, f"data.root={strips}", "resume=run", "trainer.max_epochs=3", "module.generator.base_channels=6"]
    assert main(words) == 1
    assert "error: the checkpoint's generator is" in capfd.readouterr().err
    assert (tmp_path / "run/checkpoints/last.ckpt").read_bytes() == before


def test_resume_with_groups_has_to_describe_that_run(run, tmp_path, strips, capfd):
    run(tmp_path / "run", "loss=l1", "trainer.max_epochs=1")
    assert main(["resume=run", "loss=l2", "trainer.max_epochs=2"]) == 1
    assert "resume=run with groups describes a whole run" in capfd.readouterr().err
    with pytest.raises(ValueError, match="whole run"):
        compose("train", ["resume=run", "trainer=cpu"])
    assert main([*TINY, f"data.root={strips}", "loss=l1", "resume=run", "trainer.max_epochs=2"]) == 0
    assert len([row for row in rows(tmp_path / "run") if row["val/l1"]]) == 2


def test_a_finished_run_is_left_as_it_is(run, tmp_path):
    metrics = run(tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert run(tmp_path / "run", f"resume={tmp_path}/run") == metrics
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_another_runs_folder_is_not_resumed_into(run, tmp_path):
    run(tmp_path / "a", "trainer.max_epochs=1")
    run(tmp_path / "b", "trainer.max_epochs=1", "seed=5")
    with pytest.raises(FileExistsError, match="run_dir="):
        run(tmp_path / "b", f"resume={tmp_path}/a", "trainer.max_epochs=2")


def test_runs_of_the_same_second_get_folders_of_their_own(monkeypatch):
    class Noon(datetime):
        @classmethod
        def now(cls):
            return cls(2026, 1, 2, 12, 0, 0)

    monkeypatch.setattr("pix2pix_lightning.training.run_dir.datetime", Noon)
    folders = [resolve_run_dir(compose("train", ["name=same"])).folder for _ in range(3)]
    assert [folder.name for folder in folders] == [f"2026-01-02_12-00-00{end}" for end in ("", ".1", ".2")]
    assert all(folder.is_dir() for folder in folders)


def test_a_moved_run_keeps_its_best_checkpoint(run, tmp_path):
    # a rate so high that the last epochs are worse than the best one
    run(tmp_path / "a", "loss=l1", "module.optimizer_g.lr=0.05", "trainer.max_epochs=6")
    best = min(float(row["val/l1"]) for row in rows(tmp_path / "a") if row["val/l1"])
    (tmp_path / "a").rename(tmp_path / "b")
    metrics = train(compose("train", ["resume=b", "trainer.max_epochs=7"]))
    assert metrics["best/l1"] == min(best, metrics["val/l1"])


def test_a_longer_cosine_goes_on_above_zero(run, tmp_path):
    cosine = ["schedule=cosine", "module.schedule.warmup_epochs=0"]
    run(tmp_path / "run", *cosine, "trainer.max_epochs=3")
    run(tmp_path / "run", *cosine, "module.schedule.total_epochs=6", "trainer.max_epochs=6", f"resume={tmp_path}/run")
    rates = [float(row["train/lr_g"]) for row in rows(tmp_path / "run") if row["train/lr_g"]]
    short = [(1 + math.cos(math.pi * e / 2)) / 2 for e in range(3)]
    long = [(1 + math.cos(math.pi * e / 5)) / 2 for e in range(3, 6)]
    assert rates == [pytest.approx(2e-4 * factor, abs=1e-9) for factor in short + long]


def test_config_yaml_says_what_was_run(run, tmp_path):
    run(tmp_path / "run", "trainer=auto", "trainer.max_epochs=1", "trainer.log_every_n_steps=1")
    saved = OmegaConf.load(tmp_path / "run/config.yaml")
    assert (saved.trainer.accelerator, saved.trainer.devices, saved.trainer.max_epochs) == ("cpu", 1, 1)
    assert main(["resume=run", "trainer.max_epochs=2"]) == 0
    assert OmegaConf.load(tmp_path / "run/config.yaml").trainer.max_epochs == 2


def test_an_extended_run_that_was_stopped_is_unfinished(run, tmp_path, monkeypatch):
    run(tmp_path / "run", "trainer.max_epochs=1")
    monkeypatch.setattr(sys.modules[__name__], "ARMED", [StopAt(4, RuntimeError)], raising=False)
    stop = f"+callbacks.stop._target_={__name__}.armed"
    with pytest.raises(RuntimeError, match="stopped by the test"):
        run(tmp_path / "run", "trainer.max_epochs=3", f"resume={tmp_path}/run", stop)
    assert not (tmp_path / "run/summary.json").exists()


@pytest.mark.parametrize(("batch", "kept"), [(0, False), (2, True)])
def test_what_was_trained_is_kept_without_a_last_checkpoint_too(run, tmp_path, monkeypatch, batch, kept):
    monkeypatch.setattr(sys.modules[__name__], "ARMED", [StopAt(batch, RuntimeError)], raising=False)
    unsaved = ["callbacks.last=null", "callbacks.interrupted=null", f"+callbacks.stop._target_={__name__}.armed"]
    with pytest.raises(RuntimeError, match="stopped by the test"):
        run(tmp_path / "run", *unsaved)
    assert (tmp_path / "run/metrics.csv").exists() == kept
    assert (tmp_path / "run").exists() == kept


def test_a_tilde_is_the_home_folder(strips, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert main([*TINY, f"data.root={strips}", "run_dir=~/a:b", "trainer.max_epochs=1"]) == 0
    assert (tmp_path / "home/a:b/checkpoints/last.ckpt").exists()
    assert (tmp_path / "home/a:b/config.yaml").exists()


def test_ctrl_c_ends_a_sweep(strips, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ARMED", [StopAt(1, KeyboardInterrupt)], raising=False)
    stop = f"+callbacks.stop._target_={__name__}.armed"
    assert main(["-m", *TINY, f"data.root={strips}", "name=s", "seed=0,1", stop]) == 130
    assert [p.name for p in (tmp_path / "runs/s/sweep_seed").iterdir() if p.is_dir()] == ["seed-0"]


def test_class_numbers_can_be_seen_in_the_gallery(run, tmp_path):
    root = tmp_path / "numbers"
    for split in ("train", "val"):
        for side in "AB":
            (root / split / side).mkdir(parents=True)
        cv2.imwrite(str(root / split / "A/0.png"), np.zeros((32, 32, 3), np.uint8))
        cv2.imwrite(str(root / split / "B/0.png"), np.tile(np.arange(4, dtype=np.uint8).repeat(8), (32, 1)))
    run(tmp_path / "run", f"data.root={root}", "data.b.kind=label", "data.b.num_classes=4", "trainer.max_epochs=1")
    target = cv2.imread(str(tmp_path / "run/gallery/images/000_0/target.png"), cv2.IMREAD_GRAYSCALE)
    assert set(np.unique(target)) == {0, 85, 170, 255}


class StopAt(Callback):
    def __init__(self, batch, error):
        self.batch, self.error = batch, error

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if module.batches_seen == self.batch:
            raise self.error("stopped by the test")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_leaves_a_checkpoint_that_goes_on_with_the_next_batch(run, tmp_path, workers, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = [*RESUMED, "trainer.max_epochs=3", f"data.num_workers={workers}"]
    run(whole, *options)
    monkeypatch.setattr(sys.modules[__name__], "ARMED", [StopAt(4, RuntimeError)], raising=False)
    with pytest.raises(RuntimeError, match="stopped by the test"):
        run(parts, *options, f"+callbacks.stop._target_={__name__}.armed")
    assert not (parts / "summary.json").exists()
    run(parts, *options, f"resume={parts}")
    assert_same(weights(whole), weights(parts))
    assert rows(whole) == rows(parts)


def armed():
    return sys.modules[__name__].ARMED[0]


def test_an_error_before_the_first_batch_does_not_touch_the_resumed_checkpoint(run, tmp_path, monkeypatch):
    run(tmp_path / "run")
    before = (tmp_path / "run/checkpoints/last.ckpt").read_bytes()
    monkeypatch.setattr(sys.modules[__name__], "ARMED", [StopAt(6, RuntimeError)], raising=False)
    with pytest.raises(RuntimeError, match="stopped by the test"):
        run(
            tmp_path / "run",
            "trainer.max_epochs=3",
            f"resume={tmp_path}/run",
            f"+callbacks.stop._target_={__name__}.armed",
        )
    assert (tmp_path / "run/checkpoints/last.ckpt").read_bytes() == before


# stopped between the last batch of an epoch and its validation, that is lost
@pytest.mark.filterwarnings("ignore:.*could not find the monitored key")
def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on(strips, tmp_path):
    command = [
        sys.executable,
        "-m",
        "pix2pix_lightning.train",
        *TINY,
        f"data.root={strips}",
        "run_dir=run",
        "trainer.max_epochs=10000",
    ]
    # a test that is run in the background inherits that SIGINT is ignored
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=listen)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "run/checkpoints/best.ckpt").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err.rstrip().endswith("stopped: continue with resume=run")
    assert "Traceback" not in err
    seen = read_checkpoint(tmp_path / "run/checkpoints/last.ckpt")["pix2pix_lightning"]["batches_seen"]
    assert seen >= 3
    epochs = seen // 3 + 1
    os.chdir(tmp_path)
    assert main([*TINY, f"data.root={strips}", "resume=run", f"trainer.max_epochs={epochs}"]) == 0
    last = read_checkpoint(tmp_path / "run/checkpoints/last.ckpt")["pix2pix_lightning"]["batches_seen"]
    assert last == 3 * epochs


def test_resume_auto_goes_on_with_the_unfinished_run_of_the_same_settings(strips, tmp_path, monkeypatch):
    command = [*TINY, f"data.root={strips}", "name=auto", "resume=auto"]
    assert main([*command, "seed=7"]) == 0  # another run, and finished
    monkeypatch.setattr(sys.modules[__name__], "ARMED", [StopAt(4, KeyboardInterrupt)], raising=False)
    stop = f"+callbacks.stop._target_={__name__}.armed"
    assert main([*command, stop]) == 130
    folders = set((tmp_path / "runs/auto").iterdir())
    monkeypatch.setattr(sys.modules[__name__], "ARMED", [Callback()])
    assert main([*command, stop]) == 0
    assert set((tmp_path / "runs/auto").iterdir()) == folders
    finished = [f for f in folders if (f / "summary.json").exists()]
    assert len(finished) == len(folders) == 2
    time.sleep(1.1)  # the next folder is named by the second
    assert main([*command, stop]) == 0  # none is unfinished: a new one
    assert len(set((tmp_path / "runs/auto").iterdir())) == 3


def test_a_multirun_gives_each_job_its_folder(strips, tmp_path):
    command = ["-m", *TINY, f"data.root={strips}", "trainer.max_epochs=1", "name=ablation", "loss=l1,l1_cgan"]
    assert main(command) == 0
    sweep = tmp_path / "runs/ablation/sweep_loss"
    assert {p.name for p in sweep.iterdir() if p.is_dir()} == {"loss-l1", "loss-l1_cgan"}
    for loss, has_d in (("l1", False), ("l1_cgan", True)):
        assert OmegaConf.load(sweep / f"loss-{loss}/config.yaml").run_dir.endswith(f"loss-{loss}")
        assert any(name.startswith("discriminator.") for name in weights(sweep / f"loss-{loss}")) == has_d


def test_the_train_function_returns_what_a_sweep_can_optimise(run, tmp_path):
    metrics = run(tmp_path / "run", "trainer.max_epochs=1")
    assert all(isinstance(value, float) for value in metrics.values())
    assert 0 < metrics["val/l1"] < 1


def test_training_learns(strips, tmp_path):
    cfg = compose(
        "train",
        [
            *TINY,
            f"data.root={strips}",
            "run_dir=run",
            "loss=l1",
            "trainer.max_epochs=25",
            "module.optimizer_g.lr=2e-3",
            "data.jitter=false",
        ],
    )
    metrics = train(cfg)
    first = float(next(row["val/l1"] for row in rows(tmp_path / "run") if row["val/l1"]))
    assert metrics["val/l1"] < 0.8 * first


NEW_KEYS = ("about", "command", "objective")


def test_a_run_of_an_earlier_version_is_resumed(run, tmp_path):
    run(tmp_path / "run", "trainer.max_epochs=1")
    config = tmp_path / "run/config.yaml"
    saved = OmegaConf.load(config)
    for key in NEW_KEYS:
        del saved[key]
    del saved.data["max_pairs"]
    OmegaConf.save(saved, config)
    assert main([f"resume={tmp_path}/run", "trainer.max_epochs=2"]) == 0
    assert read_checkpoint(tmp_path / "run/checkpoints/last.ckpt")["epoch"] == 1


def test_a_resumed_run_can_be_told_where_its_data_is_now(tmp_path):
    make_strips(tmp_path / "before")
    assert main([*TINY, "data.root=before", "run_dir=run", "trainer.max_epochs=1"]) == 0
    (tmp_path / "before").rename(tmp_path / "after")
    words = ["resume=run", "trainer.max_epochs=2"]
    assert main([*words, "data.root=after"]) == 0
    saved = OmegaConf.load(tmp_path / "run/config.yaml")
    assert saved.data.root == "after"
    assert saved.command.endswith("trainer.max_epochs=2 data.root=after")


def test_what_is_no_key_of_a_resumed_run_is_named(run, tmp_path, capfd):
    run(tmp_path / "run", "trainer.max_epochs=1")
    for word, says in (
        ("data.rot=x", "did you mean data.root"),
        ("trainer.max_epochs=soon", "trainer.max_epochs=soon"),
        ("module.weights.adversarial=0", "discriminator"),
    ):
        assert main([f"resume={tmp_path}/run", "trainer.max_epochs=2", word]) == 1
        said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(said) == 1
        assert says in said[0]


def test_a_finished_run_says_so_and_does_not_take_other_settings(run, tmp_path, capfd):
    run(tmp_path / "run", "trainer.max_epochs=1")
    written = (tmp_path / "run/checkpoints/last.ckpt").stat().st_mtime_ns
    assert main([f"resume={tmp_path}/run"]) == 0
    assert "is finished already" in capfd.readouterr().err
    assert main([f"resume={tmp_path}/run", "trainer.gradient_clip=1"]) == 1
    assert main([f"resume={tmp_path}/run", "trainer.limit_train_batches=2"]) == 1
    assert "is finished, with trainer.limit_train_batches=1.0, not 2" in capfd.readouterr().err
    assert (tmp_path / "run/checkpoints/last.ckpt").stat().st_mtime_ns == written
