"""Log images to the loggers that can show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from pix2pix_lightning.training.loggers.fault_tolerant import FaultTolerantLogger
from pix2pix_lightning.training.loggers.tensorboard import TensorBoard

if TYPE_CHECKING:
    from numpy import ndarray


@rank_zero_only
def log_images(loggers: Sequence[Logger], images: Mapping[str, ndarray[Any, Any]], step: int) -> None:
    """Log images to TensorBoard and wandb. Other loggers are passed over.

    Args:
        loggers: Loggers, such as ``trainer.loggers``.
        images: Images by name, (H, W, C) uint8 with 1, 3 or 4 channels.
        step: Number of the batch in the run, from 0.
    """
    for logger in loggers:
        if isinstance(logger, FaultTolerantLogger):
            logger.attempt(lambda inner: _log(inner, images, step))
        else:
            _log(logger, images, step)


def _log(logger: Logger, images: Mapping[str, ndarray[Any, Any]], step: int) -> None:
    if isinstance(logger, TensorBoard):
        logger.start_at(step)
    if isinstance(logger, TensorBoardLogger):
        for name, image in images.items():
            logger.experiment.add_image(name, image, step, dataformats="HWC")
    elif isinstance(logger, WandbLogger):
        import wandb

        media: Any = {name: wandb.Image(_to_pillow(image)) for name, image in images.items()}
        logger.log_metrics(media, step)


def _to_pillow(image: ndarray[Any, Any]) -> Image.Image:
    """Convert to Pillow, which wandb takes unchanged. It may rescale the values of an array."""
    return Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
