"""Lines over the course of a run, drawn inside the page."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from pix2pix_lightning.reports.page import escaped

Point = tuple[float, float]
Place = Callable[[float, float], Point]

_WIDTH, _HEIGHT = 400, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 16, 12, 42
_STYLES = 6  # .series-1 to .series-6 in page.css: a colour and a dash each
_MARKED = 30  # a line of so few points gets a dot at each


def line_chart(series: Mapping[str, Sequence[Point]], *, title: str, x_label: str, y_label: str) -> str:
    """A figure with a line for each series. What is not finite leaves a gap.

    Args:
        series: (x, y) in the order of x, by name.
        title: Above it.
        x_label: What x is.
        y_label: What y is.

    Raises:
        ValueError: More series than can be told apart.
    """
    name = "chart-" + hashlib.sha256(repr((title, series)).encode("utf-8", "replace")).hexdigest()[:12]
    caption = f'<figure class="chart"><figcaption id="{name}">{escaped(title)}</figcaption>'
    plot = _plot(series, title, x_label, y_label)
    if not plot:
        return f"{caption}<p>There are no finite values.</p></figure>"
    said = " ".join(_in_words(label, points) for label, points in series.items())
    return (
        f'{caption}<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-labelledby="{name}" '
        f'aria-describedby="{name}-said"><desc id="{name}-said">{escaped(f"{y_label} by {x_label}. {said}")}</desc>'
        f"{plot}</svg>{_legend(series)}</figure>"
    )


def chart_file(series: Mapping[str, Sequence[Point]], *, title: str, x_label: str, y_label: str) -> str:
    """The same chart as an SVG file of its own, with its legend in it.

    Args:
        series: As for ``line_chart``.
        title: Above it.
        x_label: What x is.
        y_label: What y is.

    Raises:
        ValueError: More series than can be told apart.
    """
    plot = _plot(series, title, x_label, y_label)
    style = (Path(__file__).parent / "page.css").read_text("utf-8")
    legend = "".join(
        f'<line class="series-{number}" stroke-width="2" x1="{_LEFT}" x2="{_LEFT + 36}" y1="{y - 4}" y2="{y - 4}"/>'
        f'<text x="{_LEFT + 44}" y="{y}">{escaped(label)}</text>'
        for number, label in enumerate(series, start=1)
        for y in [_HEIGHT + 18 * number]
    )
    height = _HEIGHT + 18 * len(series) + 36
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 -26 {_WIDTH} {height}" width="{_WIDTH}" '
        f'height="{height}" role="img"><title>{escaped(title)}</title><style>{escaped(style)}</style>'
        f'<text x="{_LEFT}" y="-8">{escaped(title)}</text>{plot}{legend}</svg>\n'
    )


def _plot(series: Mapping[str, Sequence[Point]], title: str, x_label: str, y_label: str) -> str:
    """Axes and lines; nothing where nothing is finite."""
    if len(series) > _STYLES:
        raise ValueError(f"{len(series)} lines in {title!r}: at most {_STYLES} can be told apart, make more charts")
    finite = [point for points in series.values() for point in points if _is_finite(point)]
    if not finite:
        return ""
    x_ticks = ticks(min(x for x, _ in finite), max(x for x, _ in finite), whole=all(x % 1 == 0 for x, _ in finite))
    y_ticks = ticks(min(y for _, y in finite), max(y for _, y in finite), around=True)
    place = _scale(finite, y_ticks)
    lines = "".join(
        _line(list(points), place, f"series-{number}") for number, points in enumerate(series.values(), start=1)
    )
    return f"{_axes(x_ticks, y_ticks, place, x_label, y_label)}{lines}"


def ticks(low: float, high: float, *, whole: bool = False, around: bool = False) -> list[float]:
    """About five round numbers, one, two or five times a power of ten apart.

    Args:
        low: Where the range begins.
        high: Where it ends.
        whole: Whole numbers alone.
        around: The first and the last lie outside of the range, or at its ends, and not inside.
    """
    if high <= low:
        return [low]
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((factor * power for factor in (1, 2, 5, 10)), key=lambda step: abs(math.log(step / rough)))
    step = max(step, 1.0) if whole else step
    first, last = low / step, high / step
    slack = 1e-9 * max(1.0, abs(first), abs(last))
    numbers = (
        range(math.floor(first + slack), math.ceil(last - slack) + 1)
        if around
        else range(math.ceil(first - slack), math.floor(last + slack) + 1)
    )
    return [number * step for number in numbers]


def thinned(points: Sequence[Point], count: int = 200) -> list[Point]:
    """At most ``count`` points, each the mean of as many neighbours."""
    size = max(1, math.ceil(len(points) / count))
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def _is_finite(point: Point) -> bool:
    return math.isfinite(point[0]) and math.isfinite(point[1])


def _scale(points: Sequence[Point], y_ticks: Sequence[float]) -> Place:
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    bottom, top = y_ticks[0], y_ticks[-1]

    def place(x: float, y: float) -> Point:
        across = (x - left) / (right - left) if right > left else 0.5
        up = (y - bottom) / (top - bottom) if top > bottom else 0.5
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    return place


def _line(points: Sequence[Point], place: Place, style: str) -> str:
    parts = []
    for is_drawn, run in groupby(points, _is_finite):
        if is_drawn:
            corners = [place(*point) for point in run]
            # a dot for what has no neighbours, which would be a line without length
            parts.append(
                f'<polyline class="{style}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in corners)}"/>'
                if len(corners) > 1
                else f'<circle class="{style}" cx="{corners[0][0]:.1f}" cy="{corners[0][1]:.1f}" r="3"/>'
            )
    if len(points) <= _MARKED:
        parts += [_dot(point, place, style) for point in points if _is_finite(point)]
    return "".join(parts)


def _dot(point: Point, place: Place, style: str) -> str:
    x, y = place(*point)
    value = f"{point[0]:,.10g}: {point[1]:.4g}"
    return f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{value}</title></circle>'


def _axes(x_ticks: Sequence[float], y_ticks: Sequence[float], place: Place, x_label: str, y_label: str) -> str:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = []
    for value, text in zip(y_ticks, _labels(y_ticks), strict=True):
        y = place(0.0, value)[1]
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="y" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    for value, text in zip(x_ticks, _labels(x_ticks), strict=True):
        x = place(value, y_ticks[0])[0]
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(f'<text class="x" x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{text}</text>')
    across, up = (_LEFT + right) / 2, (_TOP + bottom) / 2
    parts.append(f'<text x="{across:.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{escaped(x_label)}</text>')
    parts.append(f'<text transform="translate(10 {up:.1f}) rotate(-90)" text-anchor="middle">{escaped(y_label)}</text>')
    return "".join(parts)


def _labels(values: Sequence[float]) -> list[str]:
    """With as many decimals as the step between them needs."""
    if len(values) < 2:
        return [f"{value:,.4g}" for value in values]
    step, largest = values[1] - values[0], max(abs(value) for value in values)
    if step < 1e-4 or largest >= 1e6:
        return [f"{value:.{max(2, math.ceil(math.log10(largest / step)) + 1)}g}" for value in values]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{value:,.{decimals}f}" for value in values]


def _legend(series: Mapping[str, Sequence[Point]]) -> str:
    if len(series) < 2:
        return ""
    entries = "".join(
        f'<li><svg viewBox="0 0 36 12" aria-hidden="true"><line class="series-{number}" x1="0" x2="36" y1="6" y2="6"/>'
        f"</svg>{escaped(label)}</li>"
        for number, label in enumerate(series, start=1)
    )
    return f'<ul class="legend">{entries}</ul>'


def _in_words(label: str, points: Sequence[Point]) -> str:
    finite = [point for point in points if _is_finite(point)]
    if not finite:
        return f"{label}: no finite values."
    (first_x, first_y), (last_x, last_y) = finite[0], finite[-1]
    values = [y for _, y in finite]
    return (
        f"{label}: from {first_y:.4g} at {first_x:,.10g} to {last_y:.4g} at {last_x:,.10g}, "
        f"lowest {min(values):.4g}, highest {max(values):.4g}."
    )
