"""A schedule that ends before the training."""

import pytest

from pix2pix_lightning.training.schedule_checks import check_schedule_length
from pix2pix_lightning.utils.errors import UserError
from tiny_training import configure

FINAL = "module.schedule.final_factor=0.1"
LINEAR = ["schedule=linear_decay", "module.schedule.hold_epochs=2", "module.schedule.decay_epochs=3"]


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        ([*LINEAR, "trainer.max_epochs=5"], None),
        ([*LINEAR, "trainer.max_epochs=9"], r"module\.schedule\.decay_epochs=7 "),
        ([*LINEAR, "trainer.max_epochs=-1"], None),
        (["schedule=cosine", "trainer.max_epochs=9"], None),
        (["schedule=cosine", "module.schedule.total_epochs=8", "trainer.max_epochs=9"], "total_epochs=9 "),
        (
            ["schedule=cosine", "module.schedule.total_epochs=8", "trainer.max_epochs=9", FINAL],
            None,
        ),
        (["trainer.max_epochs=9"], None),
    ],
)
def test_what_to_set_is_named(words, fix):
    if fix is None:
        check_schedule_length(configure(*words))
    else:
        with pytest.raises(UserError, match=fix):
            check_schedule_length(configure(*words))
