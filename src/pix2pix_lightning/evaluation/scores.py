"""A split through a translator, one pair after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pix2pix_lightning.data.sides import PairSpec
from pix2pix_lightning.evaluation.bootstrap import Interval, bootstrap
from pix2pix_lightning.evaluation.measures import MEASURES
from pix2pix_lightning.inference import Translator
from pix2pix_lightning.utils.errors import UserError


class Triple(NamedTuple):
    """A pair and its translation, (1, C, H, W) uint8 each, as files hold them."""

    name: str
    source: Tensor
    output: Tensor
    target: Tensor


@dataclass(frozen=True)
class Scores:
    """What was measured.

    Attributes:
        names: Of the images, in the split's order.
        values: For each metric each image's own value, (N,).
        figures: For each metric the figure over all images, with its interval.
    """

    names: list[str]
    values: dict[str, npt.NDArray[np.float64]]
    figures: dict[str, Interval]


def score(
    translator: Translator,
    batches: Iterable[dict[str, Any]],
    metrics: Sequence[str],
    *,
    each: Callable[[Triple], None] = lambda triple: None,
) -> Scores:
    """Translate the sources of a split and compare what a file of each would hold with its target.

    Args:
        translator: Of the model.
        batches: Of the split, ``{"source", "target", "name"}``.
        metrics: Names of ``MEASURES``.
        each: Is given every pair as it was measured.

    Raises:
        ValueError: There is no pair.
    """
    names: list[str] = []
    rows: dict[str, list[npt.NDArray[np.float64]]] = {metric: [] for metric in metrics}
    low, high = translator.pair_spec.target.value_range
    for triple in _translated(translator, batches):
        names.append(triple.name)
        output, target = ((image.double() - low) / (high - low) for image in (triple.output, triple.target))
        for metric in metrics:
            rows[metric].append(MEASURES[metric].statistics(output, target)[0].double().numpy())
        each(triple)
    if not names:
        raise UserError("the split has no pair: there is nothing to measure")
    statistics = {metric: np.stack(of_images) for metric, of_images in rows.items()}
    return Scores(
        names,
        {metric: MEASURES[metric].figure(rows) for metric, rows in statistics.items()},
        {metric: bootstrap(rows, MEASURES[metric].figure) for metric, rows in statistics.items()},
    )


def _translated(translator: Translator, batches: Iterable[dict[str, Any]]) -> Iterator[Triple]:
    """One image at a time: in a larger batch sums are rounded otherwise, and a grey level here and there is another."""
    spec: PairSpec = translator.pair_spec
    for batch in batches:
        for index, name in enumerate(batch["name"]):
            source, target = (spec.encode(batch[side][index : index + 1], side) for side in ("source", "target"))
            output = spec.decode(translator(source), source)
            yield Triple(name, spec.source.decode(source), output, spec.decode(target, source))
