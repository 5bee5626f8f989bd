import json
import re

import cv2
import numpy as np
import pytest
from lightning.pytorch import Trainer

from helpers import TINY, make_strips
from pix2pix_lightning import PairedDataModule, Pix2PixModule, compose
from pix2pix_lightning.callbacks import Gallery
from pix2pix_lightning.train import train


def rgb(path):
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


@pytest.fixture
def shown(monkeypatch):
    """What was handed to the loggers: (loggers, pictures, step)."""
    calls = []
    monkeypatch.setattr("pix2pix_lightning.callbacks.gallery.log_pictures", lambda *call: calls.append(call))
    return calls


def test_the_page_after_training_has_the_last_epochs_figures(tmp_path, shown):
    make_strips(tmp_path / "pairs")
    for epochs, resume in ((1, []), (3, ["resume=run"])):
        train(compose("train", [*TINY, "data.root=pairs", "run_dir=run", f"trainer.max_epochs={epochs}", *resume]))
        page = (tmp_path / "run/gallery/index.html").read_text("utf-8")
        metrics = json.loads((tmp_path / "run/summary.json").read_text())["metrics"]
        cells = dict(re.findall(r'<th scope="row">(\w+)</th><td>([\d.]+)</td>', page))
        assert cells == {key.upper(): f"{metrics[f'val/{key}']:.4f}" for key in ("l1", "psnr", "ssim")}
        assert f'data-epochs="{" ".join(map(str, range(epochs)))}"' in page
        (drawn,) = re.findall(r"fraction of the range by batches seen. val/l1: from ([\d.]+) at (\d+) to", page)
        assert drawn[1] == "2"  # the first epoch's, before the run was resumed
    last = page.split("fraction of the range by")[1].split(" to ")[1]
    assert last.startswith(f"{metrics['val/l1']:.4g} at 8,")
    assert "<h2>Settings</h2>" in page
    assert "num_downs: 5" in page


def test_loggers_get_input_output_and_target_side_by_side(tmp_path, shown):
    make_strips(tmp_path / "pairs", val=2)
    grey = ["data.b.kind=grey", "data.direction=a_to_b"]
    train(compose("train", [*TINY, "data.root=pairs", "run_dir=run", *grey]))
    assert [step for _, _, step in shown] == [2, 5]
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
    data = PairedDataModule("pairs", size=32, batch_size=2, num_workers=0)
    generator = {"_target_": "pix2pix_lightning.networks.UNetGenerator", "num_downs": 5, "base_channels": 4}
    module = Pix2PixModule(generator, pair_spec=data.pair_spec)
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    settings |= {"enable_model_summary": False, "accelerator": "cpu"}
    Trainer(max_epochs=1, callbacks=[Gallery("shown", num_images=1)], **settings).fit(module, data)
    assert [path.name for path in (tmp_path / "shown/images").iterdir()] == ["000_val_0"]
    page = (tmp_path / "shown/index.html").read_text("utf-8")
    assert "epoch_0000.png" in page
    assert "<h2>Metrics" not in page
