"""Tests of initial weights from files, ``init_from``."""

import pytest
import torch

from pix2pix_lightning import Pix2PixModule
from pix2pix_lightning.checkpoints.files import read_checkpoint
from pix2pix_lightning.checkpoints.junyanz import write_junyanz
from pix2pix_lightning.cli.errors import format_error
from pix2pix_lightning.networks import PatchDiscriminator, UNetGenerator
from pix2pix_lightning.train import train
from pix2pix_lightning.training.build import build_training
from pix2pix_lightning.training.init_weights import load_initial_weights
from tiny_training import NO_GALLERY, configure

UNET = {"_target_": "pix2pix_lightning.networks.UNetGenerator", "num_downs": 5, "base_channels": 4}
PATCH = {"_target_": "pix2pix_lightning.networks.PatchDiscriminator", "num_layers": 1, "base_channels": 4}


def build_networks(seed):
    torch.manual_seed(seed)
    return UNetGenerator(num_downs=5, base_channels=4), PatchDiscriminator(num_layers=1, base_channels=4)


def assert_same_weights(network, other):
    torch.testing.assert_close(network.state_dict(), other.state_dict(), rtol=0, atol=0)


@pytest.fixture
def junyanz(tmp_path):
    """Return a checkpoint folder of junyanz, and its networks."""
    folder = tmp_path / "checkpoints" / "mine"
    folder.mkdir(parents=True)
    generator, discriminator = build_networks(1)
    write_junyanz(generator, folder / "latest_net_G.pth")
    write_junyanz(discriminator, folder / "latest_net_D.pth")
    return folder, generator, discriminator


def test_weights_of_junyanz_files(junyanz):
    folder, generator, discriminator = junyanz
    for name, has_discriminator in ((folder, True), (folder / "latest_net_G.pth", False)):
        module = Pix2PixModule(UNET, PATCH)
        before = {key: value.clone() for key, value in module.discriminator.state_dict().items()}
        load_initial_weights(module, str(name))
        assert_same_weights(module.generator, generator)
        if has_discriminator:
            assert_same_weights(module.discriminator, discriminator)
        else:
            torch.testing.assert_close(module.discriminator.state_dict(), before, rtol=0, atol=0)
    module = Pix2PixModule(UNET, PATCH)
    load_initial_weights(module, [str(folder / "latest_net_D.pth"), str(folder / "latest_net_G.pth")])
    assert_same_weights(module.discriminator, discriminator)
    assert_same_weights(module.generator, generator)


def test_regression_needs_no_discriminator(junyanz):
    module = Pix2PixModule(UNET, None)
    load_initial_weights(module, str(junyanz[0] / "latest_net_G.pth"))
    assert_same_weights(module.generator, junyanz[1])
    with pytest.raises(ValueError, match=r"latest_net_D\.pth"):
        load_initial_weights(module, str(junyanz[0] / "latest_net_D.pth"))


def test_weights_of_runs_and_pretrained_folders(small_pairs, caplog):
    words = [f"data.root={small_pairs}", NO_GALLERY, "trainer.max_epochs=1"]
    train(configure(*words, "run_dir=first"))
    run = Pix2PixModule.load_from_checkpoint("first/checkpoints/best.ckpt")
    run.save_pretrained("pretrained")
    for name in ("first", "first/checkpoints/best.ckpt", "pretrained", "pretrained/model.safetensors"):
        module = build_training(configure(*words, "run_dir=next", f"init_from={name}")).module
        assert_same_weights(module.generator, run.generator)
        assert_same_weights(module.discriminator, run.discriminator)
    cfg = configure(*words, "run_dir=next", "init_from=first", "discriminator=pixel")
    with caplog.at_level("INFO", "pix2pix_lightning"):
        other = build_training(cfg).module
    assert_same_weights(other.generator, run.generator)
    assert "discriminator of" not in caplog.text  # what was loaded
    assert "that of first" in caplog.text  # what was not


def test_resumed_run_ignores_init_from(junyanz, small_pairs):
    words = [f"data.root={small_pairs}", NO_GALLERY, "run_dir=run", f"init_from={junyanz[0]}"]
    words += ["module.optimizer_g.lr=0.0", "module.optimizer_d.lr=0.0", "module.generator.dropout_at=junyanz"]
    words += ["data.size=32", "module.generator.num_downs=5", "module.generator.base_channels=4"]
    words += ["module.discriminator.base_channels=4"]
    train(configure(*words, "trainer.max_epochs=1"))
    state = torch.load("run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    for key, value in junyanz[1].named_parameters():
        assert torch.equal(state[f"generator.{key}"], value)
    for path in junyanz[0].iterdir():
        path.unlink()
    train(configure(*words, "resume=run"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_downs": 4}, "module.generator.num_downs=5"),
        ({"base_channels": 8}, "module.generator.base_channels=4"),
        ({"norm": "instance"}, "module.generator.norm=batch"),
        ({"noise_channels": 2}, "set module.generator.noise_channels=0$"),
        ({"_target_": "pix2pix_lightning.networks.ResNetGenerator"}, "UNetGenerator"),
    ],
)
def test_error_of_another_generator_names_the_setting(junyanz, changes, message):
    described = {**UNET, **changes}
    if "ResNet" in described["_target_"]:
        del described["num_downs"]
    with pytest.raises(ValueError, match=message):
        load_initial_weights(Pix2PixModule(described, None), str(junyanz[0]))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.ckpt", "init_from=none.ckpt"),
        ("page.pth", "page.pth"),
        ("model.onnx", "init_from=model.onnx"),
    ],
)
def test_unusable_files_are_user_errors(tmp_path, small_pairs, name, message):
    for file in ("page.pth", "model.onnx"):
        (tmp_path / file).write_text("<html></html>")
    with pytest.raises((ValueError, OSError)) as error:
        train(configure(f"data.root={small_pairs}", "run_dir=run", f"init_from={name}"))
    line = format_error(error.value, "train")
    assert message in line
    assert not (tmp_path / "run").exists()


def test_ema_weights_of_a_run(small_pairs):
    words = [f"data.root={small_pairs}", NO_GALLERY, "trainer.max_epochs=1"]
    train(configure(*words, "run_dir=first", "callbacks=[default,ema]", "callbacks.ema.decay=0.9"))
    saved = read_checkpoint("first/checkpoints/best.ckpt")
    cfg = configure(*words, "run_dir=next", "init_from=first", "init_weights=ema")
    module = build_training(cfg).module
    torch.testing.assert_close(dict(module.generator.state_dict()), saved["ema_generator"], rtol=0, atol=0)
    for name, value in module.discriminator.state_dict().items():
        assert torch.equal(value, saved["state_dict"][f"discriminator.{name}"])
    with pytest.raises(ValueError, match="init_weights=ema is of the files of init_from="):
        train(configure(*words, "run_dir=next", "init_weights=ema"))
    with pytest.raises(ValueError, match="init_weights='best'"):
        load_initial_weights(module, "first", weights="best")
    module.save_pretrained("pretrained")
    with pytest.raises(ValueError, match=r"no EMA weights.*init_weights=trained"):
        load_initial_weights(module, "pretrained", weights="ema")
