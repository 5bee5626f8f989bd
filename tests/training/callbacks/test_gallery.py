import json
import random
import re
import threading
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import LambdaCallback
from torch.utils.data import DataLoader

from helpers import make_strips
from pix2pix_lightning import PairedDataModule, Pix2PixModule
from pix2pix_lightning.networks import UNetGenerator
from pix2pix_lightning.report import GalleryFolder
from pix2pix_lightning.train import train
from pix2pix_lightning.training.callbacks import Gallery
from tiny_training import NO_GALLERY, configure, use_probe


def find_gallery(trainer):
    return next(callback for callback in trainer.callbacks if isinstance(callback, Gallery))


GENERATOR = {"_target_": "pix2pix_lightning.networks.UNetGenerator", "num_downs": 3, "base_channels": 2}
DISCRIMINATOR = {"_target_": "pix2pix_lightning.networks.PatchDiscriminator", "num_layers": 1, "base_channels": 2}


def rgb(path):
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


@pytest.fixture
def shown(monkeypatch):
    """What was given to the loggers: (loggers, pictures, step)."""
    calls = []
    monkeypatch.setattr("pix2pix_lightning.training.callbacks.gallery.log_images", lambda *call: calls.append(call))
    return calls


def test_the_page_after_training_has_the_last_epochs_figures(tmp_path, small_pairs, shown):
    first = "run/gallery/images/000_val_0/untrained.png"
    for epochs, resume in ((1, []), (3, ["resume=run"])):
        before = Path(first).stat().st_mtime_ns if resume else None
        train(configure(f"data.root={small_pairs}", "run_dir=run", f"trainer.max_epochs={epochs}", *resume))
        assert before in (None, Path(first).stat().st_mtime_ns)  # not written again
        page = (tmp_path / "run/gallery/index.html").read_text("utf-8")
        metrics = json.loads((tmp_path / "run/summary.json").read_text())["metrics"]
        cells = dict(re.findall(r'<th scope="row"><span title="val/(\w+)">.*?</th><td>([\d.]+)</td>', page))
        assert cells == {key: f"{metrics[f'val/{key}']:.4f}" for key in ("l1", "psnr", "ssim")}
        assert f'data-epochs="{" ".join(map(str, range(-1, epochs)))}"' in page
        (drawn,) = re.findall(r"fraction of the range by batches seen. Validation L1: from ([\d.]+) at (\d+) to", page)
        assert drawn[1] == "1"  # the first epoch's, before the run was resumed
    last = page.split("fraction of the range by")[1].split(" to ")[1]
    assert last.startswith(f"{metrics['val/l1']:.4g} at 5,")
    assert "<h2>Settings</h2>" in page
    assert "num_downs: 3" in page


def test_loggers_get_input_output_and_target_side_by_side(tmp_path, small_pairs, shown):
    train(configure(f"data.root={small_pairs}", "run_dir=run", "data.b.kind=grayscale"))
    assert [step for _, _, step in shown] == [1, 3]
    for epoch, (loggers, pictures, _) in enumerate(shown):
        assert len(loggers) == 1
        assert sorted(pictures) == ["gallery/000_val_0", "gallery/001_val_1"]
        for name, strip in pictures.items():
            folder = tmp_path / "run/gallery/images" / name.removeprefix("gallery/")
            files = [folder / "input.png", folder / f"epoch_{epoch:04d}.png", folder / "target.png"]
            assert strip.dtype == np.uint8
            assert np.array_equal(strip, np.concatenate([rgb(file) for file in files], axis=1))


def test_a_folder_is_enough_for_another_project(tmp_path, shown):
    make_strips(tmp_path / "pairs")
    data = PairedDataModule("pairs", size=16, batch_size=2, num_workers=0)
    module = Pix2PixModule(GENERATOR, DISCRIMINATOR, pair_spec=data.pair_spec)
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    settings |= {"enable_model_summary": False, "accelerator": "cpu"}
    Trainer(max_epochs=2, callbacks=[Gallery("shown", num_images=1)], **settings).fit(module, data)
    assert [path.name for path in (tmp_path / "shown/images").iterdir()] == ["000_val_0"]
    page = (tmp_path / "shown/index.html").read_text("utf-8")
    assert "epoch_0001.png" in page
    assert "<h2>Metrics" not in page
    before = {path: path.read_bytes() for path in (tmp_path / "shown").rglob("*.*")}
    Trainer(callbacks=[Gallery("shown")], **settings).validate(module, data, verbose=False)  # of no epoch
    assert {path: path.read_bytes() for path in (tmp_path / "shown").rglob("*.*")} == before


@pytest.fixture
def fit(tmp_path):
    """Trains for two epochs, three batches each, with a gallery and what else is given."""
    make_strips(tmp_path / "pairs", val=1, side=16)

    def fit(*callbacks):
        data = PairedDataModule("pairs", size=16, batch_size=2, num_workers=0)
        settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        settings |= {"enable_model_summary": False, "accelerator": "cpu", "max_epochs": 2, "num_sanity_val_steps": 0}
        trainer = Trainer(callbacks=[Gallery("shown"), *callbacks], **settings)
        trainer.fit(Pix2PixModule(GENERATOR, DISCRIMINATOR, pair_spec=data.pair_spec), data)

    with warnings.catch_warnings(action="ignore"):
        yield fit


class NoisyGenerator(UNetGenerator):
    """Draws random numbers in eval mode too."""

    def forward(self, x):
        return super().forward(x) + 0.1 * torch.randn_like(x)


class Witness(Callback):
    """Looks at the gallery and at the state of training before the first step, and at the weights after each."""

    def __init__(self):
        self.files, self.states, self.weights = {}, [], []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if self.weights:
            return
        self.files = {path.name: path.read_bytes() for path in Path("run/gallery/images/000_val_0").glob("*")}
        self.states = [torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())]
        self.states += [[layer.training for layer in module.modules()]]
        source = trainer.datamodule.pair_spec.encode(next(iter(trainer.val_dataloaders))["source"], "source")
        with torch.random.fork_rng(), torch.no_grad():
            self.output = module.pair_spec.decode(module.generate(source))[0].permute(1, 2, 0).numpy()

    def on_train_batch_end(self, trainer, module, *args):
        self.weights.append([value.clone() for value in module.state_dict().values()])


def test_the_first_pictures_are_there_before_the_first_step_and_change_nothing(tmp_path, small_pairs):
    """Compared with the same training without a gallery."""
    witnesses = Witness(), Witness()
    noisy = [f"data.root={small_pairs}", "module.generator._target_=test_gallery.NoisyGenerator"]
    for folder, witness, words in (("run", witnesses[0], []), ("plain", witnesses[1], [NO_GALLERY])):
        train(configure(*noisy, f"run_dir={folder}", "trainer.max_epochs=1", use_probe(witness), *words))
    assert witnesses[0].files.keys() == {"input.png", "untrained.png", "target.png"}
    assert np.array_equal(rgb("run/gallery/images/000_val_0/untrained.png"), witnesses[0].output)
    assert witnesses[0].states == witnesses[1].states
    assert len(witnesses[0].weights) == len(witnesses[1].weights) == 2
    for one, other in zip(*(witness.weights for witness in witnesses), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


class Reversed(PairedDataModule):
    """Renames in its hook what a loader with a random order yields."""

    def val_dataloader(self):
        loader = super().val_dataloader()
        return DataLoader(loader.dataset, batch_size=1, shuffle=True, collate_fn=loader.collate_fn)

    def on_before_batch_transfer(self, batch, dataloader_idx):
        return {"source": batch["target"], "target": batch["source"], "name": batch["name"]}


def test_the_first_pictures_use_the_data_modules_hooks_and_no_random_numbers(tmp_path, shown):
    make_strips(tmp_path / "pairs", val=2, side=16)
    states = []
    witness = LambdaCallback(on_train_start=lambda *args: states.append(torch.get_rng_state().tolist()))
    data = Reversed("pairs", size=16, batch_size=2, num_workers=0)
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    settings |= {"max_epochs": 1, "enable_model_summary": False, "num_sanity_val_steps": 0}
    with warnings.catch_warnings(action="ignore"):
        trainer = Trainer(callbacks=[witness, Gallery("shown"), witness], **settings)
        trainer.fit(Pix2PixModule(GENERATOR, DISCRIMINATOR, pair_spec=data.pair_spec), data)
    assert len(list((tmp_path / "shown/images").rglob("untrained.png"))) == 2
    assert states[0] == states[1]
    folder = next((tmp_path / "shown/images").glob("*_val_0"))
    assert np.array_equal(rgb(folder / "input.png"), rgb(tmp_path / "pairs/val/val_0.png")[:, 16:])


def test_training_goes_on_while_pictures_are_written(tmp_path, shown, fit, monkeypatch):
    """The second epoch's second batch comes while the first epoch's pictures still wait; at the end they are there."""
    gate, called = threading.Event(), []

    def write(self, *picture):
        assert gate.wait(60)
        called.append((picture[2], threading.current_thread().name))
        return add(self, *picture)

    add = GalleryFolder.add
    monkeypatch.setattr(GalleryFolder, "add", write)

    def go_on(trainer, *args):
        if trainer.current_epoch == 1 and not gate.is_set():
            assert [epoch for epoch, _ in called] == [-1]
            gate.set()

    def close(trainer, *args):
        if trainer.current_epoch == 0:
            gate.clear()

    fit(LambdaCallback(on_fit_start=lambda *args: gate.set(), on_train_epoch_start=close, on_train_batch_start=go_on))
    assert called == [(epoch, "gallery_0") for epoch in (-1, 0, 1)]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("gallery")]
    assert 'data-epochs="-1 0 1"' in (tmp_path / "shown/index.html").read_text("utf-8")


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_full_disk_ends_training_with_the_next_batch_or_at_its_end(fit, shown, full_disk, epoch):
    steps = []

    def fill(trainer, *args):
        if trainer.current_epoch == epoch:
            find_gallery(trainer)._background.wait()
            full_disk.append("shown/index.html")

    def count(trainer, *args):
        steps.append(trainer.global_step)
        find_gallery(trainer)._background._jobs[-1].exception() if len(steps) == 4 else None

    with pytest.raises(OSError, match="No space left on device"):
        fit(LambdaCallback(on_validation_start=fill, on_train_batch_start=count))
    assert len(steps) == (4 if epoch == 0 else 6)


def test_a_full_disk_does_not_hide_why_training_ended(fit, shown, full_disk, caplog):
    def fill(trainer, *args):
        full_disk.append("shown/index.html")

    def fail(trainer, *args):
        if trainer.current_epoch == 1:
            raise ZeroDivisionError("the real reason")

    with pytest.raises(ZeroDivisionError, match="the real reason"):
        fit(LambdaCallback(on_validation_start=fill, on_train_batch_start=fail))
    assert "shown is not up to date: No space left on device" in caplog.messages
