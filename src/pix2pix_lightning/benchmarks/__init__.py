"""How fast the project is, measured beside what people write without it."""

from pix2pix_lightning.benchmarks.step import measure_step

__all__ = ["measure_step"]
