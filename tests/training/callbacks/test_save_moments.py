"""Trainings whose checkpoints have the optimizers' moments in bfloat16."""

import logging
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn

from pix2pix_lightning.checkpoints.files import read_checkpoint, write_checkpoint
from pix2pix_lightning.train import train
from pix2pix_lightning.training.callbacks import SaveMoments
from pix2pix_lightning.utils.errors import UserError
from tiny_training import NO_GALLERY, configure, use_probe

ROUNDED = "saving.moments=bfloat16"
MOMENTS = ("exp_avg", "exp_avg_sq")


class SeeMoments(Callback):
    """Collects the types of the moments at the first batch of a training."""

    def __init__(self):
        self.types = set()

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        for optimizer in trainer.optimizers:
            for state in optimizer.state.values():
                self.types |= {state[name].dtype for name in MOMENTS}


@pytest.fixture
def train_in(small_pairs):
    def train_in(folder, *words):
        train(configure(f"data.root={small_pairs}", f"run_dir={folder}", NO_GALLERY, *words))
        return read_checkpoint(f"{folder}/checkpoints/last.ckpt")

    return train_in


def list_states(checkpoint):
    return [state for one in checkpoint["optimizer_states"] for state in one["state"].values()]


def assert_same_weights(one, other):
    assert one["state_dict"].keys() == other["state_dict"].keys()
    for name, value in one["state_dict"].items():
        assert torch.equal(value, other["state_dict"][name]), name


def test_a_run_goes_on_from_exact_weights_and_rounded_moments(train_in, tmp_path, caplog):
    exact = train_in("exact", "trainer.max_epochs=1")
    rounded = train_in("rounded", "trainer.max_epochs=1", ROUNDED)
    assert_same_weights(exact, rounded)
    best = read_checkpoint("rounded/checkpoints/best.ckpt")
    for own, last, first in zip(*map(list_states, (exact, rounded, best)), strict=True):
        assert torch.equal(own["step"], last["step"])
        assert last["step"].dtype == torch.float32
        for name in MOMENTS:
            assert last[name].dtype == first[name].dtype == torch.bfloat16
            assert torch.equal(own[name].bfloat16(), last[name])
    for one, other in zip(exact["optimizer_states"], rounded["optimizer_states"], strict=True):
        assert one["param_groups"] == other["param_groups"]

    # the same moments as float32 in the file
    widened = {**rounded, "optimizer_states": [widen(one) for one in rounded["optimizer_states"]]}
    write_checkpoint(widened, "widened.ckpt")
    seen = SeeMoments()
    with caplog.at_level(logging.INFO):
        resumed = train_in("rounded", "trainer.max_epochs=2", "resume=auto", use_probe(seen))
    assert seen.types == {torch.float32}
    assert "saving.moments" in caplog.text
    assert not any(state["exp_avg"].dtype == torch.bfloat16 for state in list_states(resumed))
    caplog.clear()
    expected = train_in("widened", "trainer.max_epochs=2", "resume=widened.ckpt")
    assert_same_weights(expected, resumed)
    assert "saving.moments" not in caplog.text


def widen(state):
    states = {
        key: {name: value.float() if name in MOMENTS else value for name, value in one.items()}
        for key, one in state["state"].items()
    }
    return {**state, "state": states}


def test_another_choice_is_refused():
    with pytest.raises(UserError, match=r"saving\.moments=float16"):
        SaveMoments("float16")


@pytest.mark.parametrize(
    ("kind", "dtype", "is_refused"),
    [
        (torch.optim.SGD, torch.float32, True),
        (torch.optim.Adam, torch.bfloat16, True),
        (torch.optim.Adam, torch.float64, True),
        (torch.optim.Adam, torch.float32, False),
    ],
)
def test_a_choice_without_effect_is_refused_after_the_first_step(kind, dtype, is_refused):
    network = nn.Linear(2, 2, dtype=dtype)
    optimizer = kind(network.parameters(), lr=0.1)
    trainer = SimpleNamespace(optimizers=[optimizer], global_step=0)
    callback = SaveMoments("bfloat16")
    callback.on_train_batch_end(trainer)  # gradients of the first batch may still be accumulated
    network(torch.ones(1, 2, dtype=dtype)).sum().backward()
    optimizer.step()
    trainer.global_step = 1
    SaveMoments().on_train_batch_end(trainer)
    if is_refused:
        with pytest.raises(UserError, match=kind.__name__):
            callback.on_train_batch_end(trainer)
    else:
        callback.on_train_batch_end(trainer)
