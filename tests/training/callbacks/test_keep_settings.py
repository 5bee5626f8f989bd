"""Present settings win over the states of callbacks in a checkpoint."""

from types import SimpleNamespace

import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from pix2pix_lightning.training.callbacks import KeepSettings, RepeatValidation


def test_patience_is_the_present_one_and_the_best_score_is_kept_at_another_interval():
    before = [
        EarlyStopping("val/l1", patience=2),
        ModelCheckpoint("x", monitor="val/l1", every_n_epochs=1),
        ModelCheckpoint("x", monitor="val/ssim", mode="max"),
    ]
    before[1].best_model_score = torch.tensor(0.25)
    states = {callback.state_key: callback.state_dict() for callback in before}
    now = [EarlyStopping("val/l1", patience=7), ModelCheckpoint("x", monitor="val/l1", every_n_epochs=5)]
    KeepSettings().on_load_checkpoint(SimpleNamespace(callbacks=now), None, {"callbacks": states})
    for callback in now:
        callback.load_state_dict(states[callback.state_key])
    assert now[0].patience == 7
    assert now[1].best_model_score == 0.25
    assert before[1].state_key not in states
    assert before[2].state_key in states


def test_a_checkpoint_within_a_validation_has_seen_none_of_its_batches():
    progress = {
        "total": {"ready": 5, "started": 5, "processed": 5, "completed": 5},
        "current": {"ready": 2, "started": 2, "processed": 2, "completed": 2},
        "is_last_batch": True,
    }
    loops = {"fit_loop": {"epoch_loop.val_loop.batch_progress": progress}}
    for validating in (False, True):
        assert progress["current"]["completed"] == 2
        RepeatValidation().on_save_checkpoint(SimpleNamespace(validating=validating), None, {"loops": loops})
    assert set(progress["current"].values()) == {0}
    assert progress["total"] == {"ready": 5, "started": 5, "processed": 4, "completed": 4}
