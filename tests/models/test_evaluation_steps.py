"""Trainer.validate, test and predict with a module and pairs in a folder."""

import logging

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from helpers import make_strips
from pix2pix_lightning import PairedDataModule, Pix2PixModule, Translator

pytestmark = pytest.mark.filterwarnings("ignore:You have overridden `on_after_batch_transfer`")
SMALL = {"_target_": "pix2pix_lightning.networks.UNetGenerator", "num_downs": 3, "base_channels": 2}


@pytest.fixture(scope="module")
def trainer():
    shown = {"enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **shown)


@pytest.fixture
def root(tmp_path):
    root = make_strips(tmp_path / "pairs", train=1, val=3, side=16)
    (root / "test").mkdir()
    for path in (root / "val").iterdir():
        (root / "test" / path.name.replace("val", "test")).write_bytes(path.read_bytes())
    return root


def build(root, **options):
    data = PairedDataModule(root, size=16, num_workers=0, batch_size=2, **options)
    return data, Pix2PixModule(SMALL, None, pair_spec=data.pair_spec)


def test_a_test_has_the_figures_of_a_validation_on_the_same_pairs(trainer, root):
    data, module = build(root)
    (validated,) = trainer.validate(module, datamodule=data, verbose=False)
    (tested,) = trainer.test(module, datamodule=data, verbose=False)
    assert set(tested) == {"test/l1", "test/psnr", "test/ssim"}
    for name, value in tested.items():
        assert value == validated[name.replace("test", "val")]
    translator, differences = Translator(module), []
    for a, b, _ in data.open_split("test"):
        output = translator(torch.from_numpy(a).permute(2, 0, 1)[None] / 127.5 - 1)
        target = torch.from_numpy(b).permute(2, 0, 1)[None] / 127.5 - 1
        differences.append(float((output - target).abs().mean() / 2))
    assert tested["test/l1"] == pytest.approx(np.mean(differences), abs=1e-6)


def test_predicted_images_are_those_of_the_translator(trainer, root, caplog):
    data, module = build(root)
    batches = trainer.predict(module, datamodule=data)
    assert [batch["name"] for batch in batches] == [["test_0", "test_1"], ["test_2"]]
    translator = Translator(module)
    images = torch.cat([batch["output"] for batch in batches])
    for image, (source, _, _) in zip(images, data.open_split("test"), strict=True):
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), translator(source))
    for path in (root / "test").iterdir():
        path.unlink()
    (root / "test").rmdir()
    with caplog.at_level(logging.WARNING):
        batches = trainer.predict(module, datamodule=build(root)[0])
    assert batches[1]["name"] == ["val_2"]
    assert "pairs/test" in caplog.text


def test_prediction_needs_no_target_and_no_name(trainer, root):
    _, module = build(root)
    loader = torch.utils.data.DataLoader([{"source": torch.zeros(3, 16, 16, dtype=torch.uint8)}])
    (batch,) = trainer.predict(module, loader)
    assert batch["output"].shape == (1, 3, 16, 16)
    assert batch["output"].dtype == torch.uint8
    assert set(batch) == {"output"}
