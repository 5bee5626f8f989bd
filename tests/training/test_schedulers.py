import io
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pix2pix_lightning.training.schedulers import LinearDecay, WarmupCosine
from pix2pix_lightning.utils.errors import UserError


def make_optimizer() -> Optimizer:
    first, second = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    return torch.optim.Adam([{"params": [first], "lr": 2e-4}, {"params": [second], "lr": 0.5}])


def collect_rates(optimizer: Optimizer, schedule: LRScheduler, num_epochs: int) -> list[list[float]]:
    """Step through epochs and return both groups' rates in each."""
    seen = []
    for _ in range(num_epochs):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return seen


CASES: list[tuple[Callable[[Optimizer], LRScheduler], list[float]]] = [
    (lambda o: LinearDecay(o, hold_epochs=3, decay_epochs=2), [1, 1, 1, 2 / 3, 1 / 3, 0, 0]),
    (lambda o: LinearDecay(o, hold_epochs=0, decay_epochs=3), [3 / 4, 2 / 4, 1 / 4, 0]),
    (lambda o: LinearDecay(o, hold_epochs=2, decay_epochs=0), [1, 1, 0]),
    (lambda o: LinearDecay(o), [1] * 100 + [k / 101 for k in range(100, 0, -1)]),
    (
        lambda o: WarmupCosine(o, warmup_epochs=2, total_epochs=5, final_factor=0.2),
        [1 / 3, 2 / 3, 1, 0.6, 0.2, 0.2, 0.2],
    ),
    # cos 60 degrees is 1/2, cos 120 degrees -1/2
    (lambda o: WarmupCosine(o, warmup_epochs=0, total_epochs=4), [1, 0.75, 0.25, 0, 0]),
]


@pytest.mark.parametrize(("make", "factors"), CASES)
def test_rates_follow_the_closed_form(make: Callable[[Optimizer], LRScheduler], factors: list[float]) -> None:
    optimizer = make_optimizer()
    seen = collect_rates(optimizer, make(optimizer), len(factors))
    for base, group in zip((2e-4, 0.5), zip(*seen, strict=True), strict=True):
        assert list(group) == pytest.approx([base * factor for factor in factors], rel=1e-12, abs=1e-16)


@pytest.mark.parametrize(("hold_epochs", "decay_epochs"), [(100, 100), (0, 1), (1, 7)])
def test_linear_decay_is_above_zero_in_the_last_epoch(hold_epochs: int, decay_epochs: int) -> None:
    optimizer = make_optimizer()
    schedule = LinearDecay(optimizer, hold_epochs=hold_epochs, decay_epochs=decay_epochs)
    last = collect_rates(optimizer, schedule, hold_epochs + decay_epochs)[-1]
    assert last == pytest.approx([2e-4 / (decay_epochs + 1), 0.5 / (decay_epochs + 1)], rel=1e-9)


def test_default_cosine_is_symmetric_and_ends_at_zero() -> None:
    optimizer = make_optimizer()
    seen = [epoch[1] / 0.5 for epoch in collect_rates(optimizer, WarmupCosine(optimizer), 200)]
    assert seen[:6] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])
    assert all(before > after for before, after in pairwise(seen[5:]))
    # Half a cosine from epoch 5 to 199 is point symmetric around the middle, epoch 102.
    assert seen[102] == pytest.approx(0.5)
    assert seen[52] + seen[152] == pytest.approx(1)
    assert seen[199] == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(("make", "factors"), CASES)
@pytest.mark.parametrize("num_before", [1, 3])
def test_resumed_schedule_equals_uninterrupted_schedule(
    make: Callable[[Optimizer], LRScheduler], factors: list[float], num_before: int
) -> None:
    optimizer = make_optimizer()
    whole = collect_rates(optimizer, make(optimizer), len(factors))

    optimizer = make_optimizer()
    schedule = make(optimizer)
    collect_rates(optimizer, schedule, num_before)
    file = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    optimizer = make_optimizer()
    schedule = make(optimizer)
    optimizer.load_state_dict(saved["optimizer"])
    schedule.load_state_dict(saved["schedule"])
    assert schedule.get_last_lr() == [group["lr"] for group in optimizer.param_groups]
    assert collect_rates(optimizer, schedule, len(factors) - num_before) == whole[num_before:]


def test_resumed_schedule_follows_its_new_arguments() -> None:
    optimizer = make_optimizer()
    schedule = LinearDecay(optimizer, hold_epochs=1, decay_epochs=2)
    collect_rates(optimizer, schedule, 2)
    state = schedule.state_dict()

    optimizer = make_optimizer()
    longer = LinearDecay(optimizer, hold_epochs=1, decay_epochs=4)
    longer.load_state_dict(state)
    factors = [rates[1] / 0.5 for rates in collect_rates(optimizer, longer, 4)]
    assert factors == pytest.approx([3 / 5, 2 / 5, 1 / 5, 0])


@pytest.mark.parametrize(
    ("schedule", "arguments", "values"),
    [
        (LinearDecay, {"hold_epochs": -1}, "hold_epochs=-1, decay_epochs=100"),
        (LinearDecay, {"decay_epochs": -2}, "hold_epochs=100, decay_epochs=-2"),
        (LinearDecay, {"hold_epochs": 0, "decay_epochs": 0}, "hold_epochs=0, decay_epochs=0"),
        (WarmupCosine, {"warmup_epochs": -1}, "warmup_epochs=-1"),
        (WarmupCosine, {"total_epochs": 6}, "set total_epochs=7"),
        (WarmupCosine, {"final_factor": 1.5}, r"final_factor=1\.5"),
        (WarmupCosine, {"final_factor": -0.1}, r"final_factor=-0\.1"),
    ],
)
def test_arguments_out_of_range(schedule: type[LRScheduler], arguments: dict[str, float], values: str) -> None:
    with pytest.raises(UserError, match=values):
        schedule(make_optimizer(), **arguments)
