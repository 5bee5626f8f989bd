import pytest
import torch

from helpers import TINY, make_strips
from pix2pix_lightning import Translator, compose
from pix2pix_lightning.checkpoints.files import read_checkpoint
from pix2pix_lightning.train import train
from pix2pix_lightning.training.callbacks import EMA


def run(tmp_path, folder, *overrides):
    if not (tmp_path / "pairs").exists():
        make_strips(tmp_path / "pairs", train=8)
    average = ["callbacks=[default,ema]", "callbacks.ema.decay=0.4", "trainer.precision=64-true"]
    train(compose("train", [*TINY, "data.root=pairs", f"run_dir={folder}", *average, *overrides]))
    return read_checkpoint(tmp_path / folder / "checkpoints/last.ckpt")


def generator_of(checkpoint):
    prefix = "generator."
    return {n.removeprefix(prefix): v for n, v in checkpoint["state_dict"].items() if n.startswith(prefix)}


def test_the_average_is_the_recursion_over_all_batches(tmp_path):
    # one batch an epoch, so that the checkpoint of each run holds the weights after one more batch
    one_batch = ["trainer.limit_train_batches=1"]
    after = [run(tmp_path, f"run_{n}", *one_batch, f"trainer.max_epochs={n}") for n in (1, 2, 3)]
    start = run(tmp_path, "start", *one_batch, "trainer.max_epochs=1", "module.optimizer_g.lr=0.0")
    for name, value in generator_of(start).items():
        if "running" in name or "num_batches" in name:
            continue
        expected = value
        for number, checkpoint in enumerate(after, start=1):
            decay = min(0.4, (1 + number) / (10 + number))
            expected = decay * expected + (1 - decay) * generator_of(checkpoint)[name]
        assert torch.allclose(after[-1]["ema_generator"][name], expected, atol=1e-12), name


def test_a_resumed_run_goes_on_with_its_average(tmp_path):
    whole = run(tmp_path, "whole", "trainer.max_epochs=3")
    run(tmp_path, "parts", "trainer.max_epochs=1")
    parts = run(tmp_path, "parts", "trainer.max_epochs=3", "resume=parts")
    for name, value in whole["ema_generator"].items():
        assert torch.equal(value, parts["ema_generator"][name])
        assert torch.isfinite(value).all()


def test_the_translator_uses_the_average_on_request(tmp_path):
    checkpoint = run(tmp_path, "run", "module.optimizer_g.lr=0.01")
    source = torch.rand(1, 3, 32, 32)
    trained, averaged = (Translator("run/checkpoints/last.ckpt", weights=w) for w in ("trained", "ema"))
    assert not torch.equal(trained(source), averaged(source))
    trained.generator.load_state_dict(checkpoint["ema_generator"])
    assert torch.equal(trained(source), averaged(source))


def test_weights_that_were_not_averaged(tmp_path):
    make_strips(tmp_path / "pairs")
    train(compose("train", [*TINY, "data.root=pairs", "run_dir=run", "trainer.max_epochs=1"]))
    with pytest.raises(ValueError, match=r"callbacks=\[default,ema\]"):
        Translator("run", weights="ema")
    with pytest.raises(ValueError, match="decay=1"):
        EMA(decay=1)


def test_early_stopping_ends_a_run_that_does_not_improve(tmp_path):
    make_strips(tmp_path / "pairs")
    stop = ["callbacks=[default,early_stopping]", "callbacks.early_stopping.patience=2", "module.optimizer_g.lr=0.0"]
    train(compose("train", [*TINY, "data.root=pairs", "run_dir=run", "loss=l1", *stop, "trainer.max_epochs=50"]))
    checkpoint = read_checkpoint(tmp_path / "run/checkpoints/last.ckpt")
    assert checkpoint["epoch"] == 2  # the first epoch and two without improvement
