"""Arguments of descriptions; building from them is tested where it is used."""

import pytest

from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.instantiate import get_argument

ADAM = {"_target_": "torch.optim.Adam", "lr": 0.1}
ANY = {"_target_": "torch.nn.Identity", "given": 3}  # takes any keyword


@pytest.mark.parametrize(
    ("description", "key", "value"),
    [
        (ADAM, "lr", 0.1),
        (ADAM, "betas", [0.9, 0.999]),
        (ADAM, "amsgrad", False),
        (ANY, "given", 3),
        (ANY, "other", None),
    ],
)
def test_an_argument_is_what_is_set_or_the_default(description, key, value):
    assert get_argument(description, key) == value


def test_a_name_that_a_class_does_not_take_is_refused():
    with pytest.raises(UserError, match="gamma"):
        get_argument(ADAM, "gamma")
