"""Translate a split, one pair after the other, and measure it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torchmetrics import Metric

from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.sides import LabelSide, RawSide, Side
from pix2pix_lightning.evaluation.bootstrap import Interval
from pix2pix_lightning.evaluation.division import Division
from pix2pix_lightning.evaluation.measures import build_measurement, check_divisible
from pix2pix_lightning.inference import Translator
from pix2pix_lightning.metrics import MetricInfo, metric_info
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.text import format_names

Array = npt.NDArray[np.float64]
_log = logging.getLogger(__name__)


class TranslatedPair(NamedTuple):
    """A pair and the source's translation, (1, C, H, W) each, as files hold them.

    Attributes:
        name: Name of the pair.
        source: The image that was translated.
        output: Its translation.
        target: The real image.
        mask: Which pixels count, (1, 1, H, W) booleans; None where each one does.
        others: Further translations, with other noise.
    """

    name: str
    source: Tensor
    output: Tensor
    target: Tensor
    mask: Tensor | None = None
    others: Sequence[Tensor] = ()


@dataclass(frozen=True)
class Scores:
    """The results of an evaluation.

    Attributes:
        names: Names of the images, in the split's order.
        values: For each metric of pairs the value of each image, (N,).
        figures: For each metric the value over all images with its interval; NaN as ends where there is no interval.
        infos: For each metric what is known about it; by default the registered row of that name.
    """

    names: list[str]
    values: dict[str, Array]
    figures: dict[str, Interval]
    infos: Mapping[str, MetricInfo] = field(default_factory=dict)

    def has_interval(self, name: str) -> bool:
        """Return whether a metric has an interval: each one of pairs, and some of distributions."""
        return name in self.values or not math.isnan(self.figures[name].low)

    def info(self, name: str) -> MetricInfo:
        """Return what is known about a metric: the row of this evaluation, else the registered row of that name."""
        return self.infos.get(name) or metric_info(name)

    def extend(self, results: Mapping[str, tuple[Array, Interval]], infos: Iterable[MetricInfo]) -> Scores:
        """Return these scores and those of a judge.

        Args:
            results: By name the value of each image, (N,), and the value over all images.
            infos: What is known about them.

        Raises:
            UserError: A metric has one of the names.
        """
        if taken := results.keys() & self.figures.keys():
            raise UserError(f"metrics: {min(taken)} is the name of another score here: give the metric another name")
        return replace(
            self,
            values=self.values | {name: values for name, (values, _) in results.items()},
            figures=self.figures | {name: figure for name, (_, figure) in results.items()},
            infos={**self.infos, **{info.name: info for info in infos}},
        )


def compute_scores(
    translator: Translator,
    batches: Iterable[dict[str, Any]],
    metrics: Mapping[str, Metric],
    *,
    samples: int = 1,
    on_pair: Callable[[TranslatedPair], None] = lambda pair: None,
    division: Division | None = None,
) -> Scores:
    """Translate the sources of a split and compare the outputs, as files hold them, with the targets.

    Args:
        translator: The model.
        batches: The split's batches, ``{"source", "target", "name"}``, and ``mask`` where pairs have masks.
        metrics: Metrics by name, as ``choose_metrics`` builds them.
        samples: Number of translations of each source, with noise of their own. The first one is measured; the others
            are for ``on_pair``.
        on_pair: Called with every pair after it was measured.
        division: The pairs of this process, where there are several: each gets the values of all pairs.

    Returns:
        The values of each pair and of the split, with intervals.

    Raises:
        UserError: There is no pair, or a metric cannot be computed of these images.
    """
    division = division or Division()
    if division.is_divided:
        check_divisible(metrics)
    names: list[str] = []
    left_out: dict[int, str] = {}
    infos = {name: metric_info(metric).rename(name) for name, metric in metrics.items()}
    measurements = {name: build_measurement(name, metric) for name, metric in metrics.items()}
    side = translator.pair_spec.target
    for number, pair in _translate(translator, batches, left_out, samples, division):
        division.numbers.append(number)
        names.append(pair.name)
        outputs, target = compute_fractions(pair, side)
        images = outputs[0], target
        classes = _number_classes(pair, side) if isinstance(side, LabelSide) else images
        for name, measurement in measurements.items():
            measurement.add(*(classes if infos[name].targets == "classes" else images), pair.mask)
        on_pair(pair)
    names = division.merge(names)
    left_out = {number: name for part in division.gather(left_out) for number, name in part.items()}
    for measurement in measurements.values() if division.is_divided else ():
        measurement.merge(division.merge)
    if left_out and division.is_first:
        line = "%d of %d pairs are left out, since none of their pixels has a value or class that counts: %s"
        _log.warning(
            line,
            len(left_out),
            len(names) + len(left_out),
            format_names([left_out[number] for number in sorted(left_out)]),
        )
    if not names:
        reason = "no pixel of the split has a value or class that counts" if left_out else "the split has no pair"
        raise UserError(f"{reason}: there is nothing to measure")
    results = {name: measurement.compute() for name, measurement in measurements.items()}
    return Scores(
        names,
        {name: values for name, (values, _) in results.items() if values is not None},
        {name: figure for name, (_, figure) in results.items()},
        infos,
    )


def compute_fractions(pair: TranslatedPair, side: Side) -> tuple[list[Tensor], Tensor]:
    """Return the translations of a pair and its target as fractions of the range, equal where a pixel does not count.

    Args:
        pair: The pair as files hold it.
        side: What a target's pixels mean.

    Returns:
        The output and the other translations, and the target, (1, C, H, W) float64 each.
    """
    *outputs, target = (side.to_fractions(image) for image in (pair.output, *pair.others, pair.target))
    if pair.mask is None:
        return outputs, target
    # what a file holds where there is no value is no fraction of the range
    filled = target.where(pair.mask, (side.fill + 1) / 2) if isinstance(side, RawSide) else target
    return [output.where(pair.mask, filled) for output in outputs], filled


def _number_classes(pair: TranslatedPair, side: LabelSide) -> tuple[Tensor, Tensor]:
    """Return the class numbers of output and target, (1, 1, H, W) integers; -1 where the target does not count."""
    output, target = (side.number_classes(image).long() for image in (pair.output, pair.target))
    return output, target if pair.mask is None else target.masked_fill(~pair.mask, -1)


def _translate(
    translator: Translator,
    batches: Iterable[dict[str, Any]],
    left_out: dict[int, str],
    samples: int,
    division: Division,
) -> Iterator[tuple[int, TranslatedPair]]:
    """Translate one image at a time: in a larger batch sums are rounded differently, which changes a few pixels.

    Args:
        translator: The model.
        batches: The split's batches.
        left_out: Gets the names of pairs of which no pixel counts, by their numbers in the split.
        samples: Number of translations of each source.
        division: The pairs of this process.

    Yields:
        The numbers of its other pairs, and the pairs.
    """
    spec: PairSpec = translator.pair_spec
    numbers = count()
    for batch in batches:
        for index, (name, number) in enumerate(zip(batch["name"], numbers, strict=False)):
            if not division.takes(number):
                continue
            source, target = (spec.encode(batch[side][index : index + 1], side) for side in ("source", "target"))
            mask = spec.find_counted(source, target)
            if "mask" in batch:
                given = batch["mask"][index : index + 1]
                mask = given if mask is None else given & mask
            if mask is not None and not mask.any():
                left_out[number] = name
                continue
            output, *others = (spec.decode(each, source) for each in _draw_samples(translator, source, samples))
            real = spec.decode(target, spec.source.fill_missing(source), is_output=False)
            yield number, TranslatedPair(name, spec.source.decode(source), output, real, mask, others)


def _draw_samples(translator: Translator, source: Tensor, samples: int) -> Iterator[Tensor]:
    """Yield translations of floats (1, C, H, W) with the translator's noise and those that follow it."""
    first = translator.sample
    try:
        for translator.sample in range(first, first + samples):
            yield translator.translate_floats(source).cpu()
    finally:
        translator.sample = first
