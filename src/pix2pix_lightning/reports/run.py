"""What a page says of a run: its metrics, its settings and how to repeat it."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from io import StringIO
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from pix2pix_lightning.reports.curves import Point, line_chart, thinned
from pix2pix_lightning.reports.page import escaped, table

Row = Mapping[str, float]

# title, what is on the axis, which value is the best
_VALIDATION = {
    "val/l1": ("L1", "fraction of the range", min),
    "val/psnr": ("PSNR", "dB", max),
    "val/ssim": ("SSIM", "SSIM", max),
}
_TRAINING = {
    "Generator's loss": ("loss", ["train/loss_g"]),
    "Adversarial losses": ("loss", ["train/adversarial", "train/loss_d"]),
    "What the discriminator says": ("mean score", ["train/d_real", "train/d_fake"]),
}


def metrics_rows(path: Path, latest: Row | None = None) -> list[dict[str, float]]:
    """The rows of a ``metrics.csv`` in the order of steps; one that is cut short is left out.

    Args:
        path: Of the file, which may not be there yet.
        latest: A row of now, in place of the file's from its step on: those are of a run that this one resumes.
    """
    rows = []
    with suppress(FileNotFoundError, csv.Error):
        text = path.read_bytes().decode(errors="replace")
        whole = text[: text.rfind("\n") + 1]  # the last line may be cut inside a number
        for row in csv.DictReader(StringIO(whole, newline="")):
            with suppress(TypeError, ValueError):
                rows.append({name: float(value) for name, value in row.items() if value != ""})
    rows = [row for row in rows if "step" in row and (latest is None or row["step"] < latest["step"])]
    return sorted(rows + ([] if latest is None else [dict(latest)]), key=lambda row: row["step"])


def metrics(rows: Sequence[Row]) -> str:
    """The last and the best figures, and curves of what was logged; nothing where nothing was."""
    names = {name for row in rows for name in row}
    measured = [name for name in _VALIDATION if name in names]
    measured += sorted(name for name in names if name.startswith("val/") and name not in _VALIDATION)
    in_validation = [_chart(rows, [name], *_VALIDATION.get(name, (name, "value", None))[:2]) for name in measured]
    in_training = [_chart(rows, *group) for group in _training_groups(names)]
    parts = [
        _figures(rows, measured) if measured else "",
        *(
            f'<h3>{title}</h3>\n<div class="charts">{"".join(charts)}</div>'
            for title, charts in {"In validation": in_validation, "In training": in_training}.items()
            if charts
        ),
    ]
    return "\n".join(part for part in parts if part)


def _training_groups(names: Collection[str]) -> list[tuple[list[str], str, str]]:
    """Names for each chart, its title and its axis; learning rates are settings, and left to the loggers."""
    known = {name for _, group in _TRAINING.values() for name in group}
    others = [name for name in sorted(names) if name.startswith("train/") and not name.startswith("train/lr_")]
    groups = [([name for name in group if name in names], title, axis) for title, (axis, group) in _TRAINING.items()]
    groups += [([name], name, "value") for name in others if name not in known]
    return [group for group in groups if group[0]]


def settings(path: Path) -> dict[str, str]:
    """Sections by their titles: a ``config.yaml``, and the command in it that repeats the run."""
    try:
        text = path.read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return {}
    listing = f'<pre tabindex="0" role="region" aria-label="config.yaml"><code>{escaped(text)}</code></pre>'
    sections = {"Settings": f'<details class="settings"><summary>config.yaml</summary>{listing}</details>'}
    if command := _command(text):
        sections["Repeat"] = (
            "<p>The command that repeats this run:</p>"
            f'<pre class="wrapped command"><code>{escaped(command)}</code></pre>'
        )
    return sections


def _command(text: str) -> str | None:
    try:
        config = OmegaConf.create(text)
        plain = OmegaConf.to_container(config, resolve=False)
    except (YAMLError, OmegaConfBaseException):
        return None
    return plain.get("command") if isinstance(plain, dict) else None


def _points(rows: Sequence[Row], name: str) -> list[Point]:
    return [(row["step"], row[name]) for row in rows if name in row]


def _chart(rows: Sequence[Row], names: Sequence[str], title: str, y_label: str) -> str:
    series = {name: thinned(_points(rows, name)) for name in names}
    return line_chart(series, title=title, x_label="batches seen", y_label=y_label)


def _figures(rows: Sequence[Row], names: Sequence[str]) -> str:
    lines = []
    for name in names:
        measured = [row for row in rows if name in row]
        title, _, choose = _VALIDATION.get(name, (name, "", None))
        finite = [row for row in measured if math.isfinite(row[name])]
        best = choose(finite, key=lambda row: row[name]) if choose and finite else None
        epoch = f", epoch {best['epoch'] + 1:.0f}" if best and "epoch" in best else ""
        lines.append([title, f"{measured[-1][name]:.4f}", f"{best[name]:.4f}{epoch}" if best else ""])
    return table(["metric", "last", "best"], lines)
