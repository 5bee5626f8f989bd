"""What the terminal shows at the end of a training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pix2pix_lightning.metrics import metric_info
from pix2pix_lightning.report.metric_info import read_metric_info
from pix2pix_lightning.utils.csv_file import read_metrics


def format_final_metrics(run_dir: Path) -> str:
    """Format the validation metrics of a run's first and last epoch, and where its gallery is.

    Args:
        run_dir: Folder of the run, with its ``metrics.csv``.

    Returns:
        Several lines. Labels and units are those of ``summary.json`` or of the registered metrics.
    """
    described = read_metric_info(run_dir / "summary.json")
    rows = read_metrics(run_dir / "metrics.csv")
    measured = [row for row in rows if any(name.startswith("val/") for name in row)]
    lines = [f"done: {run_dir}"]
    if measured:
        shown = measured if len(measured) == 1 else [measured[0], measured[-1]]
        epochs = [f"epoch {row['epoch'] + 1:.0f}" for row in shown]
        lines.append(f"{'in validation':>16}" + "".join(f"{epoch:>12}" for epoch in epochs))
        lines += [
            f"{(described.get(name) or metric_info(name)).title:>16}"
            + "".join(f"{row[f'val/{name}']:>12.4f}" for row in shown)
            for name in _list_validation(shown[0])
            if f"val/{name}" in shown[-1]
        ]
    page = run_dir / "gallery/index.html"
    if page.is_file():
        lines.append(f"pictures: {page}")
    return "\n".join(lines)


def _list_validation(row: Mapping[str, float]) -> list[str]:
    """List the validation metrics of a row, by their names without ``val/``."""
    return [name.removeprefix("val/") for name in row if name.startswith("val/")]
