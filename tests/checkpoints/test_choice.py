"""Which checkpoint of a run, and which of its weights, are taken by default."""

import pytest
import torch

import small_networks
from pix2pix_lightning import Pix2PixModule
from pix2pix_lightning.checkpoints.choice import describe_choice, resolve_weights
from pix2pix_lightning.checkpoints.files import BEST, LAST, find_checkpoint
from pix2pix_lightning.utils.errors import UserError

DISCRIMINATOR = {"_target_": "pix2pix_lightning.networks.PatchDiscriminator", "num_layers": 1, "base_channels": 4}


def make_run(folder, discriminator, **parts):
    """Write both checkpoints of a run, and return their paths."""
    module = Pix2PixModule(small_networks.UNET, discriminator, **parts)
    return [small_networks.save(module, folder / name) for name in (BEST, LAST)]


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-100])


def test_a_run_with_a_discriminator_stands_for_its_last_checkpoint(tmp_path):
    best, last = make_run(tmp_path, DISCRIMINATOR)
    assert find_checkpoint(tmp_path) == last
    assert find_checkpoint(best) == best
    assert find_checkpoint(tmp_path, prefer=BEST) == best
    cut_short(last)  # an error, which names the file, rather than other weights than yesterday's
    assert find_checkpoint(tmp_path) == last
    last.unlink()
    assert find_checkpoint(tmp_path) == best


def test_so_does_one_whose_discriminator_is_an_object(tmp_path):
    discriminator = torch.nn.Sequential(torch.nn.Conv2d(6, 1, 4, 2))
    _, last = make_run(tmp_path, discriminator)
    assert find_checkpoint(tmp_path) == last


def test_a_run_without_one_stands_for_its_best_checkpoint(tmp_path):
    best, last = make_run(tmp_path, None)
    assert find_checkpoint(tmp_path) == best
    cut_short(last)
    assert find_checkpoint(tmp_path) == best
    best.unlink()
    assert find_checkpoint(tmp_path) == last


def rewrite(path, **changes):
    """Change keys of a checkpoint."""
    torch.save({**torch.load(path, weights_only=True), **changes}, path)


def test_auto_is_ema_where_there_are_such_weights(tmp_path):
    best, last = make_run(tmp_path, None)
    rewrite(last, ema_generator={"weight": torch.zeros(1)})
    assert [resolve_weights(path, "auto") for path in (best, last)] == ["trained", "ema"]
    assert [resolve_weights(last, given) for given in ("trained", "ema")] == ["trained", "ema"]
    assert resolve_weights(tmp_path / "latest_net_G.pth", "auto") == "trained"
    cut_short(last)
    with pytest.raises(UserError, match=r"last\.ckpt cannot be read"):
        resolve_weights(last, "auto")


def test_the_line_says_which_file_why_and_which_weights(tmp_path):
    best, last = make_run(tmp_path, DISCRIMINATOR)
    callbacks = {"ModelCheckpoint{'a'}": {"monitor": "val/ssim"}, "ModelCheckpoint{'b'}": {"monitor": None}}
    for path in (best, last):
        rewrite(path, epoch=199, callbacks=callbacks)
    line = f"weights: {last} (the last of a training with a discriminator, epoch 200), EMA weights"
    assert describe_choice(tmp_path, last, "ema") == line
    assert (
        describe_choice(tmp_path, best, "trained")
        == f"weights: {best} (the best by val/ssim, epoch 200), trained weights"
    )
    assert describe_choice(best, best, "ema") == f"weights: {best} (epoch 200), EMA weights"
    assert describe_choice(best, best, "trained") is None
    make_run(tmp_path, None)
    rewrite(last, epoch=0)
    assert describe_choice(tmp_path, last, "trained") == f"weights: {last} (the last, epoch 1), trained weights"
