"""What a page shows of a run: its metrics, its settings and the command that repeats it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pix2pix_lightning.metrics import METRICS, MetricInfo, metric_info
from pix2pix_lightning.report.curves import Chart, Point, average_points, build_chart
from pix2pix_lightning.report.metric_info import MetricName, name_metric
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.saved_config import read_saved_values

Row = Mapping[str, float]

_MAX_BYTES = 2**20  # of a configuration that is shown
_TRAINING = {  # names by (title, label of the y axis)
    ("Generator loss", "loss"): ["train/loss_g"],
    ("Adversarial losses", "loss"): ["train/adversarial", "train/loss_d"],
    ("What the discriminator says", "mean score"): ["train/d_real", "train/d_fake"],
}


class Figure(NamedTuple):
    """A validation metric: its name, its last and its best value as text."""

    name: MetricName
    last: str
    best: str


class RunMetrics(NamedTuple):
    """Metrics of a run as a page shows them.

    Attributes:
        figures: The validation metrics.
        validation: Charts of the validation metrics.
        training: Charts of the training metrics.
    """

    figures: Sequence[Figure]
    validation: Sequence[Chart]
    training: Sequence[Chart]


def build_run_metrics(rows: Sequence[Row], described: Mapping[str, MetricInfo]) -> RunMetrics | None:
    """Build the figures and the charts of a run.

    Args:
        rows: Rows of ``metrics.csv`` by rising step.
        described: What the run's files say about its metrics, by their names without ``val/``; for others the
            registered row counts.

    Returns:
        The metrics as a page shows them, or None if no training or validation metric was logged.
    """
    logged = {name for row in rows for name in row}
    infos = {f"val/{name}": described.get(name) or metric_info(name) for name in _sort_validation_metrics(logged)}
    figures = [_format_figure(rows, name_metric(name, described), info) for name, info in infos.items()]
    validation = [_build_chart(rows, described, [name], *_label_chart(name_metric(name, described))) for name in infos]
    training = [_build_chart(rows, described, *group) for group in _group_training_metrics(logged)]
    return RunMetrics(figures, validation, training) if validation or training else None


def read_config_text(path: Path) -> tuple[str | None, str | None]:
    """Read a ``config.yaml`` as text, and the command in it that repeats the run.

    Returns:
        The text, None if there is no file; the command, None if it cannot be read.
    """
    if not path.is_file():
        return None, None
    with path.open("rb") as file:
        text = file.read(_MAX_BYTES).decode("utf-8", errors="replace")
    with suppress(UserError):
        command = read_saved_values(path).get("command")
        return text, command if isinstance(command, str) and command else None
    return text, None


def _sort_validation_metrics(names: Collection[str]) -> list[str]:
    """Return the validation metrics without ``val/``: the registered ones in their order, then the others by name."""
    found = sorted(name.removeprefix("val/") for name in names if name.startswith("val/"))
    return [*(name for name in METRICS if name in found), *(name for name in found if name not in METRICS)]


def _group_training_metrics(names: Collection[str]) -> list[tuple[list[str], str, str]]:
    """Return names, title and y label of each chart. Learning rates are settings, and left to the loggers."""
    grouped = {name for group in _TRAINING.values() for name in group}
    others = [name for name in sorted(names) if name.startswith("train/") and not name.startswith("train/lr_")]
    groups = [([name for name in group if name in names], *labels) for labels, group in _TRAINING.items()]
    groups += [([name], *_label_chart(name_metric(name))) for name in others if name not in grouped]
    return [group for group in groups if group[0]]


def _label_chart(name: MetricName) -> tuple[str, str]:
    return name.title, name.unit


def _build_chart(
    rows: Sequence[Row], described: Mapping[str, MetricInfo], names: Sequence[str], title: str, y_label: str
) -> Chart:
    named = [name_metric(name, described) for name in names]
    series = {each.title: average_points(_select_points(rows, each.key)) for each in named}
    aims = {each.aim for each in named}
    keys = ", ".join(names)
    aim = aims.pop() if len(aims) == 1 else ""
    return build_chart(series, title=title, x_label="batches seen", y_label=y_label, aim=aim, keys=keys)


def _select_points(rows: Sequence[Row], name: str) -> list[Point]:
    return [(row["step"], row[name]) for row in rows if name in row]


def _format_figure(rows: Sequence[Row], name: MetricName, info: MetricInfo) -> Figure:
    measured = [row for row in rows if name.key in row]
    value = info.find_best(row[name.key] for row in measured)
    best = ""
    if value is not None:
        row = next(row for row in measured if row[name.key] == value)
        best = f"{value:.4f}" + (f", epoch {row['epoch'] + 1:.0f}" if "epoch" in row else "")
    return Figure(name, f"{measured[-1][name.key]:.4f}", best)
