"""How fast the project is, measured beside what people write without it."""

from pix2pix_lightning.benchmarks.measuring import measure
from pix2pix_lightning.benchmarks.report import compare_lines, read_report

__all__ = ["compare_lines", "measure", "read_report"]
