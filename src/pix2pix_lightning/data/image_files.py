"""Read image files as arrays, and write arrays as image files."""

from __future__ import annotations

import io
import struct
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, PpmImagePlugin, TiffImagePlugin, WebPImagePlugin

from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.checks import check_absent
from pix2pix_lightning.utils.errors import UserError

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})

# OpenCV 5 moved the function, and 4 does not have the new place
_opencv_logging: Any = getattr(cv2.utils, "logging", cv2)

_HEADER_PARSERS = (
    JpegImagePlugin.JpegImageFile,
    PngImagePlugin.PngImageFile,
    WebPImagePlugin.WebPImageFile,
    TiffImagePlugin.TiffImageFile,
    BmpImagePlugin.BmpImageFile,
    PpmImagePlugin.PpmImageFile,
)
_PARSER_ERRORS = (SyntaxError, OSError, ValueError, TypeError, LookupError, struct.error)
"""Errors that the parsers raise for a file that is damaged or of another kind."""


def list_images(folder: Path) -> list[Path]:
    """Return the image files directly in ``folder``, sorted by name, without hidden files."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def read_image(path: Path, *, max_pixels: int | None = None) -> npt.NDArray[np.uint8]:
    """Read an 8-bit image as RGB; grayscale files get three equal channels.

    Args:
        path: The image file.
        max_pixels: Refuse a file whose header has more pixels than this, before memory is allocated. By default any
            size is read.

    Returns:
        (H, W, 3) uint8.

    Raises:
        UserError: The file is no image, is truncated, is too large, or has more than 8 bits a channel.
        OSError: The file cannot be read.
    """
    content = path.read_bytes()
    if _is_truncated_jpeg(content):
        raise UserError(f"{path} is a truncated JPEG: copy or download it again")
    if max_pixels is not None:
        width, height = _read_header_size(content)
        if not width * height:
            raise UserError(f"{path} cannot be decoded as an image: it is damaged or of another kind; replace it")
        if width * height > max_pixels:
            raise UserError(
                f"{path} claims {width} x {height} pixels, more than max_pixels={max_pixels}: make it smaller, or "
                "raise max_pixels if you trust the file"
            )
    mode = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR_RGB
    log_level = _opencv_logging.setLogLevel(0)  # a damaged file gets our message alone
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), mode) if content else None
    except cv2.error:
        image = None
    finally:
        _opencv_logging.setLogLevel(log_level)
    if image is None:
        raise UserError(f"{path} cannot be decoded as an image: it is damaged or of another kind; replace it")
    if image.dtype != np.uint8:
        raise UserError(f"{path} holds {image.dtype} values, 8-bit images are expected: convert it first")
    rgb: npt.NDArray[np.uint8] = image.astype(np.uint8, copy=False)
    return rgb


def _read_header_size(content: bytes) -> tuple[int, int]:
    """Return width and height in pixels from the file's header; zeros for an unknown format."""
    for parser in _HEADER_PARSERS:
        # Image.open would apply the limit of the whole process to large files
        with warnings.catch_warnings(action="ignore"), suppress(*_PARSER_ERRORS):
            width, height = parser(io.BytesIO(content)).size
            return int(width), int(height)
    return 0, 0


def _is_truncated_jpeg(content: bytes) -> bool:
    """Return whether a JPEG has no end marker; OpenCV may fill the missing rest with gray without an error.

    The marker counts only after the headers, which may hold a thumbnail with an end marker of its own. It may stand
    anywhere there, since phones write more data after it.
    """
    if not content.startswith(b"\xff\xd8\xff"):
        return False
    start = 2
    while content[start : start + 1] == b"\xff" and content[start + 1 : start + 2] != b"\xda":
        is_padding = content[start + 1 : start + 2] == b"\xff"
        start += 1 if is_padding else 2 + int.from_bytes(content[start + 2 : start + 4], "big")
    return content.rfind(b"\xff\xd9", start) < 0


def write_image(path: Path, image: npt.NDArray[np.uint8], *, overwrite: bool = False) -> None:
    """Write an image in the format of the file's suffix.

    Args:
        path: The file to write.
        image: (H, W, 3) RGB, (H, W, 1) or (H, W), uint8.
        overwrite: Replace the file if it exists.

    Raises:
        FileExistsError: The file exists and ``overwrite`` is off.
        UserError: The suffix is of no known format.
    """
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise UserError(f"{path} names no image format: use one of the suffixes {' '.join(sorted(IMAGE_SUFFIXES))}")
    check_absent(path, overwrite=overwrite)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 and image.shape[2] == 3 else image
    if path.suffix.lower() == ".ppm" and (bgr.ndim == 2 or bgr.shape[2] == 1):  # a format of colours alone
        bgr = cv2.cvtColor(bgr, cv2.COLOR_GRAY2BGR)
    encoded, buffer = cv2.imencode(path.suffix, bgr)
    assert encoded, path
    with atomic_write(path) as scratch:
        scratch.write_bytes(buffer.tobytes())
