"""Where a run's figures, pictures and configuration go."""

from pix2pix_lightning.training.loggers.fault_tolerant import FaultTolerantLogger, say_left_out
from pix2pix_lightning.training.loggers.metrics_csv import MetricsCSV
from pix2pix_lightning.training.loggers.pictures import log_pictures
from pix2pix_lightning.training.loggers.tensorboard import TensorBoard
from pix2pix_lightning.training.loggers.wandb import Wandb

__all__ = ["FaultTolerantLogger", "MetricsCSV", "TensorBoard", "Wandb", "log_pictures", "say_left_out"]
