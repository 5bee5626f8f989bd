"""Decode the bytes of image files without changing or leaving out what they hold."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, BinaryIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import PngImagePlugin, PpmImagePlugin

from pix2pix_lightning.data.files.file_image import FileImage
from pix2pix_lightning.data.files.formats.arrays import convert_type, decode_npy, decode_npz
from pix2pix_lightning.data.files.formats.bmp import decode_bmp
from pix2pix_lightning.data.files.formats.dicom import decode_dicom
from pix2pix_lightning.data.files.formats.header import DamagedPixelsError, ImageHeader
from pix2pix_lightning.data.files.formats.nifti import decode_nifti
from pix2pix_lightning.data.files.formats.tiff import decode_tiff
from pix2pix_lightning.data.files.window import Window, find_stored_window, turn
from pix2pix_lightning.utils.memory import is_out_of_memory

__all__ = ["DamagedPixelsError", "decode"]

Bytes = npt.NDArray[np.uint8]
Pixels = npt.NDArray[Any]
Parts = tuple[Pixels, Pixels | None, Bytes | None]  # pixels, alpha, palette

# OpenCV 5 moved the function, and 4 does not have the new place
_opencv_logging: Any = getattr(cv2.utils, "logging", cv2)

# they say how much alone: with the mode RGB beside them colours stay
_REDUCED = {2: cv2.IMREAD_REDUCED_GRAYSCALE_2, 4: cv2.IMREAD_REDUCED_GRAYSCALE_4, 8: cv2.IMREAD_REDUCED_GRAYSCALE_8}
_PILLOW_READERS = {"png": PngImagePlugin.PngImageFile, "ppm": PpmImagePlugin.PpmImageFile}
_PILLOW_ERRORS = (SyntaxError, OSError, ValueError, TypeError, LookupError, struct.error, OverflowError)
_COLOURS = {"rgb": 3, "ycbcr": 3}


_ARRAY_DECODERS: dict[str, Callable[[BinaryIO, ImageHeader, Window], Pixels]] = {
    "npy": decode_npy,
    "npz": decode_npz,
    "nifti": decode_nifti,
    "dicom": decode_dicom,
}


def decode(
    file: BinaryIO,
    header: ImageHeader,
    name: str,
    *,
    has_numbers: bool = False,
    window: Window | None = None,
    reduction: int = 1,
) -> FileImage:
    """Decode an image file.

    Args:
        file: The file.
        header: Its header, which ``check_header`` has passed.
        name: The file's name, for messages.
        has_numbers: Whether a palette's numbers are wanted, and not its colours alone.
        window: The part of the upright image that is wanted; by default all.
        reduction: Factor by which a JPEG is decoded smaller: 1, 2, 4 or 8. It divides both sides.

    Returns:
        The upright image, or the window of it.

    Raises:
        DamagedPixelsError: The pixels cannot be decoded, or contradict the header.
        UserError: The compression of a file is not read, or its values do not fit into a type that is.
    """
    width, height = header.upright_size
    whole = Window(0, 0, height // reduction, width // reduction)
    part = whole if window is None else window
    if header.directory is not None:
        stored = find_stored_window(part, header.orientation, width, height)
        pixels, alpha, palette = _decode_tiff(file, header, stored)
        read = part
    elif header.format in _ARRAY_DECODERS:
        pixels, alpha, palette = _ARRAY_DECODERS[header.format](file, header, part), None, None
        read = part
    else:
        file.seek(0)
        pixels, alpha, palette = _decode_picture(file.read(), header, has_numbers=has_numbers, reduction=reduction)
        read = whole
    # by the header, whose EXIF data OpenCV and Pillow read in other ways
    pixels, alpha = turn(pixels, header.orientation), None if alpha is None else turn(alpha, header.orientation)
    if pixels.shape[:2] != (read.height, read.width):
        raise DamagedPixelsError(f"pixels of shape {pixels.shape} and {pixels.dtype}, which its header does not claim")
    pixels = convert_type(pixels)
    if pixels.dtype != header.pixel_dtype:
        raise DamagedPixelsError(f"pixels of {pixels.dtype}, and its header claims {header.pixel_dtype}")
    top = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    georeference = None if header.directory is None or header.orientation > 1 else header.directory.georeference
    image = FileImage(
        pixels=pixels,
        alpha=None if alpha is None or alpha.min(initial=top) == top else alpha,
        max_level=255 if palette is not None else header.max_level,
        palette=palette,
        is_premultiplied=header.is_premultiplied,
        name=name,
        nodata=_invert(header.nodata, header) if header.is_inverted and header.directory else header.nodata,
        scale=header.scale,
        offset=header.offset,
        georeference=None if georeference is None else georeference.cut(*read),
        is_colour=header.is_colour,
    )
    return image if read == part else image.cut(part)


def _decode_picture(content: bytes, header: ImageHeader, *, has_numbers: bool, reduction: int) -> Parts:
    """Decode a file that OpenCV, Pillow or this package unpacks as a whole."""
    if header.format == "jpeg" and _is_truncated_jpeg(content):
        raise DamagedPixelsError("a truncated JPEG")
    if header.format == "png":
        _check_chunks(content)
    is_palette = header.photometric == "palette"
    if header.format == "bmp":
        return decode_bmp(content)
    # OpenCV returns no numbers of a palette, and scales levels in some files alone
    if (has_numbers and is_palette) or (header.format == "ppm" and 1 < header.max_level < 255):
        return _decode_by_pillow(content, header)
    if header.has_alpha:
        return *_decode_with_alpha(content, header), None
    mode = cv2.IMREAD_GRAYSCALE if header.photometric == "grayscale" else cv2.IMREAD_COLOR_RGB
    scale = cv2.IMREAD_ANYDEPTH if reduction == 1 else _REDUCED[reduction]
    pixels = _decode_by_opencv(content, mode | scale | cv2.IMREAD_IGNORE_ORIENTATION)
    return pixels.reshape(*pixels.shape[:2], -1), None, None


def _decode_by_opencv(content: bytes, mode: int) -> Pixels:
    try:
        with quiet_opencv():  # a damaged file gets our message alone
            image: Any = cv2.imdecode(np.frombuffer(content, np.uint8), mode)
    except cv2.error as error:
        if is_out_of_memory(error):
            raise
        image = None
    if image is None:
        raise DamagedPixelsError
    pixels: Pixels = image
    return pixels


_quiet_lock = Lock()
_quiet = {"threads": 0, "level": 0}


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Turn the log of OpenCV off, which belongs to the process: the last of several threads restores it."""
    with _quiet_lock:
        if _quiet["threads"] == 0:
            _quiet["level"] = _opencv_logging.setLogLevel(0)
        _quiet["threads"] += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet["threads"] -= 1
            if _quiet["threads"] == 0:
                _opencv_logging.setLogLevel(_quiet["level"])


def _decode_with_alpha(content: bytes, header: ImageHeader) -> tuple[Pixels, Pixels | None]:
    """Decode colours and alpha, as they are stored."""
    is_gray = header.photometric == "grayscale"
    pixels = _decode_by_opencv(content, cv2.IMREAD_UNCHANGED)
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        colours = pixels[..., :1] if is_gray else cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB)
        return np.asarray(colours), pixels[..., 3]
    if header.format == "png":
        return _decode_by_pillow(content, header)[:2]
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), None


def _decode_by_pillow(content: bytes, header: ImageHeader) -> Parts:
    """Decode gray levels, RGB or a palette's numbers with alpha and palette, as they are stored."""
    try:
        # Image.open would apply the limit of the whole process to large files
        with _PILLOW_READERS[header.format](io.BytesIO(content)) as image:
            if image.size != (header.width, header.height):
                raise DamagedPixelsError
            image.load()
            key, mode = image.info.get("transparency"), image.mode
            pixels = np.asarray(image).reshape(header.height, header.width, -1).astype(header.dtype, copy=False)
            palette = np.asarray(image.getpalette("RGB"), np.uint8).reshape(-1, 3) if mode == "P" else None
    except _PILLOW_ERRORS as error:
        raise DamagedPixelsError(str(error)) from None
    if header.photometric == "palette":
        alpha = None if key is None else _get_palette_alpha(pixels[..., 0], key)
    else:
        pixels = pixels * np.uint8(255) if mode == "1" else pixels
        alpha = None if key is None else _get_key_alpha(pixels, key, header)
    if palette is not None and pixels.max(initial=0) >= len(palette):
        raise DamagedPixelsError(f"number {pixels.max()} in a palette of {len(palette)} colours")
    return pixels, alpha, palette


def _get_palette_alpha(numbers: Bytes, key: bytes | int) -> Bytes:
    """Return the alpha of each pixel; colours that the file does not list are opaque."""
    alphas = np.full(256, 255, np.uint8)
    if isinstance(key, bytes):
        alphas[: len(key)] = np.frombuffer(key[:256], np.uint8)
    else:
        alphas[key] = 0
    return alphas[numbers]


def _get_key_alpha(pixels: Pixels, key: Any, header: ImageHeader) -> Pixels:
    """Return alpha 0 where a pixel has the transparent colour, and the greatest level elsewhere."""
    top = np.iinfo(pixels.dtype).max
    scaled = np.atleast_1d(np.asarray(key)) * (top // header.max_level)
    is_clear = (pixels == scaled).all(-1)
    return np.where(is_clear, 0, top).astype(pixels.dtype)


def _decode_tiff(file: BinaryIO, header: ImageHeader, window: Window) -> Parts:
    assert header.directory is not None
    stored, palette = decode_tiff(file, header.directory, window)
    if not header.is_colour:
        return stored, None, None
    pixels = np.ascontiguousarray(stored[..., : _COLOURS.get(header.photometric, 1)])
    alpha = stored[..., -1] if header.has_alpha else None
    if palette is not None:
        if pixels.max(initial=0) >= len(palette):
            raise DamagedPixelsError(f"number {pixels.max()} in a palette of {len(palette)} colours")
        return pixels, alpha, palette
    pixels = pixels * np.uint8(255 // header.max_level) if header.bits < 8 else pixels
    levels: Pixels = _invert(pixels, header) if header.is_inverted else pixels
    return levels, alpha, None


def _invert(values: Any, header: ImageHeader) -> Any:
    """Return values of which 0 is black, of those of which 0 is white; signed ones and fractions are as stored."""
    if values is None or not header.dtype.startswith("uint"):
        return values
    return (255 if header.bits <= 8 else header.max_level) - values


def _check_chunks(content: bytes) -> None:
    """Check that each chunk of a PNG is in the file; OpenCV would allocate what a chunk claims."""
    place = 8
    while content[place + 4 : place + 8] != b"IEND":
        place += 12 + int.from_bytes(content[place : place + 4], "big")
        if place >= len(content):
            raise DamagedPixelsError("a truncated PNG")


def _is_truncated_jpeg(content: bytes) -> bool:
    """Return whether a JPEG has no end marker; OpenCV may fill the missing rest with gray without an error.

    The marker counts only after the headers, which may hold a thumbnail with an end marker of its own. It may stand
    anywhere there, since phones write more data after it.
    """
    start = 2
    while content[start : start + 1] == b"\xff" and content[start + 1 : start + 2] != b"\xda":
        is_padding = content[start + 1 : start + 2] == b"\xff"
        start += 1 if is_padding else 2 + int.from_bytes(content[start + 2 : start + 4], "big")
    return content.rfind(b"\xff\xd9", start) < 0
