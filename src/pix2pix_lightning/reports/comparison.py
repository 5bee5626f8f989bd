"""Variants of a model side by side, as Markdown and as a page: the table, the curves, the pictures."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pix2pix_lightning.reports.curves import chart_file, line_chart, thinned
from pix2pix_lightning.reports.page import Markup, document, escaped, picture, table
from pix2pix_lightning.reports.sweep import Figure, Sweep

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
        output: A folder; files of these names in it are replaced.

    Returns:
        The page.
    """
    output.mkdir(parents=True, exist_ok=True)
    rows = _copied_pictures(sweep, output)
    charts = _charts(sweep)
    (output / "curves").mkdir(exist_ok=True)
    for chart in charts:
        (output / chart.file).write_text(chart.drawn(chart_file), encoding="utf-8")
    (output / "report.md").write_text(_markdown(sweep, rows, charts), encoding="utf-8")
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


Row = Mapping[str, str]  # the pictures' files by column: input, each variant's label, target


def _copied_pictures(sweep: Sweep, output: Path) -> dict[str, Row]:
    """For each pair that all galleries have: input, each variant's last output at its first seed, target."""
    galleries = {variant.label: variant.jobs[0].pictures for variant in sweep.variants}
    shared = sorted(set.intersection(*(set(gallery) for gallery in galleries.values())))
    rows: dict[str, Row] = {}
    for pair in shared:
        folders = {label: gallery[pair] for label, gallery in galleries.items()}
        first = next(iter(folders.values()))
        sources = {
            "input": first / "input.png",
            **{label: max(folder.glob("epoch_*.png")) for label, folder in folders.items()},
            "target": first / "target.png",
        }
        (output / "images" / pair).mkdir(parents=True, exist_ok=True)
        files = {}
        for number, (column, source) in enumerate(sources.items()):
            files[column] = f"images/{pair}/{number:02d}.png"
            shutil.copyfile(source, output / files[column])
        rows[pair] = files
    return rows


# ---- the table ---------------------------------------------------------------------------------------------------


def _cells(sweep: Sweep) -> list[list[tuple[str, bool]]]:
    """A row for each variant, its settings and its figures; and whether a figure is the best of its column."""
    columns = []
    for name in sweep.metrics:
        figures = [variant.figure(name) for variant in sweep.variants]
        best = _best(name, figures)
        columns.append([(_text(figure), figure.mean == best) for figure in figures])  # ties are all best
    settings = [[(variant.settings.get(key, ""), False) for key in sweep.keys] for variant in sweep.variants]
    return [[*setting, *cells] for setting, *cells in zip(settings, *columns, strict=True)]


def _best(name: str, figures: Sequence[Figure]) -> float:
    means = [figure.mean for figure in figures if math.isfinite(figure.mean)]
    if not means:
        return math.nan
    if name in _BEST_AT:
        return min(means, key=lambda mean: abs(mean - _BEST_AT[name]))
    return min(means) if name in _LOWER_IS_BETTER else max(means)


def _text(figure: Figure) -> str:
    digits = 2 if abs(figure.mean) >= 10 else 4
    interval = f" ({figure.low:.{digits}f} to {figure.high:.{digits}f})" if math.isfinite(figure.low) else ""
    return f"{figure.mean:.{digits}f}{interval}"


def _header(sweep: Sweep) -> list[str]:
    return [*sweep.keys, *(_TITLES.get(name, name) for name in sweep.metrics)]


def _reading(sweep: Sweep) -> str:
    """What the figures are."""
    few, many = sweep.num_seeds[0], sweep.num_seeds[-1]
    means = "Figures of one seed" if many == 1 else f"Means over {few if few == many else f'{few} to {many}'} seeds"
    of = "the last epoch's validation" if sweep.split is None else f"the {sweep.split} split, by evaluate"
    interval = " The interval is Student's 95 % interval over the seeds." if many > 1 else ""
    if few == 1 and sweep.split is not None:
        interval += " Of a single seed it is the bootstrapped one over the images."
    return f"{means}, {of}; the best of each column is in bold.{interval}"


# ---- as Markdown -------------------------------------------------------------------------------------------------


def _markdown(sweep: Sweep, rows: Mapping[str, Row], charts: Sequence[Chart]) -> str:
    cells = [[f"**{text}**" if is_best else text for text, is_best in row] for row in _cells(sweep)]
    parts = [f"# {sweep.name}", _markdown_table(_header(sweep), cells), _reading(sweep)]
    if rows:
        columns = list(next(iter(rows.values())))
        pictures = [[f"![{column} of {pair}]({file})" for column, file in row.items()] for pair, row in rows.items()]
        parts += ["## Pictures", _of_the_pictures(sweep), _markdown_table(columns, pictures)]
    if charts:
        parts += ["## Curves", *(f"![{chart.title}]({chart.file})" for chart in charts)]
    commands = "\n".join(command for _, command in _commands(sweep))
    parts += ["## Jobs", f"```\n{commands}\n```"]
    return "\n\n".join(parts) + "\n"


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _of_the_pictures(sweep: Sweep) -> str:
    seed = sweep.variants[0].jobs[0].seed
    return f"Outputs after the last epoch, seed {seed}."


def _commands(sweep: Sweep) -> list[tuple[str, str]]:
    return [(job.folder.name, job.command) for variant in sweep.variants for job in variant.jobs]


# ---- as a page ---------------------------------------------------------------------------------------------------


def _page(sweep: Sweep, rows: Mapping[str, Row], charts: Sequence[Chart]) -> str:
    cells = [
        [Markup(f"<strong>{escaped(text)}</strong>") if is_best else text for text, is_best in row]
        for row in _cells(sweep)
    ]
    sections = {"Figures": f"{table(_header(sweep), cells)}\n<p>{escaped(_reading(sweep))}</p>"}
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
        pictures = "".join(
            picture(file, alt=f"{column} of {pair}", caption=column, against=None if is_given else row["target"])
            for column, file in row.items()
            for is_given in [column in ("input", "target")]
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
