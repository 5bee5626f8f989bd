"""PictureSide: what 8-bit pictures have in common, alpha and a background."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pix2pix_lightning.data.files.file_image import describe_misfit
from pix2pix_lightning.data.sides.ranges import Range
from pix2pix_lightning.data.sides.side import Array, Side
from pix2pix_lightning.data.sides.values import parse_background, parse_range
from pix2pix_lightning.utils.checks import check_choice
from pix2pix_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from pix2pix_lightning.data.files.file_image import FileImage
    from pix2pix_lightning.data.files.image_header import ImageHeader


@dataclass(frozen=True, kw_only=True)
class PictureSide(Side):
    """Describe a side of 8-bit pictures.

    Args:
        interpolation: As in ``Side``.
        alpha: What to do with transparent pixels: ``composite`` lays them over ``background``, ``error`` refuses the
            file. By default ``composite``, but ``error`` for label sides.
        background: RGB colour below transparent pixels, 0 to 255; None is white.

    Raises:
        UserError: A value is out of range.
    """

    alpha: str | None = None
    background: tuple[int, int, int] = (255, 255, 255)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "background", parse_background(self.background))
        if self.alpha is None:
            object.__setattr__(self, "alpha", self._default_alpha)
        check_choice("alpha", self.alpha, ("composite", "error"))

    @property
    def _default_alpha(self) -> str:
        return "composite"

    @property
    def batch_channels(self) -> int:
        """Number of channels that a batch carries."""
        return self.file_channels

    def read(self, image: FileImage) -> Array:
        """Take colours or gray levels from a file, over the background where it is transparent.

        Args:
            image: What the file holds.

        Returns:
            (H, W, 1) or (H, W, 3) RGB, uint8; class numbers for a side that has them.

        Raises:
            UserError: There are transparent pixels, and ``alpha`` is ``error``; or other values than 8-bit gray levels
                and colours.
        """
        if image.has_clear_pixels and self.alpha == "error":
            raise UserError(self._format_refusal())
        return image.to_numbers() if self.has_class_numbers else image.to_colours(self.background)

    def find_misfit(self, header: ImageHeader) -> str | None:
        """Say why a file does not fit: a side of pictures takes 8-bit gray levels or RGB."""
        return describe_misfit(
            header.pixel_dtype, header.pixel_channels, header.is_colour, has_numbers=self.has_class_numbers
        )

    def _format_refusal(self) -> str:
        if self.has_class_numbers:
            return "transparent pixels (alpha) in a side of class numbers, which have none: save the file without alpha"
        fix = "save it without alpha" + (" in the palette's colours" if self.kind == "label" else "")
        return (
            f"transparent pixels (alpha) in a side with alpha=error: {fix}, or set alpha=composite and "
            "background=[r,g,b]"
        )

    def preview(self, values: Tensor) -> npt.NDArray[np.uint8]:
        """Convert one image of ``decode``, (C, H, W) uint8, to a picture for people, (H, W, C) uint8."""
        picture: npt.NDArray[np.uint8] = values.permute(1, 2, 0).to("cpu", torch.uint8).numpy()
        return picture


@dataclass(frozen=True, kw_only=True)
class LevelSide(PictureSide):
    """Describe a side of 8-bit levels, which a network sees as floats in [-1, 1].

    Args:
        interpolation: As in ``Side``.
        alpha: As in ``PictureSide``.
        background: As in ``PictureSide``.
        value_range: Least and greatest value of a file, from 0 to 255; they become -1 and 1.

    Raises:
        UserError: A value is out of range.
    """

    value_range: tuple[float, float] = (0.0, 255.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "value_range", parse_range(self.value_range))

    @property
    @abstractmethod
    def channels(self) -> int:
        """Number of channels that a network sees."""

    @property
    def file_channels(self) -> int:
        """Number of channels of a file."""
        return self.channels

    @property
    def ranges(self) -> tuple[Range, ...]:
        """Values of a file that become -1 and 1, of all channels."""
        return (self.value_range,)

    def encode(self, values: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Convert images from what a batch carries to what a network sees.

        Args:
            values: (B, channels, H, W) integers in ``value_range``. Floats are taken as what a network sees already.
            dtype: Type of the result.

        Returns:
            (B, channels, H, W) floats in [-1, 1].
        """
        if values.is_floating_point():
            return values.to(dtype)
        low, high = self.value_range
        floats = values.to(dtype)  # a new tensor, since the files' values are integers
        return (floats.sub_(low) if low else floats).mul_(2 / (high - low)).sub_(1)

    def decode(
        self, output: Tensor, source: Tensor | None = None, *, is_output: bool = False, rounding: str = "nearest"
    ) -> Tensor:
        """Convert images from what a network sees or returns to what a file of this side holds.

        Args:
            output: (B, channels, H, W) floats in [-1, 1]; values outside are clamped.
            source: Not used.
            is_output: Not used.
            rounding: ``nearest``, or ``floor`` to cut fractions off, as junyanz does.

        Returns:
            (B, channels, H, W) uint8.
        """
        low, high = self.value_range
        values = (output.float() + 1) * ((high - low) / 2) + low
        return (values.floor() if rounding == "floor" else values.round()).clamp(low, high).to(torch.uint8)
