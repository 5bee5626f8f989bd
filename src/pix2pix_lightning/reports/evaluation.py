"""The page of an evaluation: the figures, and the pairs sorted by any of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pix2pix_lightning.evaluation import MEASURES, Scores
from pix2pix_lightning.reports.page import Markup, document, escaped, picture, table

_HERE = Path(__file__).parent
_SETTINGS = ("checkpoint", "weights", "norm", "dropout", "seed", "device")


def evaluation_page(
    scores: Scores, folders: Sequence[str], facts: Mapping[str, Any], *, size: tuple[int, int] | None = None
) -> str:
    """A page to be written beside the pictures; without scripts the pairs stand by the first metric, the worst first.

    Args:
        scores: What was measured.
        folders: For each image the folder, relative to the page, with ``input.png``, ``output.png``, ``target.png``.
        facts: ``split``, ``mode``, ``checkpoint`` and the other settings; ``left_out``, reasons by metric; ``command``,
            that repeats it, or None.
        size: (width, height) of the pictures.
    """
    metrics = list(scores.figures)
    order = np.argsort([-_distance(metrics[0], value) for value in scores.values[metrics[0]]], kind="stable")
    pairs = "\n".join(_pair(scores, int(index), folders[index], size) for index in order)
    body = f"""<h1>Evaluation</h1>
<p>{len(scores.names)} pairs of the split {escaped(facts["split"])}, translated by {escaped(facts["checkpoint"])} in
mode {escaped(facts["mode"])}.</p>
<h2>Figures</h2>
<div class="figures">{_figures(scores)}</div>
{_details(scores, facts)}
<h2>Pairs</h2>
{_sorting(metrics)}
<ol class="pairs">
{pairs}
</ol>"""
    style, script = ((_HERE / f"evaluation.{kind}").read_text("utf-8") for kind in ("css", "js"))
    return document(f"Evaluation: {facts['split']}", body, style=style, script=script)


def _figures(scores: Scores) -> str:
    rows = [
        (MEASURES[metric].label, _number(metric, mean), f"{_number(metric, low)} to {_number(metric, high)}")
        for metric, (mean, low, high) in scores.figures.items()
    ]
    return table(("Metric", "All pairs", "95 % interval"), rows)


def _details(scores: Scores, facts: Mapping[str, Any]) -> str:
    meanings = [(MEASURES[metric].label, f"{MEASURES[metric].meaning} {_aim(metric)}") for metric in scores.figures]
    meanings += [(MEASURES[metric].label, f"Left out: it {why}.") for metric, why in facts["left_out"].items()]
    explained = "".join(f"<dt>{escaped(label)}</dt><dd>{escaped(text)}</dd>" for label, text in meanings)
    how = table(("Setting", "Value"), [(key, facts[key]) for key in _SETTINGS])
    command = facts["command"]
    repeat = (
        "" if command is None else f'<h3>To repeat it</h3><pre class="wrapped"><code>{escaped(command)}</code></pre>'
    )
    return (
        "<details><summary>What the figures mean, and how they were measured</summary>"
        "<p>Outputs are compared with targets as 8-bit files hold them. Intervals are bootstrapped over the pairs.</p>"
        f'<dl class="meanings">{explained}</dl><h3>The model</h3>{how}{repeat}</details>'
    )


def _sorting(metrics: Sequence[str]) -> str:
    options = "".join(
        f'<option value="{metric}" data-best="{_best(metric)}">{escaped(MEASURES[metric].label)}</option>'
        for metric in metrics
    )
    return (
        '<div class="sorting" hidden>'
        f'<label>Sort by <select id="by">{options}<option value="">the split\'s order</option></select></label>'
        '<label>Order <select id="order"><option value="worst">worst first</option>'
        '<option value="best">best first</option></select></label><p role="status"></p></div>'
    )


def _aim(metric: str) -> str:
    best = MEASURES[metric].best
    return "The higher, the better." if math.isinf(best) else f"Of equal images it is {best:g}."


def _best(metric: str) -> str:
    best = MEASURES[metric].best
    return "Infinity" if math.isinf(best) else f"{best:g}"


def _distance(metric: str, value: float) -> float:
    """From a perfect output's value; as the page's script has it."""
    if math.isnan(value):
        return -math.inf
    best = MEASURES[metric].best
    return -value if math.isinf(best) else abs(value - best)


def _pair(scores: Scores, index: int, folder: str, size: tuple[int, int] | None) -> str:
    name = scores.names[index]
    pictures = "".join(
        picture(
            f"{folder}/{column}.png",
            alt=f"{column} of {name}",
            caption=column,
            against=f"{folder}/target.png" if column == "output" else None,
            size=size,
        )
        for column in ("input", "output", "target")
    )
    values = "".join(_value(metric, float(values[index])) for metric, values in scores.values.items())
    return (
        f'<li data-place="{index}"><h3>{escaped(name)}</h3><div class="pictures">{pictures}</div>'
        f'<dl class="values">{values}</dl></li>'
    )


def _value(metric: str, value: float) -> Markup:
    known = "" if math.isnan(value) else f' data-value="{value!r}"'
    return Markup(
        f'<div data-metric="{metric}"{known}><dt>{escaped(MEASURES[metric].label)}</dt>'
        f"<dd>{_number(metric, value)}</dd></div>"
    )


def _number(metric: str, value: float) -> str:
    if math.isnan(value):
        return "not defined"
    return f"{value:.2f}" if metric == "psnr" else f"{value:.4f}"
