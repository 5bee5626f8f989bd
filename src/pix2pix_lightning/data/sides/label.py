"""LabelSide: maps of classes, in the colours of a palette or as class numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pix2pix_lightning.data.sides.class_numbers import (
    check_class_numbers,
    check_ignore_index,
    compute_level_step,
    decode_classes,
    encode_classes,
    find_ignored,
)
from pix2pix_lightning.data.sides.palette import check_colours_match, find_nearest_colours, match_colours
from pix2pix_lightning.data.sides.picture import PictureSide
from pix2pix_lightning.data.sides.side import Array
from pix2pix_lightning.data.sides.values import Palette, check_classes, parse_palette
from pix2pix_lightning.utils.errors import UserError


@dataclass(frozen=True, kw_only=True)
class LabelSide(PictureSide):
    """Describe a side of classes: a network sees one channel for each, 1 where the class is and -1 elsewhere.

    Args:
        interpolation: ``nearest``, since class numbers cannot be mixed.
        alpha: As in ``PictureSide``; by default ``error``.
        background: As in ``PictureSide``.
        palette: RGB colours, 0 to 255, of the classes. Each colour in a file is replaced by the nearest of them, which
            removes the noise of JPEG. A file that is drawn in other colours is refused. None: files hold the numbers 0
            to ``num_classes - 1``.
        num_classes: Number of classes without a palette, 1 to 256.
        ignore_index: Class number (Cityscapes' 255), or position in the palette, of pixels without a class. A network
            sees -1 in all their channels. A target's do not count in losses and metrics; outputs have none.

    Raises:
        UserError: A value is out of range, or two arguments contradict each other.

    Example:
        >>> LabelSide(palette=((0, 0, 0), (255, 255, 255))).channels
        2
    """

    kind: ClassVar[str] = "label"
    palette: Palette | None = None
    num_classes: int | None = None
    ignore_index: int | None = None

    def __post_init__(self) -> None:
        if self.palette is not None:
            object.__setattr__(self, "palette", parse_palette(self.palette))
        check_classes(self.palette, self.num_classes)
        check_ignore_index(self.ignore_index, self.channels, has_palette=bool(self.palette))
        super().__post_init__()
        if self.has_class_numbers and self.alpha == "composite":
            raise UserError("alpha='composite' in a side of class numbers, which cannot be mixed: set alpha=error")
        if self.interpolation != "nearest":
            raise UserError(f"interpolation={self.interpolation!r} would mix class numbers: set interpolation=nearest")

    @property
    def _default_interpolation(self) -> str:
        return "nearest"

    @property
    def _default_alpha(self) -> str:
        return "error"

    @property
    def channels(self) -> int:
        """Number of channels that a network sees: one for each class."""
        return len(self.palette) if self.palette else int(self.num_classes or 0)

    @property
    def file_channels(self) -> int:
        """Number of channels of a file: 3 for colours, 1 for class numbers."""
        return 3 if self.palette else 1

    @property
    def batch_channels(self) -> int:
        """Number of channels that a batch carries: class numbers."""
        return 1

    @property
    def has_class_numbers(self) -> bool:
        """Whether files hold class numbers, and not colours."""
        return not self.palette

    def prepare(self, image: Array) -> Array:
        """Convert colours or class numbers to class numbers.

        Args:
            image: (H, W, 1) or (H, W, 3) RGB, uint8.

        Returns:
            (H, W, 1) class numbers, uint8.

        Raises:
            UserError: A class number is not below ``num_classes``, a file of class numbers holds colours, or a file is
                drawn in other colours than the palette's.
        """
        if self.palette:
            image = np.repeat(image, 3, 2) if image.shape[2] == 1 else image
            nearest = find_nearest_colours(image, self.palette)
            check_colours_match(image, nearest, self.palette)
            return nearest.astype(np.uint8, copy=False)[..., None]
        if image.shape[2] == 3:
            if (image != image[..., :1]).any():
                raise UserError(
                    f"colours in a side of {self.channels} class numbers: give their palette, or grayscale files"
                )
            image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)[..., None]
        check_class_numbers(image, self.channels, self.ignore_index)
        return image

    def encode(self, values: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Convert class numbers to what a network sees.

        Args:
            values: (B, 1, H, W) integers. Floats are taken as what a network sees already.
            dtype: Type of the result.

        Returns:
            (B, channels, H, W), 1 or -1.
        """
        if values.is_floating_point():
            return values.to(dtype)
        return encode_classes(values, self.channels, self.ignore_index, dtype)

    def encode_file(self, values: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Convert colours (B, 3, H, W) or class numbers (B, 1, H, W), uint8, to channels of 1 or -1."""
        return self.encode(self.number_classes(values), dtype)

    def number_classes(self, values: Tensor) -> Tensor:
        """Return the class numbers (B, 1, H, W) of colours (B, 3, H, W) or class numbers, as files hold them, uint8."""
        return match_colours(values, self.palette) if self.palette else values

    def decode(
        self, output: Tensor, source: Tensor | None = None, *, is_output: bool = False, rounding: str = "nearest"
    ) -> Tensor:
        """Convert what a network sees or returns to colours or class numbers.

        Args:
            output: (B, channels, H, W) floats; the greatest channel is the class.
            source: Not used.
            is_output: Whether a generator returned them: each pixel then has a class, never ``ignore_index``.
            rounding: Not used.

        Returns:
            (B, 3, H, W) colours, or (B, 1, H, W) class numbers; uint8.
        """
        classes = self.find_classes(output, is_output=is_output)
        if not self.palette:
            return classes.to(torch.uint8)
        palette = torch.tensor(self.palette, dtype=torch.uint8, device=output.device)
        return palette[classes[:, 0]].movedim(-1, 1)

    def find_classes(self, values: Tensor, *, is_output: bool = False) -> Tensor:
        """Return the class numbers (B, 1, H, W) of floats (B, channels, H, W); ``is_output`` as for ``decode``."""
        return decode_classes(values, self.ignore_index, is_output=is_output)[:, None]

    def find_ignored(self, values: Tensor) -> Tensor | None:
        """Return which pixels of images (B, channels, H, W) have no class, (B, 1, H, W); None where all have one."""
        return None if self.ignore_index is None else find_ignored(values)

    def preview(self, values: Tensor) -> npt.NDArray[np.uint8]:
        """Convert one image of ``decode``, (C, H, W) uint8, to a picture for people.

        Returns:
            (H, W, C) uint8; class numbers without colours are spread over the gray levels, others are white.
        """
        if self.has_class_numbers:
            step = compute_level_step(self.channels, self.ignore_index)
            values = (values.int() * step).clamp(max=255)
        return super().preview(values)
