"""Metrics of generated images against real ones, registered under names or described by their classes."""

from pix2pix_lightning.metrics.base import (
    ImageMetric,
    MeanImageMetric,
    MeanPixelMetric,
    average_pixels,
    update_metric,
)
from pix2pix_lightning.metrics.build import MetricSpec, build_metric, build_metrics, build_named_metrics
from pix2pix_lightning.metrics.checkerboard import CheckerboardRatio, compute_checkerboard_energy
from pix2pix_lightning.metrics.colour import HistogramIntersection, compute_lab_histograms
from pix2pix_lightning.metrics.distribution import DistributionMetric, HasInterval
from pix2pix_lightning.metrics.embeddings import EmbeddingMetric
from pix2pix_lightning.metrics.feature_extractor import (
    DEFAULT_FEATURES,
    LEAST_SIDE,
    FeatureExtractor,
    FeatureSpec,
    get_extractor,
)
from pix2pix_lightning.metrics.fid import FID, compute_frechet_distance
from pix2pix_lightning.metrics.image import EightBitPSNR, ImageL1, ImageL2, ImageMSSSIM, ImagePSNR, ImageSSIM
from pix2pix_lightning.metrics.kid import KID, compute_kernel
from pix2pix_lightning.metrics.labels import (
    ClassAccuracy,
    ClassMetric,
    MeanIoU,
    OverallAccuracy,
    PixelAccuracy,
    compute_pixel_accuracy,
    count_classes,
)
from pix2pix_lightning.metrics.perceptual import ImagePerceptual
from pix2pix_lightning.metrics.registry import METRICS, MetricInfo, describe_metrics, metric_info
from pix2pix_lightning.metrics.sharpness import GradientRatio, compute_gradient_magnitude
from pix2pix_lightning.networks.features import compute_perceptual_distances
from pix2pix_lightning.utils.lab import convert_to_lab

__all__ = [
    "DEFAULT_FEATURES",
    "FID",
    "KID",
    "LEAST_SIDE",
    "METRICS",
    "CheckerboardRatio",
    "ClassAccuracy",
    "ClassMetric",
    "DistributionMetric",
    "EightBitPSNR",
    "EmbeddingMetric",
    "FeatureExtractor",
    "FeatureSpec",
    "GradientRatio",
    "HasInterval",
    "HistogramIntersection",
    "ImageL1",
    "ImageL2",
    "ImageMSSSIM",
    "ImageMetric",
    "ImagePSNR",
    "ImagePerceptual",
    "ImageSSIM",
    "MeanImageMetric",
    "MeanIoU",
    "MeanPixelMetric",
    "MetricInfo",
    "MetricSpec",
    "OverallAccuracy",
    "PixelAccuracy",
    "average_pixels",
    "build_metric",
    "build_metrics",
    "build_named_metrics",
    "compute_checkerboard_energy",
    "compute_frechet_distance",
    "compute_gradient_magnitude",
    "compute_kernel",
    "compute_lab_histograms",
    "compute_perceptual_distances",
    "compute_pixel_accuracy",
    "convert_to_lab",
    "count_classes",
    "describe_metrics",
    "get_extractor",
    "metric_info",
    "update_metric",
]
