"""What values a pretrained network takes: images in [-1, 1] become those, of the size that it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pix2pix_lightning.utils.checks import check_counts, check_numbers
from pix2pix_lightning.utils.errors import UserError

__all__ = ["InputValues"]


@dataclass(frozen=True, kw_only=True)
class InputValues:
    """Convert images to what a network takes: resize, map to a range, subtract the mean, divide by the deviation.

    Args:
        range: Two numbers, the values of black and white, or ``uint8`` for whole levels from 0 to 255.
        mean: Subtracted then: a number, or one for each colour, red first.
        std: What is divided by then: a number, or one for each colour.
        size: A side, or height and width, to which images are resized, by bilinear interpolation with antialiasing;
            None: they keep theirs.

    Raises:
        UserError: A value is out of range.
    """

    range: str | Sequence[float] = (-1.0, 1.0)
    mean: float | Sequence[float] = 0.0
    std: float | Sequence[float] = 1.0
    size: int | Sequence[int] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.range, str):
            if self.range != "uint8":
                raise UserError(f"features.range={self.range}: [black, white], such as [0, 1], or uint8 is expected")
            if (self.mean, self.std) != (0.0, 1.0):
                raise UserError("features.range=uint8 goes without mean and std: set range=[0, 255] for floats")
        else:
            black, white = self._get_numbers("range", self.range, 2)
            if black == white:
                raise UserError(f"features.range={self.range}: two different numbers are expected")
        self._get_numbers("mean", self.mean, 3)
        if not all(self._get_numbers("std", self.std, 3)):
            raise UserError(f"features.std={self.std}: other numbers than 0 are expected")
        for side in self.get_size() or ():
            check_counts(at_least=1, prefix="features.", size=side)

    def get_size(self) -> tuple[int, int] | None:
        """Return height and width to which images are resized, or None."""
        if self.size is None:
            return None
        height, width = self._get_numbers("size", self.size, 2)
        if height != int(height) or width != int(width):
            raise UserError(f"features.size={self.size}: whole numbers are expected")
        return int(height), int(width)

    def convert(self, images: Tensor) -> Tensor:
        """Return what the network takes of images.

        Args:
            images: (B, 3, H, W) in [-1, 1].

        Returns:
            (B, 3, H', W'): floats of the type of the images, or uint8.
        """
        size = self.get_size()
        if size is not None and images.shape[2:] != size:
            images = F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
        if isinstance(self.range, str):
            return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        black, white = self.range
        values = images if (black, white) == (-1, 1) else (images + 1) * ((white - black) / 2) + black
        mean, std = (
            torch.tensor(self._get_numbers(key, value, 3), dtype=images.dtype, device=images.device)[:, None, None]
            for key, value in (("mean", self.mean), ("std", self.std))
        )
        return (values - mean) / std

    @staticmethod
    def _get_numbers(key: str, value: Any, count: int) -> list[float]:
        several = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value] * count
        if len(several) != count:
            raise UserError(f"features.{key}={value}: {count} numbers are expected")
        for number in several:
            check_numbers(**{f"features.{key}": number})
        return [float(number) for number in several]
