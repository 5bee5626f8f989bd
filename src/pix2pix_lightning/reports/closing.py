"""What is said on the terminal when a training has come to its end."""

from __future__ import annotations

from pathlib import Path

from pix2pix_lightning.reports.run import metrics_rows

_NAMES = {"val/l1": "L1", "val/psnr": "PSNR (dB)", "val/ssim": "SSIM"}


def closing_words(run_dir: Path) -> str:
    """Validation figures of a run's first and last epoch, side by side, and where its pictures are.

    Args:
        run_dir: Of the run, with its ``metrics.csv``.
    """
    rows = metrics_rows(run_dir / "metrics.csv")
    measured = [row for row in rows if any(name in row for name in _NAMES)]
    lines = [f"done: {run_dir}"]
    if measured:
        first, last = measured[0], measured[-1]
        epochs = [f"epoch {row['epoch'] + 1:.0f}" for row in (first, last)]
        lines.append(f"{'in validation':>16}{epochs[0]:>12}{epochs[1]:>12}")
        lines += [
            f"{title:>16}{first[name]:>12.4f}{last[name]:>12.4f}"
            for name, title in _NAMES.items()
            if name in first and name in last
        ]
    page = run_dir / "gallery/index.html"
    if page.is_file():
        lines.append(f"pictures: {page}")
    return "\n".join(lines)
