import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from pix2pix_lightning.report import build_chart
from pix2pix_lightning.report.curves import average_points, compute_ticks
from pix2pix_lightning.report.rendering import build_environment, render


def draw(series, **labels):
    template = build_environment().from_string('{% from "chart.html" import figure %}{{ figure(chart) }}')
    chart = build_chart(series, **{"title": "T", "x_label": "x", "y_label": "y"} | labels)
    return render(template, chart=chart)


def parse(series, **labels):
    return ElementTree.fromstring(draw(series, **labels))


def corners(line):
    return np.array([[float(v) for v in pair.split(",")] for pair in line.get("points").split()])


def axis(figure, kind):
    marks = [line for line in figure.iter("line") if line.get(f"{kind}1") == line.get(f"{kind}2")]
    texts = [text for text in figure.iter("text") if text.get("class") == kind]
    pairs = zip(marks, texts, strict=True)
    return np.array([[float(mark.get(f"{kind}1")), float(text.text.replace(",", ""))] for mark, text in pairs])


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 7.9), (0.1578, 0.18), (14, 1199), (2e-7, 9e-7), (1e6, 3e6)])
def test_ticks_are_round_evenly_spaced_and_inside(low, high):
    inside, around = np.array(compute_ticks(low, high)), np.array(compute_ticks(low, high, around=True))
    for values in (inside, around):
        steps = np.diff(values)
        assert np.allclose(steps, steps[0])
        assert f"{steps[0]:e}"[0] in "125"
        assert np.allclose(values / steps[0], np.round(values / steps[0]))
        assert 3 <= len(values) <= 9
    assert inside[0] >= low - 1e-9 * abs(low)
    assert inside[-1] <= high * (1 + 1e-9)
    assert around[0] <= low < around[1]
    assert around[-2] < high <= around[-1]


def test_ticks_of_whole_numbers_and_of_a_single_one():
    assert compute_ticks(1, 3, whole=True) == [1, 2, 3]
    assert compute_ticks(7, 7) == [7]


def test_points_lie_where_the_axes_say():
    points = [(10.0, 0.31), (20.0, 0.22), (45.0, 0.2), (60.0, 0.19)]
    figure = parse({"val/l1": points})
    (line,) = figure.iter("polyline")
    for column, kind in enumerate("xy"):
        position, value = axis(figure, kind).T
        read = np.interp(corners(line)[:, column], *zip(*sorted(zip(position, value, strict=True)), strict=True))
        inside = np.array([point[column] for point in points])
        within = (inside >= value.min()) & (inside <= value.max())
        assert within.sum() >= 3
        assert np.allclose(read[within], inside[within], atol=0.003 * np.ptp(value))


def test_the_top_is_up_and_all_is_inside_the_picture():
    figure = parse({"a": [(0, 5.0), (1, -7.0)], "b": [(0.5, 100.0), (2, 3.0)]})
    _, _, width, height = map(float, figure.find("svg").get("viewBox").split())
    first = corners(next(figure.iter("polyline")))
    assert first[0, 1] < first[1, 1]
    for line in figure.iter("polyline"):
        assert (corners(line) >= 0).all()
        assert (corners(line) <= [width, height]).all()


def test_values_that_are_not_finite_leave_a_gap():
    values = [1.0, 2.0, math.nan, 4.0, math.inf, 6.0, 5.0]
    figure = parse({"loss": list(enumerate(values))})
    assert [len(corners(line)) for line in figure.iter("polyline")] == [2, 2]
    assert len(list(figure.iter("circle"))) == 5  # a dot for each finite point
    many = [(x, 1.0) for x in range(40) if x != 20]
    lonely = parse({"loss": [*many[:30], (20, math.nan), (21, 1.0), (22, math.nan), *many[30:]]})
    assert len(list(lonely.iter("circle"))) == 1  # a point without neighbours
    for series in ({"a": [(1, math.nan)]}, {}):
        assert parse(series).find("svg") is None


def test_a_single_point_and_a_constant_are_drawn():
    for points in ([(3, 0.5)], [(0, 2.0), (10, 2.0)]):
        figure = parse({"a": points})
        assert list(figure.iter("circle"))
        assert "nan" not in ElementTree.tostring(figure, "unicode")


@pytest.mark.parametrize("value", [0.1, 0.6931472, -3e7])
def test_a_constant_with_errors_of_rounding_is_drawn_in_the_middle(value):
    means = average_points([(float(x), value) for x in range(3001)])
    noisy = [(x, y * (1 + 2**-23 * (x % 2))) for x, y in means]  # neighbours in float32
    for points in (means, noisy[:3]):
        (line,) = parse({"a": points}).iter("polyline")
        (height,) = set(corners(line)[:, 1])
        assert height == pytest.approx(105, abs=20)


def test_a_chart_is_named_described_and_escaped():
    figure = parse({"<b>&": [(1, 3.0), (2, 1.0), (4, 2.0)], "other": [(1, 1.0)]}, title='"<i>"', y_label="a<b")
    drawing = figure.find("svg")
    named = {element.get("id"): "".join(element.itertext()) for element in figure.iter() if element.get("id")}
    assert drawing.get("role") == "img"
    assert named[drawing.get("aria-labelledby")] == '"<i>"'
    description = named[drawing.get("aria-describedby")]
    assert "a<b by x. <b>&: from 3 at 1 to 2 at 4, lowest 1, highest 3." in description
    assert "other: from 1 at 1 to 1 at 1" in description
    assert ["".join(entry.itertext()) for entry in figure.iter("li")] == ["<b>&", "other"]


def test_more_lines_than_styles_are_rejected():
    with pytest.raises(ValueError, match=r"7 .*6"):
        parse({str(n): [(0, n)] for n in range(7)})


def test_many_points_are_averaged_to_few():
    x = np.arange(1003.0)
    y = np.random.default_rng(0).random(1003)
    few = np.array(average_points(list(zip(x, y, strict=True)), 200))
    assert len(few) <= 200
    for start, point in zip(range(0, 1003, 6), few, strict=True):
        assert np.allclose(point, [x[start : start + 6].mean(), y[start : start + 6].mean()])
    assert average_points([(1, 2.0), (2, 3.0)], 200) == [(1, 2.0), (2, 3.0)]
    assert average_points([]) == []


def test_labels_have_the_decimals_of_their_step():
    figure = draw({"a": [(0, 0.5), (5000, 2)]})
    assert re.findall(r'<text class="y"[^>]*>([^<]*)', figure) == ["0.5", "1.0", "1.5", "2.0"]
    assert re.findall(r'<text class="x"[^>]*>([^<]*)', figure) == ["0", "1,000", "2,000", "3,000", "4,000", "5,000"]
