"""Values of the latest validation: those that it measured, and not what an earlier one left behind."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from lightning.pytorch import Callback, Trainer

__all__ = ["MeasuresSometimes", "collect_validation_values"]


@runtime_checkable
class MeasuresSometimes(Protocol):
    """A callback that measures in some validations.

    Attributes:
        names: Names under which it logs.
        is_due: Whether it measured in the latest validation.
    """

    names: tuple[str, ...]
    is_due: bool


def collect_validation_values(trainer: Trainer) -> dict[str, float]:
    """Return the values that the latest validation logged as ``val/<name>``.

    The trainer keeps a value until another one is logged under its name.
    """
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    skipped = {
        name
        for callback in callbacks
        if isinstance(callback, MeasuresSometimes) and not callback.is_due
        for name in callback.names
    }
    values = trainer.callback_metrics.items()
    return {name: float(value) for name, value in values if name.startswith("val/") and name not in skipped}
