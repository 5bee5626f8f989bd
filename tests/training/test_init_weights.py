"""``init_from``: a training that begins with the weights of a file."""

import pytest
import torch

from helpers import TINY, make_strips
from pix2pix_lightning import Pix2PixModule, compose
from pix2pix_lightning.checkpoints.junyanz import write_junyanz
from pix2pix_lightning.networks import PatchDiscriminator, UNetGenerator
from pix2pix_lightning.train import main, train
from pix2pix_lightning.training.build import assemble
from pix2pix_lightning.training.init_weights import begin_with

UNET = {"_target_": "pix2pix_lightning.networks.UNetGenerator", "num_downs": 5, "base_channels": 4}
PATCH = {"_target_": "pix2pix_lightning.networks.PatchDiscriminator", "num_layers": 1, "base_channels": 4}


def networks(seed):
    torch.manual_seed(seed)
    return UNetGenerator(num_downs=5, base_channels=4), PatchDiscriminator(num_layers=1, base_channels=4)


def assert_equal(network, other):
    torch.testing.assert_close(network.state_dict(), other.state_dict(), rtol=0, atol=0)


@pytest.fixture
def theirs(tmp_path):
    """The folder of a training of J's, and its networks."""
    folder = tmp_path / "checkpoints" / "mine"
    folder.mkdir(parents=True)
    generator, discriminator = networks(1)
    write_junyanz(generator, folder / "latest_net_G.pth")
    write_junyanz(discriminator, folder / "latest_net_D.pth")
    return folder, generator, discriminator


def test_of_j_s_files(theirs):
    folder, generator, discriminator = theirs
    for name, has_discriminator in ((folder, True), (folder / "latest_net_G.pth", False)):
        module = Pix2PixModule(UNET, PATCH)
        before = {key: value.clone() for key, value in module.discriminator.state_dict().items()}
        begin_with(module, str(name))
        assert_equal(module.generator, generator)
        if has_discriminator:
            assert_equal(module.discriminator, discriminator)
        else:
            torch.testing.assert_close(module.discriminator.state_dict(), before, rtol=0, atol=0)
    module = Pix2PixModule(UNET, PATCH)
    begin_with(module, [str(folder / "latest_net_D.pth"), str(folder / "latest_net_G.pth")])
    assert_equal(module.discriminator, discriminator)
    assert_equal(module.generator, generator)


def test_regression_needs_no_discriminator(theirs):
    module = Pix2PixModule(UNET, None)
    begin_with(module, str(theirs[0] / "latest_net_G.pth"))
    assert_equal(module.generator, theirs[1])
    with pytest.raises(ValueError, match="holds a discriminator, and this training has none"):
        begin_with(module, str(theirs[0] / "latest_net_D.pth"))


def test_of_a_run_and_of_a_pretrained_folder(tmp_path, caplog):
    make_strips(tmp_path / "pairs", train=2, val=1)
    words = [*TINY, "data.root=pairs", "trainer.max_epochs=1"]
    train(compose("train", [*words, "run_dir=first"]))
    run = Pix2PixModule.load_from_checkpoint("first/checkpoints/best.ckpt")
    run.save_pretrained("pretrained")
    for name in ("first", "first/checkpoints/best.ckpt", "pretrained", "pretrained/model.safetensors"):
        module = assemble(compose("train", [*words, "run_dir=next", f"init_from={name}"])).module
        assert_equal(module.generator, run.generator)
        assert_equal(module.discriminator, run.discriminator)
    with caplog.at_level("INFO", "pix2pix_lightning"):
        other = assemble(compose("train", [*words, "run_dir=next", "init_from=first", "discriminator=pixel"])).module
    assert_equal(other.generator, run.generator)
    assert "the discriminator begins anew" in caplog.text


def test_a_run_that_is_resumed_goes_on_with_its_own_weights(theirs, tmp_path):
    make_strips(tmp_path / "pairs", train=2, val=1)
    words = [*TINY, "data.root=pairs", "run_dir=run", f"init_from={theirs[0]}", "module.generator.dropout_at=junyanz"]
    words += ["module.discriminator.base_channels=4", "module.optimizer_g.lr=0.0", "module.optimizer_d.lr=0.0"]
    assert main([*words, "trainer.max_epochs=1"]) == 0
    state = torch.load("run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    for key, value in theirs[1].named_parameters():
        assert torch.equal(state[f"generator.{key}"], value)
    for path in theirs[0].iterdir():
        path.unlink()
    assert main(["resume=run", "trainer.max_epochs=2"]) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_downs": 4}, "say module.generator.num_downs=5"),
        ({"base_channels": 8}, "say module.generator.base_channels=4"),
        ({"norm": "instance"}, "say module.generator.norm=batch"),
        ({"_target_": "pix2pix_lightning.networks.ResNetGenerator"}, "it is a UNetGenerator"),
    ],
)
def test_another_generator_is_refused_with_the_mend(theirs, changes, message):
    described = {**UNET, **changes}
    if "ResNet" in described["_target_"]:
        del described["num_downs"]
    with pytest.raises(ValueError, match=message):
        begin_with(Pix2PixModule(described, None), str(theirs[0]))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.ckpt", "init_from=none.ckpt is no checkpoint, and no folder with one"),
        ("page.pth", "page.pth"),
        ("model.onnx", "give the checkpoint"),
    ],
)
def test_mistakes(tmp_path, capsys, name, message):
    make_strips(tmp_path / "pairs", train=2, val=1)
    for file in ("page.pth", "model.onnx"):
        (tmp_path / file).write_text("<html></html>")
    assert main([*TINY, "data.root=pairs", "run_dir=run", f"init_from={name}"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "run").exists()
