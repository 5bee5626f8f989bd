"""What each kind of layout offers, and what is said about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from pix2pix_lightning.data.pairs import PairFiles


class Found(NamedTuple):
    """The pairs of a split, and where they were found.

    Attributes:
        pairs: The pairs.
        layout: ``strip``, ``folders``, ``names``, ``manifest`` or ``huggingface``.
        a: Where A is, for people.
        b: Where B is.
        rule: By what the names of A and B differ, with an example; empty where they do not.
    """

    pairs: PairFiles
    layout: str
    a: str
    b: str
    rule: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return what was recognised as plain values."""
        return {"layout": self.layout, "a": self.a, "b": self.b, "rule": self.rule}


class Layout(Protocol):
    """Open the splits of a data set."""

    def has_split(self, split: str) -> bool:
        """Return whether a split is kept apart from the others."""

    def is_flat(self, splits: Iterable[str], *, is_divided: bool) -> bool:
        """Return whether there are pairs, and they are in none of these splits; ``is_divided``: a fraction is given."""

    def open(self, split: str) -> Found:
        """Open the pairs of a split, of all of the data set where it is empty.

        Returns:
            The pairs, and where they are.

        Raises:
            UserError: There are none, or what is there is ambiguous.
        """

    def explain_missing(self, split: str) -> str | None:
        """Explain why a split is not found, or return None."""


def format_rule(rule: str, pairs: Sequence[tuple[str, str]]) -> str:
    """Return by what names differ, with the first pair that does as an example; empty without a rule."""
    example = next((pair for pair in pairs if pair[0] != pair[1]), None)
    return f"{rule}, as {example[0]} with {example[1]}" if rule and example else ""
