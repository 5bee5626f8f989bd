"""debug=overfit: one pair is fitted, or the command fails."""

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from pix2pix_lightning.train import main, train
from pix2pix_lightning.training.callbacks import Overfit
from pix2pix_lightning.utils.errors import UserError
from tiny_training import NO_GALLERY, SMALLEST, configure

KEYS = [word for word in SMALLEST if not word.startswith(("data.batch_size", "trainer.max_epochs"))]
KEYS += ["run_dir=run", "module.generator.base_channels=16", "loss=l1"]


@pytest.fixture
def words(small_pairs):
    return [*KEYS, f"data.root={small_pairs}"]


def test_one_pair_is_fitted_and_training_ends(words, tmp_path, capfd):
    assert main([*words, "debug=overfit", "callbacks.overfit.below=0.08", "module.optimizer_g.lr=2e-3"]) == 0
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["metrics"]["val/l1"] < 0.08
    assert summary["epochs"] < 1000
    err = capfd.readouterr().err
    assert "fitted: val/l1 0.0" in err
    assert err.index("run/overfit/pair.png") < err.index("run/overfit/after_20_batches.png") < err.index("epoch 20/")
    gallery = tmp_path / "run/gallery/images/000_train_0"
    strips = {"pair": ["input", "target"], "after_20_batches": ["input", "epoch_0019", "target"]}
    for name, columns in strips.items():
        expected = np.concatenate([cv2.imread(str(gallery / f"{column}.png")) for column in columns], axis=1)
        assert np.array_equal(cv2.imread(str(tmp_path / f"run/overfit/{name}.png")), expected)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert not list(tmp_path.rglob("*.ckpt"))
    assert [p.name for p in (tmp_path / "run/gallery/images").iterdir()] == [
        "000_train_0"
    ]  # the pair it was trained on


def test_a_pair_that_is_not_fitted_fails_with_what_to_look_at(small_pairs, tmp_path):
    words = ["debug=overfit", f"data.root={small_pairs}", "run_dir=run", "data.batch_size=1"]
    with pytest.raises(UserError, match=r"^one pair was not fitted: .* after 20 batches.* gallery"):
        train(configure(*words, "trainer.max_epochs=20", "module.optimizer_g.lr=1e-9"))
    assert (tmp_path / "run/gallery/index.html").is_file()
    assert not (tmp_path / "run/summary.json").exists()


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("trainer.max_epochs=10", ["trainer.max_epochs=10 with trainer.check_val_every_n_epoch=20", "raise"]),
        ("trainer.limit_val_batches=0", ["no validation took place in 1 epochs", "trainer.limit_val_batches"]),
    ],
)
def test_a_training_without_validation_is_an_error(small_pairs, word, parts):
    epochs = ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1"] if "limit" in word else []
    with pytest.raises(UserError) as error:
        train(configure("debug=overfit", f"data.root={small_pairs}", "run_dir=run", word, *epochs))
    line = str(error.value)
    assert line.startswith("no validation")
    assert all(part in line for part in parts)
    assert "inf" not in line
    assert "limit" in word or not Path("run").exists()  # found before the first step


@pytest.mark.parametrize(
    ("current", "last", "every", "validates"),
    [
        (0, 20, 20, True),
        (0, 19, 20, False),
        (20, 39, 20, False),
        (20, 40, 20, True),
        (0, -1, 20, True),  # without end
        (0, 1, 1, True),
        (0, 1, None, True),  # it counts batches
    ],
)
def test_whether_a_validation_is_to_come(current, last, every, validates):
    trainer = SimpleNamespace(current_epoch=current, max_epochs=last, check_val_every_n_epoch=every)
    with nullcontext() if validates else pytest.raises(ValueError, match=f"trainer.max_epochs={last}"):
        Overfit().on_train_start(trainer, None)


def test_max_pairs_bounds_an_epoch(tmp_path, small_pairs):
    words = ["data.max_pairs=3", "data.batch_size=1", "trainer.max_epochs=1", NO_GALLERY]
    train(configure(f"data.root={small_pairs}", "run_dir=run", *words))
    rows = (tmp_path / "run/metrics.csv").read_text().splitlines()
    assert len(rows) - 1 == 3


@pytest.mark.parametrize("below", [0, 1.5, -1])
def test_what_is_no_l1_is_refused(below):
    with pytest.raises(ValueError, match="between 0 and 1"):
        Overfit(below)
