"""What the terminal shows at the end of a training."""

from __future__ import annotations

from pathlib import Path

from pix2pix_lightning.reports.metric_info import get_metric_info, read_metric_info
from pix2pix_lightning.utils.csv_file import read_metrics

_NAMES = ("l1", "psnr", "ssim")


def format_final_metrics(run_dir: Path) -> str:
    """Format the validation metrics of a run's first and last epoch, and where its gallery is.

    Args:
        run_dir: Folder of the run, with its ``metrics.csv``.

    Returns:
        Several lines. Metrics that ``summary.json`` describes are in them, besides L1, PSNR and SSIM.
    """
    described = read_metric_info(run_dir / "summary.json")
    infos = {f"val/{name}": get_metric_info(name, described) for name in dict.fromkeys([*_NAMES, *described])}
    measured = [row for row in read_metrics(run_dir / "metrics.csv") if any(name in row for name in infos)]
    lines = [f"done: {run_dir}"]
    if measured:
        first, last = measured[0], measured[-1]
        epochs = [f"epoch {row['epoch'] + 1:.0f}" for row in (first, last)]
        lines.append(f"{'in validation':>16}{epochs[0]:>12}{epochs[1]:>12}")
        lines += [
            f"{info.heading:>16}{first[name]:>12.4f}{last[name]:>12.4f}"
            for name, info in infos.items()
            if name in first and name in last
        ]
    page = run_dir / "gallery/index.html"
    if page.is_file():
        lines.append(f"pictures: {page}")
    return "\n".join(lines)
