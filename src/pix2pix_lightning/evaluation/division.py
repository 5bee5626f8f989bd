"""Divide the pairs of an evaluation among processes, and put together what each has measured."""

from __future__ import annotations

from typing import Any

from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.processes import Gather, Process


def _list_own(value: Any) -> list[Any]:
    return [value]


class Division:
    """The part of the pairs that this process measures: every one whose number is its rank, modulo the processes.

    Args:
        process: This process; by default there is no other.
        gather: Returns the values that all processes give it, as in ``utils.processes.gather_results``.

    Attributes:
        process: The argument.
        gather: The argument.
        numbers: Numbers of the pairs that this process has measured, in the order of the split.

    Raises:
        UserError: There are several processes that do not know each other.

    Example:
        >>> division = Division(Process(1, 2, True))
        >>> [number for number in range(7) if division.takes(number)]
        [1, 3, 5]
    """

    def __init__(self, process: Process = Process(), gather: Gather = _list_own) -> None:  # noqa: B008
        if process.total > 1 and not process.can_gather:
            raise UserError(
                f"srun has started {process.total} processes, which would all measure the same pairs: start one, or "
                "several with torchrun"
            )
        self.process, self.gather = process, gather
        self.numbers: list[int] = []

    @property
    def is_divided(self) -> bool:
        """Whether there are other processes."""
        return self.process.total > 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes and prints."""
        return self.process.rank == 0

    def takes(self, number: int) -> bool:
        """Return whether this process translates a pair, given its number in the split."""
        return number % self.process.total == self.process.rank

    def merge(self, items: list[Any]) -> list[Any]:
        """Return the items of all processes in the order of the split. All processes have to call it.

        Args:
            items: What this process has for each of ``numbers``.
        """
        parts = self.gather(list(zip(self.numbers, items, strict=True)))
        return [item for _, item in sorted((pair for part in parts for pair in part), key=lambda pair: pair[0])]
