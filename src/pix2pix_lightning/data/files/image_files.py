"""Read image files as arrays, and write arrays as image files."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.files.decoding import DamagedPixelsError, decode
from pix2pix_lightning.data.files.image_header import ImageHeader, parse_header
from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.checks import check_absent
from pix2pix_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from pix2pix_lightning.data.files.file_image import FileImage
    from pix2pix_lightning.data.sides import Side

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_MAX_PIXELS, _MAX_SIDE = 2**30, 2**20  # of OpenCV
_MAX_SIDES = {".jpg": 65500, ".jpeg": 65500, ".webp": 16383}  # in pixels, of what is written
_JPEG_IN_TIFF = 7


def read_image(path: Path, *, max_pixels: int | None = None, side: Side | None = None) -> npt.NDArray[np.uint8]:
    """Read an image as a side of a pair takes it.

    Args:
        path: The image file.
        max_pixels: Refuse a file of more pixels than this, before memory is allocated. By default any size is read.
        side: The side. Transparent pixels are laid over its background, and a side of class numbers gets those of
            the file. By default colours over white.

    Returns:
        (H, W, 3) uint8 RGB, of most grayscale files with three equal channels; or (H, W, 1) levels or class numbers.

    Raises:
        UserError: The file is no image, is damaged or too large, or holds something else than 8-bit gray levels,
            palette colours or RGB, with or without alpha; or the side refuses its alpha.
        OSError: The file cannot be read.
    """
    image = open_image(path, max_pixels=max_pixels, has_numbers=side is not None and side.has_class_numbers)
    try:
        return image.to_colours() if side is None else side.read(image)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def open_image(path: Path, *, max_pixels: int | None = None, has_numbers: bool = False) -> FileImage:
    """Read an image with all that its file holds.

    Args:
        path: The image file.
        max_pixels: Refuse a file of more pixels than this, before memory is allocated.
        has_numbers: Whether a side takes class numbers from it, so that a palette's numbers are read.

    Returns:
        The upright image.

    Raises:
        UserError: The file is no image, is damaged or too large, or holds what is not read.
        OSError: The file cannot be read.
    """
    content = path.read_bytes()
    header = parse_header(io.BytesIO(content), path)
    check_header(header, path, max_pixels=max_pixels)
    try:
        return decode(content, header, str(path), has_numbers=has_numbers)
    except DamagedPixelsError as error:
        reason = f": {error}" if str(error) else ""
        raise UserError(f"{path} cannot be decoded as an image, it is damaged{reason}; replace it") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def check_header(header: ImageHeader, path: Path, *, max_pixels: int | None = None) -> None:
    """Check that a file holds what is read: one picture of 8-bit gray levels, palette colours or RGB.

    Args:
        header: The file's header.
        path: The file, for messages.
        max_pixels: Greatest number of pixels.

    Raises:
        UserError: It holds something else, or is too large.
    """
    pixels = header.width * header.height
    if max_pixels is not None and pixels > max_pixels:
        raise UserError(
            f"{path} claims {header.width} x {header.height} pixels, more than max_pixels={max_pixels}: make it "
            "smaller, or raise max_pixels if you trust the file"
        )
    if pixels > _MAX_PIXELS or max(header.width, header.height) > _MAX_SIDE:
        raise UserError(
            f"{path} claims {header.width} x {header.height} pixels: at most {_MAX_PIXELS}, and {_MAX_SIDE} a side, "
            "are read; cut it"
        )
    if header.pages > 1:
        kind = "pages" if header.format == "tiff" else "frames of an animation"
        raise UserError(f"{path} holds {header.pages} {kind}, one picture is expected: save each as a file of its own")
    if header.dtype != "uint8" or (header.format == "tiff" and header.bits not in (1, 2, 4, 8)):
        raise UserError(
            f"{path} holds {_count_channels(header)} of {header.dtype} values ({header.bits} bits), 8-bit images are "
            "expected: convert it to 8 bits first"
        )
    is_rgb_once_decoded = header.directory is not None and header.directory.compression == _JPEG_IN_TIFF
    if header.photometric in ("grayscale", "rgb", "palette") or (header.photometric == "ycbcr" and is_rgb_once_decoded):
        return
    meaning = "bands of unknown meaning" if header.photometric == "bands" else header.photometric
    raise UserError(
        f"{path} holds {_count_channels(header)} ({meaning}); gray levels or RGB, with or without alpha, are expected: "
        "save it as RGB or grayscale"
    )


def _count_channels(header: ImageHeader) -> str:
    return f"{header.channels} channel{'s' if header.channels > 1 else ''}"


def format_reason(error: UserError | OSError) -> str:
    """Return in one line what is wrong with a file."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        fix = ", allow it to this user" if isinstance(error, PermissionError) else ""
        return f"{os.fsdecode(error.filename)} cannot be read: {error.strerror.lower()}{fix}"
    return " ".join(str(error).split())


def write_image(path: Path, image: npt.NDArray[np.uint8], *, overwrite: bool = False) -> None:
    """Write an image in the format of the file's suffix.

    Args:
        path: The file to write.
        image: (H, W, 3) RGB, (H, W, 1) or (H, W), uint8.
        overwrite: Replace the file if it exists.

    Raises:
        FileExistsError: The file exists and ``overwrite`` is off.
        UserError: The suffix is of no known format, or the format has no images of this size.
    """
    suffix = path.suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        raise UserError(f"{path} names no image format: use one of the suffixes {' '.join(sorted(IMAGE_SUFFIXES))}")
    if max(image.shape[:2]) > (most := _MAX_SIDES.get(suffix, _MAX_SIDE)):
        size = f"{image.shape[1]} x {image.shape[0]}"
        raise UserError(f"{path}: an image of {size} pixels in a format of at most {most} a side: use the suffix .png")
    check_absent(path, overwrite=overwrite)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 and image.shape[2] == 3 else image
    if suffix == ".ppm" and (bgr.ndim == 2 or bgr.shape[2] == 1):  # a format of colours alone
        bgr = cv2.cvtColor(bgr, cv2.COLOR_GRAY2BGR)
    encoded, buffer = cv2.imencode(path.suffix, bgr)
    assert encoded, path
    with atomic_write(path, overwrite=overwrite) as scratch:
        scratch.write_bytes(buffer.tobytes())
