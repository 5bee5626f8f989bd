"""Callbacks of a training run."""

from pix2pix_lightning.training.callbacks.ema import EMA
from pix2pix_lightning.training.callbacks.follow_run_dir import FollowRunDir
from pix2pix_lightning.training.callbacks.gallery import Gallery
from pix2pix_lightning.training.callbacks.journal import Journal
from pix2pix_lightning.training.callbacks.overfit import Overfit
from pix2pix_lightning.training.callbacks.performance import Performance
from pix2pix_lightning.training.callbacks.save_on_interrupt import SaveOnInterrupt
from pix2pix_lightning.training.callbacks.watch_numbers import WatchNumbers
from pix2pix_lightning.training.callbacks.watch_training import WatchTraining

__all__ = [
    "EMA",
    "FollowRunDir",
    "Gallery",
    "Journal",
    "Overfit",
    "Performance",
    "SaveOnInterrupt",
    "WatchNumbers",
    "WatchTraining",
]
