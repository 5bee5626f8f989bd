"""Loggers of metrics, images and the configuration of a run."""

from pix2pix_lightning.training.loggers.fault_tolerant import FaultTolerantLogger, warn_left_out
from pix2pix_lightning.training.loggers.images import log_images
from pix2pix_lightning.training.loggers.metrics_csv import MetricsCSV
from pix2pix_lightning.training.loggers.tensorboard import TensorBoard
from pix2pix_lightning.training.loggers.wandb import Wandb

__all__ = ["FaultTolerantLogger", "MetricsCSV", "TensorBoard", "Wandb", "log_images", "warn_left_out"]
