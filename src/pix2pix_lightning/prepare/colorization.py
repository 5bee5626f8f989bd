"""Make pairs of gray and coloured photos, for tools that need a fixed data set: ``prepare task=colorization``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from pix2pix_lightning.prepare.photos import pair_photos
from pix2pix_lightning.prepare.pictures import Image
from pix2pix_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

_LEAST_COLOUR = 8  # levels between the channels of a pixel, more than JPEG makes of gray ones


def colorization(cfg: DictConfig) -> None:
    """Make pairs of gray and coloured photo.

    Args:
        cfg: ``input`` is the folder of the photos.

    Raises:
        UserError: There is no such folder, a value is wrong, or nothing could be written.
        FileExistsError: The output exists.
    """
    pair_photos(cfg, remove_colour)


def remove_colour(photo: Image, name: str) -> Image:
    """Return the luminance of a photo, as a grayscale side has it.

    Args:
        photo: (H, W, 3) uint8 RGB.
        name: The pair's name, which makes no difference.

    Returns:
        (H, W, 1) uint8.

    Raises:
        UserError: It has no colour.
    """
    if int(np.ptp(photo, axis=2).max()) < _LEAST_COLOUR:
        raise UserError("the photo has no colour")
    return cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)[..., None]
