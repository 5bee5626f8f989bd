"""Read photos, resize and join them, and write the pictures of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.files.file_image import composite
from pix2pix_lightning.data.files.image_files import WRITTEN_SUFFIXES, open_image, write_image
from pix2pix_lightning.data.files.image_header import read_header
from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.checks import check_counts, is_whole_number
from pix2pix_lightning.utils.errors import UserError

Image = npt.NDArray[np.uint8]
Size = tuple[int, int]

_WHITE = (255, 255, 255)
_JPEG = (".jpg", ".jpeg")
_JPEG_QUALITY = 95


def read_photo(path: Path) -> tuple[Image, bool]:
    """Read an image's colours or gray levels, over white where it is transparent.

    Args:
        path: The file.

    Returns:
        (H, W, 1) or (H, W, 3) RGB, uint8, and whether it has transparent pixels.

    Raises:
        UserError: The file is no image, is damaged, or holds what is not read.
        OSError: It cannot be read.
    """
    image = open_image(path)
    pixels = image.pixels if image.palette is None else image.palette[image.pixels[..., 0]]
    if pixels.dtype != np.uint8 or pixels.shape[2] not in (1, 3):
        raise UserError(
            f"{path} holds {pixels.shape[2]} channels of {pixels.dtype}: 8-bit gray levels or RGB are expected; put "
            "pairs of other kinds into the folders A and B"
        )
    is_clear = image.has_clear_pixels
    if is_clear:
        pixels = composite(pixels, image.alpha, _WHITE, is_premultiplied=image.is_premultiplied)
    if pixels.shape[2] == 3 and read_header(path).photometric == "grayscale":  # three equal channels
        pixels = pixels[..., :1]
    return pixels, is_clear


def check_size(size: Any) -> Size | None:
    """Check the key ``size``.

    Args:
        size: A number of pixels, or height and width, or None.

    Returns:
        Height and width, or None.

    Raises:
        UserError: It is something else.
    """
    if size is None:
        return None
    sides = [*size] if isinstance(size, Sequence) and not isinstance(size, str) else [size, size]
    if len(sides) != 2 or not all(is_whole_number(side) and 0 < side <= 2**15 for side in sides):
        raise UserError(f"size={size}: a number of pixels, or [height,width], is expected")
    return sides[0], sides[1]


def resize_picture(image: Image, size: Size | None, interpolation: str = "bicubic") -> Image:
    """Resize an image as a training does.

    Args:
        image: (H, W, 1) or (H, W, 3) uint8.
        size: Height and width of the result, or None for those of the image.
        interpolation: ``bicubic``, ``bilinear`` or ``nearest``.

    Returns:
        The resized image, or the image itself.
    """
    if size is None or image.shape[:2] == size:
        return image
    from pix2pix_lightning.data.resize import resize  # it imports torch

    return resize(image, *size, interpolation)


def to_rgb(image: Image) -> Image:
    """Return an image (H, W, 1) or (H, W, 3) with three channels."""
    return np.repeat(image, 3, 2) if image.shape[2] == 1 else image


def join_strip(a: Image, b: Image) -> Image:
    """Put A to the left of B, in gray levels where both have one channel, else in RGB.

    Args:
        a: (H, W, 1) or (H, W, 3) uint8.
        b: The same, of the same height and width.

    Returns:
        (H, 2 W, 1) or (H, 2 W, 3) uint8.
    """
    return np.hstack([a, b] if a.shape[2] == b.shape[2] else [to_rgb(a), to_rgb(b)])


@dataclass(frozen=True)
class PictureWriter:
    """Write pictures.

    Args:
        suffix: Ending of the files, which chooses the format.
        quality: Of JPEG and WebP, from 1 to 100; None for 95, and for WebP without loss.
        overwrite: Replace files that exist.

    Raises:
        UserError: The ending is that of no format, or the quality does not belong to it.
    """

    suffix: str = ".png"
    quality: int | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.suffix not in WRITTEN_SUFFIXES:
            raise UserError(
                f"suffix={self.suffix} names no format: one of {' '.join(sorted(WRITTEN_SUFFIXES))} is expected"
            )
        if self.quality is not None:
            check_counts(at_most=100, quality=self.quality)
            if self.suffix not in (*_JPEG, ".webp"):
                raise UserError(f"quality={self.quality} with suffix={self.suffix}, which has none: set suffix=.jpg")

    def __call__(self, path: Path, image: Image) -> None:
        """Write a picture (H, W, 1) or (H, W, 3) RGB, uint8; folders are made.

        Raises:
            UserError: The format has no images of this size.
            FileExistsError: The file exists, and ``overwrite`` is off.
            OSError: It cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.suffix not in _JPEG and self.quality is None:
            write_image(path, image, overwrite=self.overwrite)
            return
        with atomic_write(path, overwrite=self.overwrite) as scratch:
            scratch.write_bytes(self._encode(path, image))

    def _encode(self, path: Path, image: Image) -> bytes:
        quality = self.quality or _JPEG_QUALITY
        if self.suffix == ".webp":
            parameters = [cv2.IMWRITE_WEBP_QUALITY, quality]
        else:  # with colours of half the resolution, those of B would reach into A
            parameters = [cv2.IMWRITE_JPEG_QUALITY, quality]
            parameters += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
        pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.shape[2] == 3 else image
        try:
            is_encoded, buffer = cv2.imencode(self.suffix, pixels, parameters)
        except cv2.error:
            is_encoded = False
        if not is_encoded:
            size = f"{image.shape[1]} x {image.shape[0]}"
            raise UserError(f"{path}: an image of {size} pixels in a format of fewer: set suffix=.png")
        return buffer.tobytes()
