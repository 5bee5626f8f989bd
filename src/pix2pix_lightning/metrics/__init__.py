"""Metrics of generated images against real ones, and of images alone."""

from pix2pix_lightning.metrics.colour import lab, lab_histograms
from pix2pix_lightning.metrics.image import ImageL1, ImageL2, ImageMSSSIM, ImageSSIM, pair_metrics
from pix2pix_lightning.metrics.labels import pixel_accuracy
from pix2pix_lightning.metrics.sharpness import gradient_magnitude

__all__ = [
    "ImageL1",
    "ImageL2",
    "ImageMSSSIM",
    "ImageSSIM",
    "gradient_magnitude",
    "lab",
    "lab_histograms",
    "pair_metrics",
    "pixel_accuracy",
]
