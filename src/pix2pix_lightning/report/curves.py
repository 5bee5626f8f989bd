"""Charts of values over the course of a run; templates draw them as SVG."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar, NamedTuple

from pix2pix_lightning.report.rendering import build_environment, read_assets, render
from pix2pix_lightning.utils.errors import UserError

Point = tuple[float, float]
Scale = Callable[[float, float], Point]

_WIDTH, _HEIGHT = 400, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 16, 12, 42  # margins around the plot
_MAX_LINES = 6  # .series-1 to .series-6 in page.css: a colour and a dash each
_MAX_DOTS = 30  # a line of at most so many points gets a dot at each
_SAME = 1e-7  # relative difference of equal values: means of a constant differ by rounding, and losses are float32


class Tick(NamedTuple):
    """Mark of an axis: its position in the drawing, and its label."""

    position: float
    label: str


class Dot(NamedTuple):
    """Point of a line: its position in the drawing, and its values as text."""

    x: float
    y: float
    label: str


class Line(NamedTuple):
    """One series as drawn.

    Attributes:
        label: Name in the legend.
        polylines: ``points`` attributes of SVG, one for each part between values that are not finite.
        dots: Points that are marked.
        values: All points as ``x,y x,y``, with NaN for what is not finite, which the page's script shows and smooths.
    """

    label: str
    polylines: Sequence[str]
    dots: Sequence[Dot]
    values: str


@dataclass(frozen=True)
class Chart:
    """Everything that a template needs to draw a chart.

    Attributes:
        id: Identifier that no other chart of a page has.
        title: Title above the chart.
        x_label: Label of the x axis.
        y_label: Label of the y axis.
        description: The lines in words.
        x_ticks: Marks of the x axis.
        y_ticks: Marks of the y axis.
        lines: The series; without finite values they have nothing to draw.
        x_range: Values at the left and at the right end of the plot.
        y_range: Values at its lower and at its upper end.
        aim: Which value is better, in words, or empty.
        keys: Names of the series in files and logs, or empty.
    """

    id: str
    title: str
    x_label: str
    y_label: str
    description: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    lines: Sequence[Line]
    x_range: Point = (0.0, 0.0)
    y_range: Point = (0.0, 0.0)
    aim: str = ""
    keys: str = ""

    width: ClassVar[int] = _WIDTH
    height: ClassVar[int] = _HEIGHT
    left: ClassVar[int] = _LEFT
    right: ClassVar[int] = _WIDTH - _RIGHT
    top: ClassVar[int] = _TOP
    bottom: ClassVar[int] = _HEIGHT - _BOTTOM

    @property
    def is_empty(self) -> bool:
        """Whether there is no finite value."""
        return not self.y_ticks


def build_chart(
    series: Mapping[str, Sequence[Point]], *, title: str, x_label: str, y_label: str, aim: str = "", keys: str = ""
) -> Chart:
    """Lay out a chart with a line for each series. A value that is not finite leaves a gap.

    Args:
        series: Points (x, y) by rising x, by the name of the series; 6 series at most.
        title: Title above the chart.
        x_label: Label of the x axis.
        y_label: Label of the y axis.
        aim: Which value is better, in words.
        keys: Names of the series in files and logs.

    Returns:
        The chart, in the coordinates of its drawing. Without a finite value it has no ticks and its lines are empty.

    Raises:
        UserError: There are more series than can be told apart.
    """
    if len(series) > _MAX_LINES:
        raise UserError(f"{len(series)} lines in {title!r}: at most {_MAX_LINES} can be told apart, make more charts")
    name = "chart-" + hashlib.sha256(repr((title, series)).encode("utf-8", "replace")).hexdigest()[:12]
    finite = [point for points in series.values() for point in points if _is_finite(point)]
    if not finite:
        lines = [Line(label, [], [], "") for label in series]
        return Chart(name, title, x_label, y_label, "", [], [], lines, aim=aim, keys=keys)
    x_values, y_values = zip(*finite, strict=True)
    x_ticks = compute_ticks(min(x_values), max(x_values), whole=all(x % 1 == 0 for x in x_values))
    y_ticks = compute_ticks(min(y_values), max(y_values), around=True)
    scale = _build_scale(finite, y_ticks)
    sentences = [_describe_line(label, points) for label, points in series.items()]
    return Chart(
        name,
        title,
        x_label,
        y_label,
        f"{y_label} by {x_label}. {' '.join(sentences)}",
        [Tick(scale(x, 0.0)[0], text) for x, text in zip(x_ticks, _format_ticks(x_ticks), strict=True)],
        [Tick(scale(0.0, y)[1], text) for y, text in zip(y_ticks, _format_ticks(y_ticks), strict=True)],
        [_build_line(label, points, scale) for label, points in series.items()],
        x_range=(min(x_values), max(x_values)),
        y_range=(y_ticks[0], y_ticks[-1]),
        aim=aim,
        keys=keys,
    )


def render_chart_file(chart: Chart) -> str:
    """Render a chart as an SVG file with its style and its legend in it."""
    style = read_assets("page")["style"]
    return render(build_environment().get_template("chart.svg"), chart=chart, style=style)


def compute_ticks(low: float, high: float, *, whole: bool = False, around: bool = False) -> list[float]:
    """Return about five round numbers that are one, two or five times a power of ten apart, or one for equal ends.

    Args:
        low: Start of the range.
        high: End of the range.
        whole: Return whole numbers only.
        around: Let the first and the last number enclose the range; by default all numbers lie inside.
    """
    if high - low <= _SAME * max(abs(low), abs(high)):
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


def average_points(points: Sequence[Point], count: int = 200) -> list[Point]:
    """Reduce a curve to at most ``count`` points, each the mean of equally many neighbours."""
    size = max(1, math.ceil(len(points) / count))
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def _is_finite(point: Point) -> bool:
    return math.isfinite(point[0]) and math.isfinite(point[1])


def _build_scale(points: Sequence[Point], y_ticks: Sequence[float]) -> Scale:
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    bottom, top = y_ticks[0], y_ticks[-1]

    def scale(x: float, y: float) -> Point:
        across = (x - left) / (right - left) if right > left else 0.5
        up = (y - bottom) / (top - bottom) if top > bottom else 0.5
        return Chart.left + across * (Chart.right - Chart.left), Chart.bottom - up * (Chart.bottom - Chart.top)

    return scale


def _build_line(label: str, points: Sequence[Point], scale: Scale) -> Line:
    parts = [list(part) for is_drawn, part in groupby(points, _is_finite) if is_drawn]
    polylines = [" ".join("{:.1f},{:.1f}".format(*scale(*point)) for point in part) for part in parts if len(part) > 1]
    # a point without neighbours would be a line without length
    marked = [point for part in parts if len(part) == 1 or len(points) <= _MAX_DOTS for point in part]
    values = " ".join(f"{x:.10g},{y if math.isfinite(y) else math.nan:.5g}" for x, y in points if math.isfinite(x))
    return Line(label, polylines, [Dot(*scale(x, y), f"{x:,.10g}: {y:.4g}") for x, y in marked], values)


def _format_ticks(values: Sequence[float]) -> list[str]:
    """Format numbers with as many decimals as the step between them needs."""
    if len(values) < 2:
        return [f"{value:,.4g}" for value in values]
    step, largest = values[1] - values[0], max(abs(value) for value in values)
    if step < 1e-4 or largest >= 1e6:
        return [f"{value:.{max(2, math.ceil(math.log10(largest / step)) + 1)}g}" for value in values]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{value:,.{decimals}f}" for value in values]


def _describe_line(label: str, points: Sequence[Point]) -> str:
    finite = [point for point in points if _is_finite(point)]
    if not finite:
        return f"{label}: no finite values."
    (first_x, first_y), (last_x, last_y) = finite[0], finite[-1]
    values = [y for _, y in finite]
    return (
        f"{label}: from {first_y:.4g} at {first_x:,.10g} to {last_y:.4g} at {last_x:,.10g}, "
        f"lowest {min(values):.4g}, highest {max(values):.4g}."
    )
