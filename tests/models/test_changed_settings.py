"""A training that is resumed with other settings of its optimizers and schedules."""

import copy

import pytest
import torch

from pix2pix_lightning.checkpoints.restore import check_resumable
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.models.changed_settings import apply_changed_settings
from pix2pix_lightning.models.components import build_optimizers
from pix2pix_lightning.models.pix2pix import Pix2PixModule
from pix2pix_lightning.training.schedulers import LinearDecay
from pix2pix_lightning.utils.errors import UserError

ADAM = {"_target_": "torch.optim.Adam", "lr": 0.4, "betas": [0.5, 0.999]}
DECAY = {
    "_target_": "pix2pix_lightning.training.schedulers.LinearDecay", "hold_epochs": 1, "decay_epochs": 3
}  # fmt: skip
GENERATOR = {"_target_": "pix2pix_lightning.networks.UNetGenerator", "num_downs": 2, "base_channels": 4}
STEPS = {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 1, "gamma": 0.5}

ONE_CYCLE = {"_target_": "torch.optim.lr_scheduler.OneCycleLR", "max_lr": 0.1, "total_steps": 8}


def build(schedule, lr=0.4):
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=lr, betas=(0.5, 0.999))
    if schedule is DECAY:
        return optimizer, LinearDecay(optimizer, hold_epochs=1, decay_epochs=3)
    if schedule is ONE_CYCLE:
        return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, 8)
    return optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5) if schedule else None


def save(schedule, num_epochs=2, **optimizer):
    """A checkpoint after some epochs."""
    trained, rates = build(schedule)
    for _ in range(num_epochs):
        trained.step()
        if rates:
            rates.step()
    return {
        "hyper_parameters": {"optimizer_g": {**ADAM, **optimizer}, "optimizer_d": None, "schedule": schedule},
        "optimizer_states": [trained.state_dict()],
        "lr_schedulers": [rates.state_dict()] if rates else [],
        "loops": {"fit_loop": {"epoch_progress": {"current": {"processed": num_epochs}}}},
        "pix2pix_lightning": {"live": []},
    }


def resume(checkpoint, schedule, **optimizer):
    """The rate and the optimizer's group of a training that goes on, after an epoch more."""
    own = {"optimizer_g": {**ADAM, **optimizer}, "optimizer_d": None, "schedule": schedule}
    apply_changed_settings(checkpoint, own)
    resumed, rates = build(schedule, own["optimizer_g"]["lr"])
    resumed.load_state_dict(checkpoint["optimizer_states"][0])
    for state in checkpoint["lr_schedulers"]:
        rates.load_state_dict(state)
    first = resumed.param_groups[0]["lr"]
    resumed.step()
    if rates:
        rates.step()
    return first, resumed.param_groups[0]["lr"], resumed.param_groups[0]


@pytest.mark.parametrize(
    ("before", "now", "factors"),
    [
        (None, None, (1, 1)),
        (DECAY, DECAY, (1 / 2, 1 / 4)),  # of epochs 2 and 3
        (STEPS, STEPS, (1 / 4, 1 / 8)),
        (None, DECAY, (1 / 2, 1 / 4)),
        (STEPS, DECAY, (1 / 2, 1 / 4)),
        (DECAY, None, (1, 1)),
        (ONE_CYCLE, None, (1, 1)),
        (ONE_CYCLE, DECAY, (1 / 2, 1 / 4)),
    ],
)
@pytest.mark.parametrize("lr", [0.4, 0.02])
def test_rates_are_those_of_a_training_that_always_had_the_settings(before, now, factors, lr):
    first, second, group = resume(save(before), now, lr=lr)
    assert (first, second) == pytest.approx((lr * factors[0], lr * factors[1]))
    assert tuple(group["betas"]) == (0.5, 0.999)  # which OneCycleLR moves too
    assert group.get("initial_lr", lr) == lr  # from which a later change starts


def test_a_rate_that_the_schedule_does_not_use_is_refused():
    with pytest.raises(UserError, match=r"module\.optimizer_g\.lr=0\.02 has no effect"):
        resume(save(ONE_CYCLE), ONE_CYCLE, lr=0.02)


def test_equal_settings_change_nothing():
    checkpoint = save(STEPS)
    before = copy.deepcopy(checkpoint)
    apply_changed_settings(checkpoint, checkpoint["hyper_parameters"])
    assert checkpoint["lr_schedulers"] == before["lr_schedulers"]
    assert checkpoint["optimizer_states"][0]["param_groups"] == before["optimizer_states"][0]["param_groups"]


def test_other_settings_of_the_optimizer_are_used():
    _, _, group = resume(save(None), None, betas=[0.9, 0.99], weight_decay=0.1)
    assert (group["betas"], group["weight_decay"]) == ((0.9, 0.99), 0.1)
    _, _, group = resume(save(None, weight_decay=0.1), None)  # back to the default
    assert group["weight_decay"] == 0


@pytest.mark.parametrize(
    ("changed", "schedule", "key"),
    [
        ({"_target_": "torch.optim.RMSprop"}, None, "optimizer_g._target_"),
        ({"amsgrad": True}, None, "optimizer_g.amsgrad"),
        ({"speed": 3}, None, "optimizer_g"),
        ({}, STEPS, "schedule"),
    ],
)
def test_what_does_not_go_with_the_state_is_refused(changed, schedule, key):
    checkpoint = save(None)
    with pytest.raises(UserError, match=f"module.{key}"):
        apply_changed_settings(
            checkpoint, {"optimizer_g": {**ADAM, **changed}, "optimizer_d": None, "schedule": schedule}
        )


def test_a_schedule_that_is_an_object_goes_on_from_the_state():
    checkpoint = save(DECAY)
    before = copy.deepcopy(checkpoint)
    own = {"optimizer_g": ADAM, "optimizer_d": None, "schedule": None}
    apply_changed_settings(checkpoint, own, ["schedule"])
    assert checkpoint["lr_schedulers"] == before["lr_schedulers"]
    assert checkpoint["optimizer_states"][0]["param_groups"] == before["optimizer_states"][0]["param_groups"]


class ThreeBetas(torch.optim.SGD):
    """An optimizer as other packages have them."""

    def __init__(self, parameters, lr=None, betas=(0.9, 0.9, 0.9)):
        super().__init__(parameters, lr=lr or betas[2])


@pytest.mark.parametrize(
    ("optimizer", "key"),
    [
        ({"_target_": f"{__name__}.ThreeBetas", "lr": None, "betas": [0.1, 0.2, 0.3]}, None),
        ({**ADAM, "betas": [0.1, 0.2, 0.3]}, "optimizer_g.betas"),
        ({**ADAM, "lr": float("inf")}, "optimizer_g.lr"),
    ],
)
def test_arguments_of_optimizers_of_torch_are_checked(optimizer, key):
    parts = {"optimizer_g": optimizer, "schedule": None}
    if key is None:
        assert build_optimizers(parts, g=torch.nn.Linear(1, 1))[0][0].defaults["lr"] == 0.3
    else:
        with pytest.raises(UserError, match=key):
            build_optimizers(parts, g=torch.nn.Linear(1, 1))


def test_a_schedule_by_its_name_alone_is_refused_before_training():
    with pytest.raises(UserError, match=r"schedule=linear_decay.*LinearDecay"):
        Pix2PixModule(GENERATOR, None, schedule="linear_decay")


def test_another_network_is_refused_by_its_key():
    before = {"pair_spec": PairSpec().to_dict(), "generator": GENERATOR, "discriminator": None}
    now = {**before, "generator": {**GENERATOR, "base_channels": 8}}
    check_resumable(PairSpec(), before, before)
    of_today = {**before, "generator": {**GENERATOR, "new_argument": None}}
    check_resumable(PairSpec(), of_today, before)
    of_today = {**before, "generator": {**GENERATOR, "noise_channels": 0}}
    check_resumable(PairSpec(), of_today, before)
    check_resumable(PairSpec(), before, of_today)
    noisy = {**before, "generator": {**GENERATOR, "noise_channels": 2}}
    for one, other in ((noisy, before), (before, noisy), (noisy, of_today)):
        with pytest.raises(UserError, match=r"module\.generator\.noise_channels"):
            check_resumable(PairSpec(), one, other)
    with pytest.raises(UserError, match=r"module\.generator\.base_channels=8, .* 4:"):
        check_resumable(PairSpec(), now, before)
