"""Trainer.validate, test and predict with a module and pairs in a folder."""

import logging

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

from helpers import make_strips
from pix2pix_lightning import PairedDataModule, Pix2PixModule, Translator
from pix2pix_lightning.data.files.image_files import read_image
from pix2pix_lightning.training.callbacks import Gallery, Journal
from pix2pix_lightning.utils.errors import UserError
from small_networks import PALETTE, UNET, by_hand, trained

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


LABELS = {"kind": "label", "palette": PALETTE}


@pytest.mark.parametrize(
    ("source", "target"),
    [({}, {}), ({"kind": "grayscale"}, LABELS), ({"kind": "label", "num_classes": 5}, {"kind": "grayscale"})],
)
def test_a_batch_of_any_size_is_predicted_as_the_translator_does(source, target):
    module = trained(UNET, pair_spec={"source": source, "target": target})
    high = module.pair_spec.source.channels if source.get("kind") == "label" else 256
    channels = module.pair_spec.source.file_channels
    images = np.random.default_rng(0).integers(0, high, (3, 13, 21, channels), np.uint8)  # the network takes 16 and 24
    module.batch_reader.start("predict")
    batch = module.on_after_batch_transfer({"source": torch.from_numpy(images).permute(0, 3, 1, 2)}, 0)
    output = module.predict_step(batch, 0)["output"].permute(0, 2, 3, 1).numpy()
    translator = Translator(module)
    translated = np.stack([translator(image) for image in images])
    assert output.shape == translated.shape
    if target.get("kind") == "label":
        assert (output != translated).any(-1).mean() < 0.01  # a class that is as likely as another
    else:
        assert np.abs(output.astype(int) - translated).max() <= 1
    assert len(np.unique(output)) > 1


def test_generate_depends_on_no_mode_and_forward_does():
    module = trained(UNET)
    source = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    evaluated = module.eval().generate(source)
    assert torch.equal(module.train().generate(source), evaluated)
    assert module.generator.training
    assert not evaluated.requires_grad
    torch.testing.assert_close(evaluated, by_hand(module, source, "image"), atol=1e-5, rtol=0)
    with torch.no_grad():
        assert (module.eval()(source) - evaluated).abs().mean() > 8 / 127.5


def test_a_project_with_loaders_of_tuples_trains_tests_and_predicts(tmp_path):
    bytes_ = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 3, 16, 16), np.uint8))
    loader = DataLoader(TensorDataset(bytes_, 255 - bytes_), batch_size=2)
    patch = {"_target_": "pix2pix_lightning.networks.PatchDiscriminator", "num_layers": 1, "base_channels": 2}
    module = Pix2PixModule(SMALL, patch, batch_keys=(0, 1))
    best = ModelCheckpoint(tmp_path, filename="best", monitor="val/l1", save_last=True)
    callbacks = [best, Gallery(tmp_path / "gallery", num_images=3), Journal()]
    shown = {"enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1}
    trainer = Trainer(accelerator="cpu", logger=False, callbacks=callbacks, max_epochs=1, **shown)
    trainer.fit(module, loader, loader)
    assert module.batches_seen == 2
    for number in range(3):
        shown = read_image(tmp_path / f"gallery/images/{number:03d}_pair/input.png")
        np.testing.assert_array_equal(shown, bytes_[number].permute(1, 2, 0).numpy())
    (validated,) = trainer.validate(module, loader, verbose=False)
    for path in ("best", "last"):
        (tested,) = trainer.test(dataloaders=loader, ckpt_path=path, verbose=False)
        assert tested["test/l1"] == pytest.approx(validated["val/l1"], abs=1e-6)
    loaded = Pix2PixModule.load_from_checkpoint(tmp_path / "last.ckpt")
    batches = trainer.predict(loaded, DataLoader(TensorDataset(bytes_), batch_size=4))
    translator = Translator(tmp_path / "last.ckpt")
    translated = np.stack([translator(image.permute(1, 2, 0).numpy()) for image in bytes_])
    difference = batches[0]["output"].permute(0, 2, 3, 1).numpy().astype(int) - translated
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ({"gradient_clip_val": 0.5}, "Pix2PixModule(gradient_clip=0.5)"),
        ({"accumulate_grad_batches": 4}, "Pix2PixModule(accumulate=4)"),
        ({"gradient_clip_algorithm": "value"}, "gradient_clip="),
    ],
)
def test_what_is_the_modules_is_said_by_a_line(root, argument, named):
    data, module = build(root)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", enable_checkpointing=False, max_epochs=1, **quiet, **argument)
    with pytest.raises(UserError) as caught:
        trainer.fit(module, data)
    assert named in str(caught.value)
    trainer.predict(module, data)  # which takes no step
