"""Moments of optimizers in bfloat16, for checkpoints of two thirds of the size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

MOMENTS = frozenset(
    {
        "exp_avg",  # Adam and its variants
        "exp_avg_sq",
        "max_exp_avg_sq",
        "exp_inf",  # Adamax
        "square_avg",  # RMSprop, Adadelta
        "grad_avg",
        "acc_delta",
        "momentum_buffer",  # SGD, RMSprop, Muon
        "sum",  # Adagrad
    }
)
"""Names of the averages in the states of torch's optimizers. Other entries, such as numbers of steps, rates of single
weights and averages of weights, need all of their digits."""


def narrow_moments(states: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Round the float32 moments of optimizers to bfloat16.

    bfloat16 has the exponent of float32, and the error of a normal value is at most 1/256 of it. What is below 4.6e-41
    becomes 0: the root of such a second moment is nothing next to Adam's ``eps``. What is above 3.396e38, within 0.2 %
    of the largest float32, becomes infinite. Numbers of steps and learning rates are not changed.

    Args:
        states: ``state_dict()`` of each optimizer. They share tensors with the optimizers and stay as they are.

    Returns:
        States with new tensors in place of the moments.

    Example:
        >>> states = [{"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(2)}}, "param_groups": []}]
        >>> narrow_moments(states)[0]["state"][0]["exp_avg"].dtype
        torch.bfloat16
    """
    return [{**one, "state": {key: _narrow(state) for key, state in one["state"].items()}} for one in states]


def _narrow(state: Any) -> Any:
    if not isinstance(state, Mapping):
        return state
    return {
        name: value.to(torch.bfloat16) if _is_moment(name, value) and value.dtype == torch.float32 else value
        for name, value in state.items()
    }


def find_moments(states: Sequence[Mapping[str, Any]], dtype: torch.dtype) -> bool:
    """Return whether the states of optimizers have moments of a type.

    Args:
        states: ``state_dict()`` of each optimizer, or those of a checkpoint.
        dtype: The type.
    """
    return any(value.dtype == dtype for one in states for value in _iterate_moments(one["state"]))


def has_narrowed_moments(checkpoint: Mapping[str, Any]) -> bool:
    """Return whether `narrow_moments` has rounded the moments in a checkpoint, whose weights are float32.

    Args:
        checkpoint: ``state_dict`` and ``optimizer_states``, as a trainer saves them.
    """
    is_float32 = any(value.dtype == torch.float32 for value in checkpoint["state_dict"].values())
    return is_float32 and find_moments(checkpoint.get("optimizer_states", ()), torch.bfloat16)


def _iterate_moments(states: Mapping[Any, Any]) -> Iterator[Tensor]:
    for state in states.values():
        if isinstance(state, Mapping):
            yield from (value for name, value in state.items() if _is_moment(name, value))


def _is_moment(name: object, value: object) -> bool:
    return name in MOMENTS and isinstance(value, Tensor)
