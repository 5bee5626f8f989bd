"""By which metric the best checkpoint of a run is chosen."""

import csv
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from omegaconf import OmegaConf

from helpers import TINY
from pix2pix_lightning import compose
from pix2pix_lightning.checkpoints.files import read_checkpoint
from pix2pix_lightning.metrics.registry import METRICS, MetricInfo
from pix2pix_lightning.train import train
from pix2pix_lightning.training.monitor_choice import resolve_monitor
from pix2pix_lightning.utils.errors import UserError
from tiny_training import NO_GALLERY, SMALLEST, configure, use_probe


def resolve(*words, **judge):
    cfg = configure(*words)
    if judge:
        OmegaConf.update(cfg, "callbacks.judge", judge, force_add=True)
    resolve_monitor(cfg)
    assert cfg.saving.monitor == cfg.callbacks.best.monitor
    return cfg.saving.monitor, cfg.callbacks.best.mode


@pytest.fixture
def perceptual(monkeypatch):
    """A registered metric that a judge logs."""
    monkeypatch.setitem(METRICS, "perceptual", MetricInfo("perceptual", "Perceptual", "lower"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ("val/l1", "min")),
        (["saving.monitor=val/ssim"], ("val/ssim", "max")),
        (["module.metrics=[accuracy,l1]"], ("val/accuracy", "max")),
        (["module.metrics=[accuracy,l1]", "saving.monitor=val/l1"], ("val/l1", "min")),
        (["callbacks.best.monitor=val/psnr"], ("val/psnr", "max")),
        (["callbacks.best.monitor=val/psnr", "callbacks.best.mode=max"], ("val/psnr", "max")),
        (["saving.monitor=train/loss_g", "callbacks.best.mode=max"], ("train/loss_g", "max")),
        (
            [
                "module.metrics=[{_target_: torchmetrics.image.VisualInformationFidelity}]",
                "saving.monitor=val/visual_information_fidelity",
            ],
            ("val/visual_information_fidelity", "max"),
        ),
    ],
)
def test_the_metric_decides_which_value_is_better(words, expected):
    assert resolve(*words) == expected


def test_names_of_the_user_s_own_are_known():
    cfg = configure("saving.monitor=val/mine")
    OmegaConf.update(cfg, "module", {"metrics": None})
    cfg.module.metrics = {"mine": "psnr", "l1": None}
    resolve_monitor(cfg)
    assert (cfg.callbacks.best.monitor, cfg.callbacks.best.mode) == ("val/mine", "max")
    cfg.callbacks.best.monitor = cfg.saving.monitor = "val/l1"
    with pytest.raises(UserError, match="which has val/mine: "):
        resolve_monitor(cfg)


def test_a_name_without_its_prefix_is_refused(perceptual):
    with pytest.raises(UserError, match=r"saving\.monitor=l1 is logged as val/l1"):
        resolve("saving.monitor=l1")


def test_a_judge_decides_where_there_is_one(perceptual):
    assert resolve(every_n_epochs=2) == ("val/perceptual", "min")
    assert resolve("saving.monitor=val/l1", every_n_epochs=2) == ("val/l1", "min")
    assert resolve(every_n_epochs=2, metrics=["kid"]) == ("val/l1", "min")
    assert resolve(every_n_epochs=2, metrics="perceptual") == ("val/perceptual", "min")
    with pytest.raises(UserError, match=r"saving\.monitor=val/perceptual is no metric of the validation"):
        resolve("saving.monitor=val/perceptual")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["saving.monitor=val/gradient", "module.metrics=[gradient]"], r"saving\.monitor=val/gradient: neither"),
        (["saving.monitor=train/loss_g"], r"saving\.monitor=train/loss_g.*set callbacks\.best\.mode=min or max"),
        (["saving.monitor=val/ssim", "callbacks.best.mode=min"], r"mode=min, but of val/ssim a higher value"),
        (["saving.monitor=val/ssim", "callbacks.best.monitor=val/l1"], r"ssim with callbacks\.best\.monitor=val/l1"),
        (["saving.monitor=val/ssim", "callbacks.best=null"], r"saving\.monitor=val/ssim has no effect"),
    ],
)
def test_what_cannot_be_followed_is_refused(words, message):
    with pytest.raises(UserError, match=message):
        resolve(*words)


class Judge(Callback):
    """Logs given values after some epochs, counted from 1, as ``val/perceptual``."""

    names = ("val/perceptual",)

    def __init__(self, values):
        self.values = values

    def on_validation_epoch_end(self, trainer, module):
        if not trainer.sanity_checking and trainer.current_epoch + 1 in self.values:
            module.log("val/perceptual", torch.tensor(self.values[trainer.current_epoch + 1]))


def judge(values, **words):
    """A training whose judge gives these values by epoch, and the epoch of its best checkpoint from 1, None without."""
    cfg = configure(NO_GALLERY, use_probe(Judge(values)), *[f"{key}={value}" for key, value in words.items()])
    OmegaConf.update(cfg, "callbacks.judge", {"_target_": cfg.callbacks.probe._target_}, force_add=True)
    cfg.callbacks.probe = None
    metrics, best = train(cfg), Path(words["run_dir"], "checkpoints/best.ckpt")
    return metrics, read_checkpoint(best)["epoch"] + 1 if best.exists() else None


def test_the_best_checkpoint_is_of_a_judged_epoch(perceptual, small_pairs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = {"data.root": small_pairs}
    # epoch 2 is the best; 3 and 4 are not judged, 5 is judged and worse
    metrics, epoch = judge({2: 0.5, 5: 0.75}, run_dir="a", **words, **{"trainer.max_epochs": 5})
    assert (epoch, metrics["best/perceptual"], metrics["val/perceptual"]) == (2, 0.5, 0.75)
    saved = OmegaConf.load("a/config.yaml")
    assert (saved.saving.monitor, saved.callbacks.best.monitor) == ("val/perceptual", "val/perceptual")
    # as at the first judged epoch, the last one counts although it is no multiple of the others
    metrics, epoch = judge({2: 0.5, 5: 0.25}, run_dir="b", **words, **{"trainer.max_epochs": 5})
    assert (epoch, metrics["best/perceptual"]) == (5, 0.25)
    # the value of epoch 2 is not that of the weights after epoch 3
    _, epoch = judge({2: 0.5}, run_dir="c", **words, **{"callbacks.best.every_n_epochs": 3, "trainer.max_epochs": 3})
    assert epoch is None


def test_a_resumed_run_may_follow_another_metric(small_pairs, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    words = [f"data.root={small_pairs}", "run_dir=run", NO_GALLERY]
    train(compose("train", [*SMALLEST, *words, "trainer.max_epochs=2"]))
    cfg = compose("train", ["resume=run", "saving.monitor=val/ssim", "trainer.max_epochs=4"])
    caplog.set_level("INFO")
    metrics = train(cfg)
    line = (
        "best.ckpt was chosen by val/l1 until here, and is chosen by val/ssim from now on: its best value begins anew"
    )
    assert line in caplog.messages
    with Path("run/metrics.csv").open() as file:
        values = [float(row["val/ssim"]) for row in csv.DictReader(file) if row["val/ssim"]]
    assert len(values) == 4
    assert metrics["best/ssim"] == pytest.approx(max(values[2:]))  # not those before, whose weights are not in the file
    assert "best/l1" not in metrics
    best = read_checkpoint("run/checkpoints/best.ckpt")["epoch"]
    assert best == 2 + values[2:].index(max(values[2:]))
    caplog.clear()
    train(compose("train", ["resume=run", "trainer.max_epochs=5"]))
    assert not [message for message in caplog.messages if "begins anew" in message]


def test_runs_of_earlier_versions_are_resumed_as_they_were(small_pairs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [*TINY, f"data.root={small_pairs}", NO_GALLERY]
    train(configure(*words, "run_dir=runs/default/a", "trainer.max_epochs=1"))
    saved = OmegaConf.load("runs/default/a/config.yaml")
    del saved.saving.monitor
    OmegaConf.save(saved, "runs/default/a/config.yaml")
    cfg = compose("train", ["resume=runs/default/a", "saving.monitor=val/psnr"])
    assert (cfg.callbacks.best.monitor, cfg.callbacks.best.mode) == ("val/psnr", "auto")
    cfg = compose("train", ["resume=runs/default/a"])
    assert (cfg.saving.monitor, cfg.callbacks.best.monitor, cfg.callbacks.best.mode) == ("val/l1", "val/l1", "min")
    before = Path("runs/default/a/checkpoints/last.ckpt").stat().st_mtime_ns
    train(configure(*words, "run_dir=runs/default/a", "resume=auto", "trainer.max_epochs=1"))  # is finished
    assert Path("runs/default/a/checkpoints/last.ckpt").stat().st_mtime_ns == before
