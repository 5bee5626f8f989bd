"""Callbacks of a training run."""

from pix2pix_lightning.training.callbacks.ema import EMA
from pix2pix_lightning.training.callbacks.flush_metrics import FlushMetrics
from pix2pix_lightning.training.callbacks.follow_run_dir import FollowRunDir
from pix2pix_lightning.training.callbacks.gallery import Gallery
from pix2pix_lightning.training.callbacks.journal import Journal
from pix2pix_lightning.training.callbacks.judge import Judge
from pix2pix_lightning.training.callbacks.keep_settings import KeepSettings
from pix2pix_lightning.training.callbacks.overfit import Overfit
from pix2pix_lightning.training.callbacks.performance import Performance
from pix2pix_lightning.training.callbacks.progress import TrainingBar
from pix2pix_lightning.training.callbacks.repeat_validation import RepeatValidation
from pix2pix_lightning.training.callbacks.save_by_time import SaveByTime
from pix2pix_lightning.training.callbacks.save_moments import SaveMoments
from pix2pix_lightning.training.callbacks.save_on_interrupt import SaveOnInterrupt
from pix2pix_lightning.training.callbacks.skip_stale_best import SkipStaleBest
from pix2pix_lightning.training.callbacks.stop_on_signal import StopOnSignal
from pix2pix_lightning.training.callbacks.watch_numbers import WatchNumbers
from pix2pix_lightning.training.callbacks.watch_training import WatchTraining

__all__ = [
    "EMA",
    "FlushMetrics",
    "FollowRunDir",
    "Gallery",
    "Journal",
    "Judge",
    "KeepSettings",
    "Overfit",
    "Performance",
    "RepeatValidation",
    "SaveByTime",
    "SaveMoments",
    "SaveOnInterrupt",
    "SkipStaleBest",
    "StopOnSignal",
    "TrainingBar",
    "WatchNumbers",
    "WatchTraining",
]
