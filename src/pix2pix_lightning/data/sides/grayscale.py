"""GrayscaleSide: pictures of gray levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from pix2pix_lightning.data.sides.picture import LevelSide
from pix2pix_lightning.data.sides.side import Array


@dataclass(frozen=True, kw_only=True)
class GrayscaleSide(LevelSide):
    """Describe a side of gray levels: one channel, the luminance of files with colours.

    Args:
        interpolation: As in ``Side``; by default ``bicubic``.
        alpha: As in ``PictureSide``.
        background: As in ``PictureSide``.
        value_range: As in ``LevelSide``.

    Raises:
        UserError: A value is out of range.
    """

    kind: ClassVar[str] = "grayscale"

    @property
    def channels(self) -> int:
        """Number of channels that a network sees."""
        return 1

    def prepare(self, image: Array) -> Array:
        """Return the luminance, (H, W, 1) uint8, of (H, W, 1) or (H, W, 3) uint8."""
        if image.shape[2] == 1:
            return image
        return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)[..., None]
