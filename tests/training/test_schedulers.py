import io
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pix2pix_lightning.training.schedulers import LinearDecay, WarmupCosine


def make_optimizer() -> Optimizer:
    first, second = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    return torch.optim.Adam([{"params": [first], "lr": 2e-4}, {"params": [second], "lr": 0.5}])


def rates(optimizer: Optimizer, schedule: LRScheduler, num_epochs: int) -> list[list[float]]:
    """Return both groups' rates in each epoch, as the optimizer has them."""
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
def test_factors(make: Callable[[Optimizer], LRScheduler], factors: list[float]) -> None:
    optimizer = make_optimizer()
    seen = rates(optimizer, make(optimizer), len(factors))
    for base, group in zip((2e-4, 0.5), zip(*seen, strict=True), strict=True):
        assert list(group) == pytest.approx([base * factor for factor in factors], rel=1e-12, abs=1e-16)


@pytest.mark.parametrize(("hold_epochs", "decay_epochs"), [(100, 100), (0, 1), (1, 7), (0, 1000)])
def test_last_epoch_learns(hold_epochs: int, decay_epochs: int) -> None:
    optimizer = make_optimizer()
    schedule = LinearDecay(optimizer, hold_epochs=hold_epochs, decay_epochs=decay_epochs)
    last = rates(optimizer, schedule, hold_epochs + decay_epochs)[-1]
    assert last == pytest.approx([2e-4 / (decay_epochs + 1), 0.5 / (decay_epochs + 1)], rel=1e-9)


def test_cosine_defaults() -> None:
    optimizer = make_optimizer()
    seen = [epoch[1] / 0.5 for epoch in rates(optimizer, WarmupCosine(optimizer), 200)]
    assert seen[:6] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])
    assert all(before > after for before, after in pairwise(seen[5:]))
    # Epochs 5 and 199 are the ends: what falls by one side of the middle, 102, is left on the other.
    assert seen[102] == pytest.approx(0.5)
    assert seen[52] + seen[152] == pytest.approx(1)
    assert seen[199] == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(("make", "factors"), CASES)
@pytest.mark.parametrize("num_before", [1, 3])
def test_resumed_is_uninterrupted(
    make: Callable[[Optimizer], LRScheduler], factors: list[float], num_before: int
) -> None:
    optimizer = make_optimizer()
    whole = rates(optimizer, make(optimizer), len(factors))

    optimizer = make_optimizer()
    schedule = make(optimizer)
    rates(optimizer, schedule, num_before)
    file = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    optimizer = make_optimizer()
    schedule = make(optimizer)
    optimizer.load_state_dict(saved["optimizer"])
    schedule.load_state_dict(saved["schedule"])
    assert schedule.get_last_lr() == [group["lr"] for group in optimizer.param_groups]
    assert rates(optimizer, schedule, len(factors) - num_before) == whole[num_before:]


@pytest.mark.parametrize(
    ("schedule", "arguments", "message"),
    [
        (LinearDecay, {"hold_epochs": -1}, r"hold_epochs=-1, decay_epochs=100 is no schedule: .*"),
        (LinearDecay, {"decay_epochs": -2}, r"hold_epochs=100, decay_epochs=-2 is no schedule: .*"),
        (
            LinearDecay,
            {"hold_epochs": 0, "decay_epochs": 0},
            r"hold_epochs=0, decay_epochs=0 is no schedule: .*",
        ),
        (WarmupCosine, {"warmup_epochs": -1}, r"warmup_epochs must not be negative, got -1: .*"),
        (WarmupCosine, {"total_epochs": 6}, r"total_epochs=6 .* warmup_epochs=5: make it at least 7, .*"),
        (WarmupCosine, {"final_factor": 1.5}, r"final_factor must be from 0 to 1, got 1\.5: .*"),
        (WarmupCosine, {"final_factor": -0.1}, r"final_factor must be from 0 to 1, got -0\.1: .*"),
    ],
)
def test_wrong_arguments(schedule: type[LRScheduler], arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        schedule(make_optimizer(), **arguments)
