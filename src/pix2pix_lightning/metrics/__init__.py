"""Metrics of generated images against real ones, and of images alone."""

from pix2pix_lightning.metrics.image import ImageL1, ImageSSIM, pair_metrics
from pix2pix_lightning.metrics.sharpness import gradient_magnitude

__all__ = ["ImageL1", "ImageSSIM", "gradient_magnitude", "pair_metrics"]
