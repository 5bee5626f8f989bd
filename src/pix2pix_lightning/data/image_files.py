"""Image files to arrays and back."""

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
from pix2pix_lightning.utils.errors import UserError

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})

_HEADS = (
    JpegImagePlugin.JpegImageFile,
    PngImagePlugin.PngImageFile,
    WebPImagePlugin.WebPImageFile,
    TiffImagePlugin.TiffImageFile,
    BmpImagePlugin.BmpImageFile,
    PpmImagePlugin.PpmImageFile,
)
# OpenCV 5 moved the function, and 4 does not have the new place.
_opencv_logging: Any = getattr(cv2.utils, "logging", cv2)

_NO_HEAD = (SyntaxError, OSError, ValueError, TypeError, LookupError, struct.error)
"""What these raise of a file that is of another kind, or damaged."""


def list_images(folder: Path) -> list[Path]:
    """The image files directly in ``folder``, sorted by name; hidden files are passed over."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def read_image(path: Path, *, max_pixels: int | None = None) -> npt.NDArray[np.uint8]:
    """Read an 8-bit image as (H, W, 3) RGB uint8; grey files have three equal channels.

    Args:
        path: A file.
        max_pixels: A file that claims more is refused before anything is made room for.

    Raises:
        ValueError: The file is no image, is cut short, is too large, or holds more than 8 bits a channel.
        OSError: The file cannot be read.
    """
    content = path.read_bytes()
    if _is_truncated_jpeg(content):
        raise UserError(f"{path} is a truncated JPEG: copy or download it again")
    if max_pixels is not None:
        width, height = _claimed_size(content)
        if not width * height:
            raise UserError(f"{path} cannot be decoded as an image: it is damaged or of another kind; replace it")
        if width * height > max_pixels:
            raise UserError(
                f"{path} claims {width} x {height} pixels, more than max_pixels={max_pixels}: reduce it, or raise "
                "max_pixels where you know the file"
            )
    mode = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR_RGB
    log_level = _opencv_logging.setLogLevel(0)  # a damaged file gets one line, ours
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


def _claimed_size(content: bytes) -> tuple[int, int]:
    """Width and height as the file's head has them; zeros where it is none of the formats that are read."""
    for plugin in _HEADS:
        # not Image.open, which warns of large files and refuses some, by a limit that is the process's
        with warnings.catch_warnings(action="ignore"), suppress(*_NO_HEAD):
            width, height = plugin(io.BytesIO(content)).size
            return int(width), int(height)
    return 0, 0


def _is_truncated_jpeg(content: bytes) -> bool:
    """OpenCV can fill the missing rest of a JPEG with grey and say nothing, so the end mark is looked for.

    It is looked for after the headers, which may hold a thumbnail with an end mark of its own, and anywhere
    there, since phones write more behind it; from the end, where it mostly is.
    """
    if not content.startswith(b"\xff\xd8\xff"):
        return False
    start = 2
    while content[start : start + 1] == b"\xff" and content[start + 1 : start + 2] != b"\xda":
        is_filling = content[start + 1 : start + 2] == b"\xff"
        start += 1 if is_filling else 2 + int.from_bytes(content[start + 2 : start + 4], "big")
    return content.rfind(b"\xff\xd9", start) < 0


def write_image(path: Path, image: npt.NDArray[np.uint8], *, overwrite: bool = False) -> None:
    """Write (H, W, 3) RGB, (H, W, 1) or (H, W) uint8 in the format that the file's name ends with.

    Raises:
        FileExistsError: The file exists and ``overwrite`` is off.
        ValueError: The name ends with no known format.
    """
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise UserError(f"{path} names no image format: end it with one of {' '.join(sorted(IMAGE_SUFFIXES))}")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists: choose another folder, or say overwrite=true")
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 and image.shape[2] == 3 else image
    encoded, buffer = cv2.imencode(path.suffix, bgr)
    assert encoded, path
    with atomic_write(path) as scratch:
        scratch.write_bytes(buffer.tobytes())
