"""A schedule that ends before the training."""

import pytest
from omegaconf import OmegaConf

from pix2pix_lightning.training.schedule_checks import check_schedule_length
from pix2pix_lightning.utils.errors import UserError
from tiny_training import configure

FINAL = "module.schedule.final_factor=0.1"
LINEAR = ["schedule=linear_decay", "module.schedule.hold_epochs=2", "module.schedule.decay_epochs=3"]
COSINE_8 = ["schedule=cosine", "module.schedule.total_epochs=8"]


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        ([*LINEAR, "trainer.max_epochs=5"], None),
        ([*LINEAR, "trainer.max_epochs=9"], r"module\.schedule\.decay_epochs=7 "),
        ([*LINEAR, "trainer.max_epochs=-1"], r"trainer\.max_epochs=5,"),
        ([*LINEAR, "trainer.max_epochs=null"], r"trainer\.max_epochs=5,"),
        (["schedule=cosine", "trainer.max_epochs=9"], None),
        (["schedule=cosine", "trainer.max_epochs=-1"], r"trainer\.max_epochs=200,"),
        ([*COSINE_8, "trainer.max_epochs=9"], "total_epochs=9 "),
        ([*COSINE_8, "trainer.max_epochs=9", FINAL], None),
        ([*COSINE_8, "trainer.max_epochs=-1", FINAL], None),
        (["trainer.max_epochs=9"], None),
        (["trainer.max_epochs=-1"], None),
    ],
)
def test_what_to_set_is_named(words, fix):
    if fix is None:
        check_schedule_length(configure(*words))
    else:
        with pytest.raises(UserError, match=fix):
            check_schedule_length(configure(*words))


@pytest.mark.parametrize("limit", [{"max_steps": 100}, {"max_time": "00:01:00:00"}])
def test_steps_and_time_are_an_end_too(limit):
    cfg = configure(*LINEAR, "trainer.max_epochs=-1")
    limited = OmegaConf.merge(OmegaConf.to_container(cfg, resolve=True), {"trainer": limit})
    with pytest.raises(UserError, match=r"trainer\.max_epochs=-1"):
        check_schedule_length(cfg)
    assert check_schedule_length(limited) is None


@pytest.mark.parametrize(
    ("name", "arguments", "last"),
    [
        ("StepLR", {"step_size": 3}, None),
        ("OneCycleLR", {"max_lr": 0.1, "total_steps": 9}, None),
        ("OneCycleLR", {"max_lr": 0.1, "total_steps": 5}, "epoch 5 "),
        ("PolynomialLR", {"total_iters": 8}, None),  # 0 in the last epoch alone
        ("PolynomialLR", {"total_iters": 5}, r"trainer\.max_epochs=5$"),
        ("CosineAnnealingLR", {"T_max": 4}, None),  # it rises again
    ],
)
def test_schedules_of_torch_are_tried(name, arguments, last):
    schedule = {"_target_": f"torch.optim.lr_scheduler.{name}", **arguments}
    cfg = OmegaConf.merge(configure("trainer.max_epochs=9"), {"module": {"schedule": schedule}})
    if last is None:
        check_schedule_length(cfg)
    else:
        with pytest.raises(UserError, match=last):
            check_schedule_length(cfg)
