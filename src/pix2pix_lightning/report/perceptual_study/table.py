"""Write the table of a perceptual study as a page, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pix2pix_lightning.report.perceptual_study.figures import Figure
from pix2pix_lightning.report.rendering import render_page

FIGURES_FILE = "figures.json"
_HEADER = ("Algorithm", "% labelled real", "95 % interval", "Raters", "Trials")


def write_table(figures: Sequence[Figure], remarks: Sequence[str], output: Path) -> Path:
    """Write ``index.html``, ``report.md`` and ``figures.json``.

    Args:
        figures: The figures of each algorithm.
        remarks: Sentences about what was left out.
        output: A folder.

    Returns:
        The page.
    """
    rows = [_format_row(figure) for figure in figures]
    single = [figure.algorithm for figure in figures if figure.num_raters == 1]
    remarks = [*remarks, *(f"one rater alone, so the error leaves out how raters differ: {name}" for name in single)]
    content = {"figures": [figure._asdict() for figure in figures], "remarks": remarks}
    (output / FIGURES_FILE).write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    text = "\n".join([*format_table(figures), "", *(f"- {remark}" for remark in remarks)]).rstrip() + "\n"
    (output / "report.md").write_text(text, encoding="utf-8", errors="replace")
    page = output / "index.html"
    html = render_page("study_table", title="Perceptual study", header=_HEADER, rows=rows, remarks=remarks)
    page.write_text(html, encoding="utf-8")
    return page


def format_table(figures: Sequence[Figure]) -> list[str]:
    """Format the table as lines of Markdown."""
    lines = [_HEADER, ["---"] * len(_HEADER), *(_format_row(figure) for figure in figures)]
    return [f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |" for line in lines]


def _format_row(figure: Figure) -> list[str]:
    share, error, low, high = (f"{100 * value:.1f}" for value in figure[1:5])
    return [figure.algorithm, f"{share} ± {error}", f"{low} to {high}", str(figure.num_raters), str(figure.num_trials)]
