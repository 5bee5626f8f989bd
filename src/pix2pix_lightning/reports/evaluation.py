"""The page of an evaluation: the figures, and the pairs sorted by any of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pix2pix_lightning.evaluation import FIGURES, MEASURES, Scores
from pix2pix_lightning.reports.metric_info import MetricInfo, get_metric_info, parse_metric_info
from pix2pix_lightning.reports.rendering import render_page

_SETTINGS = ("checkpoint", "weights", "norm", "dropout", "seed", "device")


class _Metric(NamedTuple):
    """What the page says about a metric.

    Attributes:
        name: Key in the files.
        label: Name for people.
        meaning: What it measures and which value is best, in sentences; empty if that is not known.
        best: Value of a perfect output, infinite if the highest or the lowest value is best; None if nothing says.
    """

    name: str
    label: str
    meaning: str
    best: float | None

    def compute_distance(self, value: float) -> float:
        """Return how far a value is from the best one, as the page's script computes it; -inf if it has none."""
        if math.isnan(value) or self.best is None:
            return -math.inf
        if math.isinf(self.best):
            return -value if self.best > 0 else value
        return abs(value - self.best)

    @property
    def best_text(self) -> str:
        """Best value as JavaScript reads it; empty if nothing says which it is."""
        if self.best is None:
            return ""
        return f"{self.best:g}".replace("inf", "Infinity")

    def format_value(self, value: float) -> str:
        """Format a value with the metric's number of decimals."""
        if math.isnan(value):
            return "not defined"
        return f"{value:.2f}" if self.name == "psnr" else f"{value:.4f}"


class _Value(NamedTuple):
    """A metric of one pair: as text, and as the number that the script sorts by, None if it is not defined."""

    metric: _Metric
    text: str
    number: str | None


class _Pair(NamedTuple):
    """What the page shows of a pair; ``place`` is its position in the split."""

    place: int
    name: str
    folder: str
    values: Sequence[_Value]


def render_evaluation_page(
    scores: Scores, folders: Sequence[str], facts: Mapping[str, Any], *, size: tuple[int, int] | None = None
) -> str:
    """Render the page. Without scripts it shows the pairs by the first metric, the worst first.

    Args:
        scores: Figures of the split and values of each pair.
        folders: For each pair its folder, relative to the page, with ``input.png``, ``output.png``, ``target.png``.
        facts: ``split``, ``mode``, ``checkpoint`` and the other settings; ``left_out``, reasons by metric;
            ``command``, which repeats the evaluation, or None; optionally ``metric_info``, see
            :func:`~pix2pix_lightning.reports.metric_info.parse_metric_info`.
        size: (width, height) of the pictures in pixels; None if they differ.
    """
    described = parse_metric_info(facts, Path(FIGURES))
    metrics = {name: _build_metric(name, described) for name in scores.figures}
    sortable = [metric for metric in metrics.values() if metric.best is not None]
    order = list(range(len(scores.names)))
    if sortable:
        distances = [sortable[0].compute_distance(value) for value in scores.values[sortable[0].name]]
        order = np.argsort(-np.array(distances), kind="stable").tolist()
    meanings = [(metric.label, metric.meaning) for metric in metrics.values()]
    meanings += [
        (_build_metric(name, described).label, f"Left out: it {why}.") for name, why in facts["left_out"].items()
    ]
    return render_page(
        "evaluation",
        title=f"Evaluation: {facts['split']}",
        facts=facts,
        figures=[_format_figure(metrics[name], *interval) for name, interval in scores.figures.items()],
        meanings=meanings,
        settings=[(key, facts[key]) for key in _SETTINGS],
        sortable=sortable,
        pairs=[_build_pair(scores, metrics, index, folders[index]) for index in order],
        size=size,
    )


def _build_metric(name: str, described: Mapping[str, MetricInfo]) -> _Metric:
    """Combine what the evaluation's files say about a metric with what its code says."""
    measure, info = MEASURES.get(name), get_metric_info(name, described)
    if measure is None:
        best = {"max": math.inf, "min": -math.inf}.get(info.direction or "", info.ideal)
        return _Metric(name, info.heading, _describe_best(best), best)
    label = info.heading if name in described else measure.label
    return _Metric(name, label, f"{measure.meaning} {_describe_best(measure.best)}", measure.best)


def _describe_best(best: float | None) -> str:
    if best is None:
        return ""
    if math.isinf(best):
        return "The higher, the better." if best > 0 else "The lower, the better."
    return f"Of equal images it is {best:g}."


def _format_figure(metric: _Metric, mean: float, low: float, high: float) -> tuple[str, str, str]:
    return metric.label, metric.format_value(mean), f"{metric.format_value(low)} to {metric.format_value(high)}"


def _build_pair(scores: Scores, metrics: Mapping[str, _Metric], place: int, folder: str) -> _Pair:
    values = [
        _Value(metrics[name], metrics[name].format_value(value), None if math.isnan(value) else repr(value))
        for name, values in scores.values.items()
        for value in [float(values[place])]
    ]
    return _Pair(place, scores.names[place], folder, values)
