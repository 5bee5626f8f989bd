"""LabSide: photos as lightness and colour, channels of CIE Lab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from pix2pix_lightning.data.sides.picture import PictureSide
from pix2pix_lightning.data.sides.side import Array
from pix2pix_lightning.utils.checks import check_choice
from pix2pix_lightning.utils.lab import convert_from_lab, convert_to_lab

PARTS = {"l": 1, "ab": 2, "lab": 3}
"""Number of channels of each part of Lab."""


@dataclass(frozen=True, kw_only=True)
class LabSide(PictureSide):
    """Describe a side of photos of which a network sees channels of CIE Lab.

    A network sees L / 50 - 1, a / 110 and b / 110, as in junyanz's colorization and in affinelayer's
    ``--lab_colorization``. Files and batches hold sRGB. A target of ``ab`` becomes a photo with the source's L.

    Args:
        interpolation: As in ``Side``; by default ``bicubic``. It applies to sRGB.
        alpha: As in ``PictureSide``.
        background: As in ``PictureSide``.
        part: ``l`` (lightness), ``ab`` (colour) or ``lab``.

    Raises:
        UserError: A value is out of range.
    """

    kind: ClassVar[str] = "lab"
    part: str = "lab"

    def __post_init__(self) -> None:
        check_choice("part", self.part, PARTS)
        super().__post_init__()

    @property
    def channels(self) -> int:
        """Number of channels that a network sees."""
        return PARTS[self.part]

    @property
    def file_channels(self) -> int:
        """Number of channels of a file: 3, sRGB."""
        return 3

    @property
    def has_lightness(self) -> bool:
        """Whether a network sees L."""
        return self.part != "ab"

    def prepare(self, image: Array) -> Array:
        """Return colours, (H, W, 3) uint8, of (H, W, 1) or (H, W, 3) uint8."""
        return np.repeat(image, 3, 2) if image.shape[2] == 1 else image

    def encode(self, values: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Convert sRGB to what a network sees.

        Args:
            values: (B, 3, H, W) integers from 0 to 255. Floats are taken as what a network sees already.
            dtype: Type of the result.

        Returns:
            (B, channels, H, W) floats in [-1, 1].
        """
        if values.is_floating_point():
            return values.to(dtype)
        lab = convert_to_lab(values.to(dtype) / 255)
        channels = {"l": lab[:, :1] / 50 - 1, "ab": lab[:, 1:] / 110}
        return torch.cat(list(channels.values()), 1) if self.part == "lab" else channels[self.part]

    def decode(
        self, output: Tensor, source: Tensor | None = None, *, is_output: bool = False, rounding: str = "nearest"
    ) -> Tensor:
        """Convert what a network sees or returns to sRGB.

        Args:
            output: (B, channels, H, W) floats in [-1, 1]; values outside, and colours that sRGB lacks, are clamped.
            source: For ``ab``, what a network sees of the source, whose first channel is L. None is an L of 50.
            is_output: Not used.
            rounding: ``nearest``, or ``floor`` to cut fractions off, as junyanz does.

        Returns:
            (B, 3, H, W) uint8; gray levels for ``l``.
        """
        values = output.float().clamp(-1, 1)
        lightness = values[:, :1] if self.has_lightness else torch.zeros_like(values[:, :1])
        if not self.has_lightness and source is not None:
            lightness = source[:, :1].to(values).clamp(-1, 1)
        colour = values[:, -2:] if self.part != "l" else torch.zeros_like(values).expand(-1, 2, -1, -1)
        levels = convert_from_lab(torch.cat([(lightness + 1) * 50, colour * 110], 1)) * 255
        return (levels.floor() if rounding == "floor" else levels.round()).to(torch.uint8)
