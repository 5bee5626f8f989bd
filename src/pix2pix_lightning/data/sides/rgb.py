"""RgbSide: pictures with colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from pix2pix_lightning.data.sides.palette import find_nearest_colours, match_colours
from pix2pix_lightning.data.sides.picture import LevelSide
from pix2pix_lightning.data.sides.side import Array
from pix2pix_lightning.data.sides.values import Palette, check_palette, parse_palette
from pix2pix_lightning.utils.checks import check_switch
from pix2pix_lightning.utils.errors import UserError


@dataclass(frozen=True, kw_only=True)
class RgbSide(LevelSide):
    """Describe a side of colours: three channels.

    Args:
        interpolation: As in ``Side``; by default ``bicubic``, with ``snap_palette`` ``nearest``.
        alpha: As in ``PictureSide``.
        background: As in ``PictureSide``.
        value_range: As in ``LevelSide``.
        palette: RGB colours, 0 to 255, for ``snap_palette``.
        snap_palette: Replace every pixel by the nearest colour of the palette, before resizing.

    Raises:
        UserError: A value is out of range, or a palette is missing or has no effect.
    """

    kind: ClassVar[str] = "rgb"
    palette: Palette | None = None
    snap_palette: bool = False

    def __post_init__(self) -> None:
        check_switch("snap_palette", self.snap_palette)
        if self.palette is not None:
            object.__setattr__(self, "palette", parse_palette(self.palette))
        if self.snap_palette and not self.palette:
            raise UserError("snap_palette=true without a palette: give palette=[[r, g, b], ...]")
        if self.palette and not self.snap_palette:
            raise UserError("a palette has no effect for kind 'rgb': set kind=label, or snap_palette=true")
        if self.palette:
            check_palette(self.palette)
        super().__post_init__()

    @property
    def _default_interpolation(self) -> str:
        return "nearest" if self.snap_palette else "bicubic"

    @property
    def channels(self) -> int:
        """Number of channels that a network sees."""
        return 3

    def prepare(self, image: Array) -> Array:
        """Return colours, (H, W, 3) uint8, of (H, W, 1) or (H, W, 3) uint8; the palette's with ``snap_palette``."""
        if image.shape[2] == 1:
            image = np.repeat(image, 3, 2)
        if not self.palette:
            return image
        snapped: Array = np.asarray(self.palette, np.uint8)[find_nearest_colours(image, self.palette)]
        return snapped

    def encode_file(self, values: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Convert colours (B, 3, H, W) uint8 to floats in [-1, 1], those of the palette with ``snap_palette``."""
        if self.palette:
            palette = torch.tensor(self.palette, dtype=torch.uint8, device=values.device)
            values = palette[match_colours(values, self.palette)[:, 0]].movedim(-1, 1)
        return self.encode(values, dtype)
