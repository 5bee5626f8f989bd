"""The page of an evaluation: the figures, and the pairs sorted by any of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pix2pix_lightning.evaluation import Interval, Scores
from pix2pix_lightning.metrics import MetricInfo, metric_info
from pix2pix_lightning.report.metric_info import MetricName, format_aim
from pix2pix_lightning.report.rendering import render_page

_SETTINGS = ("checkpoint", "weights", "norm", "dropout", "seed", "samples", "device", "features", "segmenter")
_DEFAULTS = {"samples": 1, "segmenter": None}  # settings that are shown where they have another value


class _SortKey(NamedTuple):
    """A metric to sort by; ``best`` is its best value as JavaScript reads it."""

    metric: str
    title: str
    best: str


class _Figure(NamedTuple):
    """A metric over all pairs: its name, its value and its interval as text."""

    name: MetricName
    mean: str
    interval: str


class _Value(NamedTuple):
    """A metric of one pair: as text, and as the number that the script sorts by, None if it is not finite."""

    metric: str
    title: str
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
        scores: Figures of the split, values of each pair and what is known about the metrics. Pairs can be sorted by
            metrics with a value for each pair and a known direction.
        folders: For each pair its folder, relative to the page, with ``input.png``, ``output.png``, ``target.png``.
        facts: ``split``, ``mode``, ``checkpoint`` and the other settings; ``left_out``, reasons by metric;
            ``command``, which repeats the evaluation, or None.
        size: (width, height) of the pictures in pixels; None if they differ.

    Returns:
        The page as HTML.
    """
    sortable = [name for name in scores.values if scores.info(name).direction != "unknown"]
    order = _sort_worst_first(scores, sortable[0]) if sortable else range(len(scores.names))
    infos = [scores.info(name) for name in scores.figures]
    meanings = [(info.title, _describe_metric(info, scores.has_interval(info.name))) for info in infos]
    meanings += [(metric_info(name).title, f"Left out: it {why}.") for name, why in facts["left_out"].items()]
    return render_page(
        "evaluation",
        title=f"Evaluation: {facts['split']}",
        facts=facts,
        figures=[_format_figure(info, scores.figures[info.name], scores.has_interval(info.name)) for info in infos],
        meanings=meanings,
        settings=[(key, facts[key]) for key in _SETTINGS if key in facts and facts[key] != _DEFAULTS.get(key, ())],
        sort_keys=[_build_sort_key(scores.info(name)) for name in sortable],
        pairs=[_build_pair(scores, index, folders[index]) for index in order],
        size=size,
    )


def _sort_worst_first(scores: Scores, name: str) -> list[int]:
    """Return the pairs by a metric, as the page's script sorts them: those without a finite value come last."""
    info = scores.info(name)
    badness = [info.compute_badness(float(value)) for value in scores.values[name]]
    order: list[int] = np.argsort([-bad if math.isfinite(bad) else math.inf for bad in badness], kind="stable").tolist()
    return order


def _build_sort_key(info: MetricInfo) -> _SortKey:
    best = {"higher": "Infinity", "lower": "-Infinity"}.get(info.direction, str(info.best))
    return _SortKey(info.name, info.title, best)


def _describe_metric(info: MetricInfo, has_interval: bool) -> str:
    """Describe a metric and say which value is best."""
    if info.best is not None:
        aim = f"Of equal images it is {info.best:g}."
    elif info.direction in ("higher", "lower"):
        aim = f"The {info.direction}, the better."
    else:
        aim = "Whether a higher or a lower value is better is not known."
    scope = f"One value over all pairs{'' if has_interval else ', without an interval'}."
    scope = scope if info.kind == "distribution" else ""
    return " ".join(part for part in (info.description, scope, aim) if part)


def _format_figure(info: MetricInfo, figure: Interval, has_interval: bool) -> _Figure:
    mean, low, high = (_format_value(info, value) for value in figure)
    name = MetricName(info.name, info.title, format_aim(info))
    return _Figure(name, mean, f"{low} to {high}" if has_interval else "none")


def _format_value(info: MetricInfo, value: float) -> str:
    return "not defined" if math.isnan(value) else f"{value:.{info.decimals}f}"


def _build_pair(scores: Scores, place: int, folder: str) -> _Pair:
    values = []
    for name, column in scores.values.items():
        info, value = scores.info(name), float(column[place])
        number = repr(value) if math.isfinite(value) else None
        values.append(_Value(name, info.title, _format_value(info, value), number))
    return _Pair(place, scores.names[place], folder, values)
