"""Compare the variants of a sweep as Markdown and as a page: the table, the curves, the pictures."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from pix2pix_lightning.metrics import MetricInfo
from pix2pix_lightning.report.curves import Chart, average_points, build_chart, render_chart_file
from pix2pix_lightning.report.links import Link, build_link, find_links, list_pages
from pix2pix_lightning.report.metric_info import MetricName, format_aim
from pix2pix_lightning.report.rendering import render_page
from pix2pix_lightning.report.sweep import Figure, Job, Sweep

MARKDOWN = "report.md"
_MAX_LINES = 6  # in one chart


class _Job(NamedTuple):
    """A run as the page lists it: name, command, and links to its pages."""

    name: str
    command: str
    pages: Sequence[Link]


class Cell(NamedTuple):
    """Text of the table, and whether it is the best of its column."""

    text: str
    is_best: bool = False


Row = Sequence[tuple[str, str]]  # (column, file): input, each variant's label, target


def write_comparison(sweep: Sweep, output: Path, *, home: Path | None = None) -> Path:
    """Write ``report.md``, ``index.html`` and the pictures that both show.

    Args:
        sweep: The runs to compare.
        output: A folder. Files of an earlier comparison in it are replaced, all others stay.
        home: Where the folder will be, from which links lead to the runs; by default where it is.

    Returns:
        The page.
    """
    output.mkdir(parents=True, exist_ok=True)
    rows = _copy_pictures(sweep, output)
    cells = _build_cells(sweep)
    charts = _build_charts(sweep)
    (output / "curves").mkdir(exist_ok=True)
    for file, chart in charts.items():
        (output / file).write_text(render_chart_file(chart), encoding="utf-8")
    (output / MARKDOWN).write_text(_format_markdown(sweep, cells, rows, charts), encoding="utf-8", errors="replace")
    page, final = output / "index.html", (output if home is None else home) / "index.html"
    text = render_page(
        "comparison",
        title=sweep.name,
        header=_build_header(sweep),
        cells=cells,
        explanation=_explain_figures(sweep),
        remarks=sweep.remarks,
        rows=rows,
        pictures_explanation=_explain_pictures(sweep),
        charts=list(charts.values()),
        jobs=[_build_job(job, final) for variant in sweep.variants for job in variant.jobs],
        links=find_links(final, None),
    )
    page.write_text(text, encoding="utf-8")
    return page


def _copy_pictures(sweep: Sweep, output: Path) -> dict[str, Row]:
    """Copy, for each pair that all galleries have, input, each variant's last output at its first seed, and target."""
    galleries = [variant.jobs[0].pictures for variant in sweep.variants]
    columns = ["input", *(variant.label for variant in sweep.variants), "target"]
    rows: dict[str, Row] = {}
    for pair in sorted(set.intersection(*map(set, galleries))):
        source, _, target = galleries[0][pair]
        (output / "images" / pair).mkdir(parents=True, exist_ok=True)
        files = []
        for number, file in enumerate([source, *(gallery[pair][1] for gallery in galleries), target]):
            files.append(f"images/{pair}/{number:02d}{file.suffix}")
            shutil.copyfile(file, output / files[-1])
        rows[pair] = list(zip(columns, files, strict=True))
    return rows


def _build_charts(sweep: Sweep) -> dict[str, Chart]:
    """Build charts of the validation metrics by the file that each is written to."""
    names = sorted({name for v in sweep.variants for job in v.jobs for row in job.rows for name in row})
    charts = {}
    for name in (name for name in names if name.startswith("val/")):
        metric = name.removeprefix("val/")
        info = sweep.info(metric)
        title = f"Validation {info.title}"
        file_name = re.sub(r"\W+", "_", metric)
        parts = range(0, len(sweep.variants), _MAX_LINES)
        for number, start in enumerate(parts, start=1):
            part = f" ({number} of {len(parts)})" if len(parts) > 1 else ""
            series = {v.label: average_points(v.curve(name)) for v in sweep.variants[start : start + _MAX_LINES]}
            charts[f"curves/{file_name}_{number}.svg"] = build_chart(
                series,
                title=f"{title}{part}",
                x_label="batches seen",
                y_label=info.title,
                aim=format_aim(info),
                keys=name,
            )
    return charts


# ---- the table ---------------------------------------------------------------------------------------------------


def _build_header(sweep: Sweep) -> list[MetricName | str]:
    """Build the titles of the columns: keys of settings, and names of metrics."""
    infos = [sweep.info(name) for name in sweep.metrics]
    return [*sweep.keys, *(MetricName(info.name, info.title, format_aim(info)) for info in infos)]


def _build_cells(sweep: Sweep) -> list[list[Cell]]:
    """Build a row for each variant: its settings, then its figures. Equal figures are all best."""
    columns = []
    for name in sweep.metrics:
        figures = [variant.figure(name) for variant in sweep.variants]
        best = sweep.info(name).find_best(figure.mean for figure in figures)
        decimals = _count_decimals(sweep.info(name), figures)
        columns.append([Cell(_format_figure(figure, decimals), figure.mean == best) for figure in figures])
    settings = [[Cell(variant.settings.get(key, "")) for key in sweep.keys] for variant in sweep.variants]
    return [[*setting, *cells] for setting, *cells in zip(settings, *columns, strict=True)]


def _count_decimals(info: MetricInfo, figures: Sequence[Figure]) -> int:
    """Return a column's decimals: as many as ``evaluate`` prints, and more if small values need them."""
    sizes = [abs(figure.mean) for figure in figures if math.isfinite(figure.mean) and figure.mean != 0]
    if sizes and min(sizes) >= 10:
        return min(2, info.decimals)
    if info.decimals < 4:
        return info.decimals
    return max(4, min(8, 2 - math.floor(math.log10(min(sizes))))) if sizes else 4


def _format_figure(figure: Figure, decimals: int) -> str:
    if math.isnan(figure.mean):
        return "not defined"
    has_interval = math.isfinite(figure.low) and math.isfinite(figure.high)
    interval = f" ({figure.low:.{decimals}f} to {figure.high:.{decimals}f})" if has_interval else ""
    return f"{figure.mean:.{decimals}f}{interval}"


def _explain_figures(sweep: Sweep) -> str:
    fewest, most = sweep.num_seeds[0], sweep.num_seeds[-1]
    count = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    means = "Figures of one seed" if most == 1 else f"Means over {count} seeds"
    source = (
        "the last epoch's validation"
        if sweep.split is None
        else f"{sweep.measured} on the {sweep.split} split, by evaluate"
    )
    interval = " The interval is Student's 95 % interval over the seeds." if most > 1 else ""
    if fewest == 1 and sweep.split is not None:
        interval += " Of a single seed the interval is the bootstrapped one over the images."
    return f"{means}, {source}; the best of each column is in bold.{interval}"


def _explain_pictures(sweep: Sweep) -> str:
    seeds = {variant.jobs[0].seed for variant in sweep.variants}
    seed = f"seed {seeds.pop()}" if len(seeds) == 1 else "each variant's first seed"
    figures = "" if sweep.measured is None else f"; the figures are of {sweep.measured}"
    return f"Outputs after the last epoch, {seed}{figures}."


def _build_job(job: Job, page: Path) -> _Job:
    pages = [build_link(title, path, page) for title, path in list_pages(job.folder)]
    return _Job(job.folder.name, job.command, pages)


def _list_commands(sweep: Sweep) -> list[tuple[str, str]]:
    return [(job.folder.name, job.command) for variant in sweep.variants for job in variant.jobs]


# ---- Markdown ----------------------------------------------------------------------------------------------------


def _format_markdown(
    sweep: Sweep, cells: Sequence[Sequence[Cell]], rows: Mapping[str, Row], charts: Mapping[str, Chart]
) -> str:
    lines = [[f"**{_escape(c.text)}**" if c.is_best else _escape(c.text) for c in row] for row in cells]
    header = [_escape(each if isinstance(each, str) else each.title) for each in _build_header(sweep)]
    parts = [f"# {_escape(sweep.name)}", _format_table(header, lines), _escape(_explain_figures(sweep))]
    aims = {sweep.info(name).title: format_aim(sweep.info(name)) for name in sweep.metrics}
    parts += [_escape(" ".join(f"{title}: {aim}." for title, aim in aims.items() if aim))] if any(aims.values()) else []
    if sweep.remarks:
        parts += ["## Remarks", "\n".join(f"- {_escape(remark)}" for remark in sweep.remarks)]
    if rows:
        columns = [_escape(column) for column, _ in next(iter(rows.values()))]
        pictures = [
            [f"![{_escape(f'{column} of {pair}')}]({quote(file)})" for column, file in row]
            for pair, row in rows.items()
        ]
        parts += ["## Pictures", _explain_pictures(sweep), _format_table(columns, pictures)]
    if charts:
        parts += ["## Curves", *(f"![{_escape(chart.title)}]({quote(file)})" for file, chart in charts.items())]
    commands = "\n".join(command for _, command in _list_commands(sweep))
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", commands)), default=0))
    parts += ["## Jobs", f"{fence}\n{commands}\n{fence}"]
    return "\n\n".join(parts) + "\n"


def _format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _escape(text: str) -> str:
    """Escape text for Markdown; an underscore inside a word has no meaning there."""
    return re.sub(r"[\\`*\[\]<>|~&]|(?<!\w)_|_(?!\w)", r"\\\g<0>", " ".join(text.split()))
