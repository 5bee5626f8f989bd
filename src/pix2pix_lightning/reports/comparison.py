"""Variants of a model side by side, as Markdown and as a page: the table, the curves, the pictures."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from pix2pix_lightning.reports.curves import chart_file, line_chart, thinned
from pix2pix_lightning.reports.page import Markup, document, escaped, picture, table
from pix2pix_lightning.reports.sweep import Figure, Sweep

MARKDOWN = "report.md"
_HERE = Path(__file__).parent
_TITLES = {
    "l1": "L1",
    "l2": "L2",
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "ms_ssim": "MS-SSIM",
    "gradient": "gradient, share of the targets'",
    "histogram_l": "histogram L",
    "histogram_a": "histogram a",
    "histogram_b": "histogram b",
}
_LOWER_IS_BETTER = ("l1", "l2")
_BEST_AT = {"gradient": 1.0}
_LINES = 6  # in one chart


def write_comparison(sweep: Sweep, output: Path) -> Path:
    """Write ``report.md``, ``index.html`` and the pictures that both show.

    Args:
        sweep: What is compared.
        output: A folder without an earlier comparison: files of these names in it are replaced, others stay.

    Returns:
        The page.
    """
    output.mkdir(parents=True, exist_ok=True)
    rows = _copied_pictures(sweep, output)
    charts = _charts(sweep)
    (output / "curves").mkdir(exist_ok=True)
    for chart in charts:
        (output / chart.file).write_text(chart.drawn(chart_file), encoding="utf-8")
    (output / MARKDOWN).write_text(_markdown(sweep, rows, charts), encoding="utf-8", errors="replace")
    page = output / "index.html"
    page.write_text(_page(sweep, rows, charts), encoding="utf-8")
    return page


class Chart(NamedTuple):
    """Curves of a metric, and the file that they are drawn into."""

    series: Mapping[str, Sequence[tuple[float, float]]]
    title: str
    y_label: str
    file: str

    def drawn(self, draw: Callable[..., str]) -> str:
        """By ``line_chart`` for the page, by ``chart_file`` for a file."""
        return draw(self.series, title=self.title, x_label="batches seen", y_label=self.y_label)


Row = Sequence[tuple[str, str]]  # (column, file): input, each variant's label, target


def _copied_pictures(sweep: Sweep, output: Path) -> dict[str, Row]:
    """For each pair that all galleries have: input, each variant's last output at its first seed, target."""
    galleries = [variant.jobs[0].pictures for variant in sweep.variants]
    columns = ["input", *(variant.label for variant in sweep.variants), "target"]
    rows: dict[str, Row] = {}
    for pair in sorted(set.intersection(*map(set, galleries))):
        source, _, target = galleries[0][pair]
        (output / "images" / pair).mkdir(parents=True, exist_ok=True)
        files = []
        for number, file in enumerate([source, *(gallery[pair][1] for gallery in galleries), target]):
            files.append(f"images/{pair}/{number:02d}.png")
            shutil.copyfile(file, output / files[-1])
        rows[pair] = list(zip(columns, files, strict=True))
    return rows


# ---- the table ---------------------------------------------------------------------------------------------------


def _cells(sweep: Sweep) -> list[list[tuple[str, bool]]]:
    """A row for each variant, its settings and its figures; and whether a figure is the best of its column."""
    columns = []
    for name in sweep.metrics:
        figures = [variant.figure(name) for variant in sweep.variants]
        best = _best(name, figures)
        digits = _digits(name, figures)
        columns.append([(_text(figure, digits), figure.mean == best) for figure in figures])  # ties are all best
    settings = [[(variant.settings.get(key, ""), False) for key in sweep.keys] for variant in sweep.variants]
    return [[*setting, *cells] for setting, *cells in zip(settings, *columns, strict=True)]


def _best(name: str, figures: Sequence[Figure]) -> float:
    means = [figure.mean for figure in figures if math.isfinite(figure.mean)]
    if not means:
        return math.nan
    if name in _BEST_AT:
        return min(means, key=lambda mean: abs(mean - _BEST_AT[name]))
    return min(means) if name in _LOWER_IS_BETTER else max(means)


def _digits(name: str, figures: Sequence[Figure]) -> int:
    """Decimals of a column: as ``evaluate`` prints them, and as many as tell small values apart."""
    sizes = [abs(figure.mean) for figure in figures if math.isfinite(figure.mean) and figure.mean != 0]
    if name == "psnr" or (sizes and min(sizes) >= 10):
        return 2
    return max(4, min(8, 2 - math.floor(math.log10(min(sizes))))) if sizes else 4


def _text(figure: Figure, digits: int) -> str:
    if math.isnan(figure.mean):
        return "not defined"
    has_interval = math.isfinite(figure.low) and math.isfinite(figure.high)
    interval = f" ({figure.low:.{digits}f} to {figure.high:.{digits}f})" if has_interval else ""
    return f"{figure.mean:.{digits}f}{interval}"


def _header(sweep: Sweep) -> list[str]:
    return [*sweep.keys, *(_TITLES.get(name, name) for name in sweep.metrics)]


def _reading(sweep: Sweep) -> str:
    """What the figures are."""
    few, many = sweep.num_seeds[0], sweep.num_seeds[-1]
    means = "Figures of one seed" if many == 1 else f"Means over {few if few == many else f'{few} to {many}'} seeds"
    of = (
        "the last epoch's validation"
        if sweep.split is None
        else f"{sweep.measured} on the {sweep.split} split, by evaluate"
    )
    interval = " The interval is Student's 95 % interval over the seeds." if many > 1 else ""
    if few == 1 and sweep.split is not None:
        interval += " Of a single seed the interval is the bootstrapped one over the images."
    return f"{means}, {of}; the best of each column is in bold.{interval}"


# ---- as Markdown -------------------------------------------------------------------------------------------------


def _markdown(sweep: Sweep, rows: Mapping[str, Row], charts: Sequence[Chart]) -> str:
    cells = [[f"**{_plain(text)}**" if is_best else _plain(text) for text, is_best in row] for row in _cells(sweep)]
    header = [_plain(title) for title in _header(sweep)]
    parts = [f"# {_plain(sweep.name)}", _markdown_table(header, cells), _plain(_reading(sweep))]
    if sweep.remarks:
        parts += ["## Remarks", "\n".join(f"- {_plain(remark)}" for remark in sweep.remarks)]
    if rows:
        columns = [_plain(column) for column, _ in next(iter(rows.values()))]
        pictures = [
            [f"![{_plain(f'{column} of {pair}')}]({quote(file)})" for column, file in row] for pair, row in rows.items()
        ]
        parts += ["## Pictures", _of_the_pictures(sweep), _markdown_table(columns, pictures)]
    if charts:
        parts += ["## Curves", *(f"![{_plain(chart.title)}]({chart.file})" for chart in charts)]
    commands = "\n".join(command for _, command in _commands(sweep))
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", commands)), default=0))
    parts += ["## Jobs", f"{fence}\n{commands}\n{fence}"]
    return "\n\n".join(parts) + "\n"


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _plain(text: str) -> str:
    """Text that Markdown shows as it is; an underscore inside of a word means nothing there."""
    return re.sub(r"[\\`*\[\]<>|~&]|(?<!\w)_|_(?!\w)", r"\\\g<0>", " ".join(text.split()))


def _of_the_pictures(sweep: Sweep) -> str:
    seeds = {variant.jobs[0].seed for variant in sweep.variants}
    of = f"seed {seeds.pop()}" if len(seeds) == 1 else "each variant's first seed"
    figures = "" if sweep.measured is None else f"; the figures are of {sweep.measured}"
    return f"Outputs after the last epoch, {of}{figures}."


def _commands(sweep: Sweep) -> list[tuple[str, str]]:
    return [(job.folder.name, job.command) for variant in sweep.variants for job in variant.jobs]


# ---- as a page ---------------------------------------------------------------------------------------------------


def _page(sweep: Sweep, rows: Mapping[str, Row], charts: Sequence[Chart]) -> str:
    cells = [
        [Markup(f"<strong>{escaped(text)}</strong>") if is_best else text for text, is_best in row]
        for row in _cells(sweep)
    ]
    sections = {"Figures": f"{table(_header(sweep), cells)}\n<p>{escaped(_reading(sweep))}</p>"}
    if sweep.remarks:
        sections["Remarks"] = f"<ul>{''.join(f'<li>{escaped(remark)}</li>' for remark in sweep.remarks)}</ul>"
    if rows:
        sections["Pictures"] = f"<p>{escaped(_of_the_pictures(sweep))}</p>\n{_grid(rows)}"
    if charts:
        drawn = "".join(chart.drawn(line_chart) for chart in charts)
        sections["Curves"] = f'<div class="charts">{drawn}</div>'
    sections["Jobs"] = table(["job", "command"], _commands(sweep))
    body = "\n".join(
        f'<section id="{title.lower()}"><h2>{title}</h2>\n{inner}</section>' for title, inner in sections.items()
    )
    style = (_HERE / "comparison.css").read_text("utf-8")
    return document(sweep.name, f"<h1>{escaped(sweep.name)}</h1>\n{body}", style=style)


def _grid(rows: Mapping[str, Row]) -> str:
    """The paper's figures 4 to 6: a row for each image, a column for each variant."""
    lines = []
    for pair, row in rows.items():
        (_, first), (_, target) = row[0], row[-1]
        pictures = "".join(
            picture(
                file, alt=f"{column} of {pair}", caption=column, against=None if file in (first, target) else target
            )
            for column, file in row
        )
        lines.append(f'<div class="variants" role="group" aria-label="{escaped(pair)}">{pictures}</div>')
    return "\n".join(lines)


def _charts(sweep: Sweep) -> list[Chart]:
    names = sorted({name for v in sweep.variants for job in v.jobs for row in job.rows for name in row})
    charts = []
    for name in (name for name in names if name.startswith("val/")):
        metric = name.removeprefix("val/")
        parts = range(0, len(sweep.variants), _LINES)
        for start in parts:
            part = f" ({start // _LINES + 1} of {len(parts)})" if len(parts) > 1 else ""
            series = {v.label: thinned(v.curve(name)) for v in sweep.variants[start : start + _LINES]}
            title = _TITLES.get(metric, metric)
            file = f"curves/{re.sub(r'[^a-z0-9_]+', '_', metric)}_{start // _LINES + 1}.svg"
            charts.append(Chart(series, f"{title}{part}", title, file))
    return charts
