"""Pictures for the loggers that can show them."""

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
def log_pictures(loggers: Sequence[Logger], pictures: Mapping[str, ndarray[Any, Any]], step: int) -> None:
    """Hand pictures to TensorBoard and wandb; other loggers are passed over.

    Args:
        loggers: As ``trainer.loggers``.
        pictures: Name to (H, W, C) uint8, of 1, 3 or 4 channels.
        step: The number of batches seen.
    """
    for logger in loggers:
        if isinstance(logger, FaultTolerantLogger):
            logger.attempt(lambda inner: _show(inner, pictures, step))
        else:
            _show(logger, pictures, step)


def _show(logger: Logger, pictures: Mapping[str, ndarray[Any, Any]], step: int) -> None:
    if isinstance(logger, TensorBoard):
        logger.go_on_at(step)
    if isinstance(logger, TensorBoardLogger):
        for name, picture in pictures.items():
            logger.experiment.add_image(name, picture, step, dataformats="HWC")
    elif isinstance(logger, WandbLogger):
        import wandb

        images: Any = {name: wandb.Image(_as_pillow(picture)) for name, picture in pictures.items()}
        logger.log_metrics(images, step)


def _as_pillow(picture: ndarray[Any, Any]) -> Image.Image:
    """What wandb takes as it is, where it might scale an array."""
    return Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)
