"""Read image files as arrays, and write arrays as image files."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import cv2
import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.files.decoding import decode
from pix2pix_lightning.data.files.formats.header import (
    PIXEL_TYPES,
    DamagedHeaderError,
    DamagedPixelsError,
    ImageHeader,
    TruncatedHeaderError,
)
from pix2pix_lightning.data.files.formats.tiff_writing import write_tiff
from pix2pix_lightning.data.files.image_header import find_header, parse_header
from pix2pix_lightning.data.files.reduction import LeastSize, find_reduction
from pix2pix_lightning.data.files.window import Window, parse_window
from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.checks import check_absent
from pix2pix_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from pix2pix_lightning.data.files.file_image import FileImage
    from pix2pix_lightning.data.files.formats.geotiff import Georeference
    from pix2pix_lightning.data.sides import Side

IMAGE_SUFFIXES = frozenset(
    {
        *(".bmp", ".dcm", ".dicom", ".jpeg", ".jpg", ".nii", ".nii.gz", ".npy", ".npz", ".pgm", ".png", ".ppm"),
        *(".tif", ".tiff", ".webp"),
    }
)
_DEEP, _ANY = ("uint8", "uint16"), ("uint8", "uint16", "int16", "float16", "float32")
_WRITTEN: dict[str, tuple[tuple[str, ...], tuple[int, ...] | None]] = {  # types and numbers of channels, None for any
    ".png": (_DEEP, (1, 3)),
    ".tif": (_ANY, None),
    ".tiff": (_ANY, None),
    ".npy": (_ANY, None),
    ".ppm": (_DEEP, (1, 3)),
    ".pgm": (_DEEP, (1,)),
    ".jpg": (("uint8",), (1, 3)),
    ".jpeg": (("uint8",), (1, 3)),
    ".webp": (("uint8",), (1, 3)),
    ".bmp": (("uint8",), (1, 3)),
}
WRITTEN_SUFFIXES = frozenset(_WRITTEN)
_MAX_PIXELS, _MAX_SIDE = 2**30, 2**20  # of OpenCV
_MAX_SIDES = {".jpg": 65500, ".jpeg": 65500, ".webp": 16383, ".npy": 2**31, ".tif": 2**31, ".tiff": 2**31}  # pixels
_JPEG_IN_TIFF = 7
TIFF_SUFFIXES = (".tif", ".tiff")
_PICTURE_STARTS = (b"\xff\xd8", b"\x89P", b"RI", b"BM", b"PK", *(b"P%d" % number for number in range(1, 8)))
_SMALL = 2**22  # bytes
FORMATS_IN_PARTS = ("tiff", "npy", "nifti")
"""Formats of which a window is read without the rest of the file."""
_BYTES_ALONE = ("bmp", "jpeg")
_PAGES = {"tiff": "pages", "nifti": "slices", "dicom": "frames"}


def get_suffix(name: str) -> str:
    """Return the suffix of a file's name in lower case, of ``x.nii.gz`` both parts."""
    lower = name.lower()
    return ".nii.gz" if lower.endswith(".nii.gz") and len(lower) > 7 else Path(lower).suffix


def read_image(path: Path, *, max_pixels: int | None = None, side: Side | None = None) -> npt.NDArray[np.uint8]:
    """Read an image as a side of a pair takes it.

    Args:
        path: The image file.
        max_pixels: Refuse a file of more pixels than this, before memory is allocated. By default any size is read.
        side: The side. Transparent pixels are laid over its background, and a side of class numbers gets those of
            the file. By default colours over white.

    Returns:
        (H, W, 3) uint8 RGB; for a side also (H, W, 1) gray levels or class numbers.

    Raises:
        UserError: The file is no image, is damaged or too large, or holds something else than 8-bit gray levels,
            palette colours or RGB, with or without alpha; or the side refuses its alpha.
        OSError: The file cannot be read.
    """
    image = open_image(path, max_pixels=max_pixels, has_numbers=side is not None and side.has_class_numbers)
    try:
        if side is not None:
            return side.read(image)
        colours = image.to_colours()
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return np.repeat(colours, 3, 2) if colours.shape[2] == 1 else colours


def open_image(
    path: Path,
    *,
    max_pixels: int | None = None,
    has_numbers: bool = False,
    window: Sequence[int] | None = None,
    least: LeastSize | None = None,
) -> FileImage:
    """Read an image with all that its file holds.

    Args:
        path: The image file.
        max_pixels: Refuse a file of more pixels than this, before memory is allocated. With a window, its pixels count
            where the format is read in parts.
        has_numbers: Whether a side takes class numbers from it, so that a palette's numbers are read.
        window: First row, first column, rows and columns of the part of the upright image that is wanted. Of TIFF,
            ``.npy`` and uncompressed NIfTI files nothing else is read, of others all is decoded. By default all.
        least: A JPEG may be decoded to a half, a quarter or an eighth, in less time, while it is at least of this size.

    Returns:
        The upright image.

    Raises:
        UserError: The file is no image, is damaged or too large, or holds what is not read; or the window does not lie
            in it.
        OSError: The file cannot be read.
    """
    rules: Any = {"max_pixels": max_pixels, "has_numbers": has_numbers, "window": window, "least": least}
    with path.open("rb") as file:
        header = None if window is None else find_header(file, path)
        if header is not None and header.format in FORMATS_IN_PARTS:
            return _open(file, path, header, **rules)
        file.seek(0)
        is_picture = file.read(2) in _PICTURE_STARTS
        file.seek(0)
        # many small parts are read faster from memory
        is_small = window is None and os.fstat(file.fileno()).st_size < _SMALL
        source = io.BytesIO(file.read()) if is_picture or is_small else file
        return _open(source, path, header or parse_header(source, path), **rules)


def decode_image(
    content: bytes,
    name: Path,
    *,
    max_pixels: int | None = None,
    has_numbers: bool = False,
    window: Sequence[int] | None = None,
    least: LeastSize | None = None,
) -> FileImage:
    """Decode an image file that is in memory, such as one of an archive.

    Args:
        content: The file.
        name: Its name, for messages.
        max_pixels: As for ``open_image``.
        has_numbers: As for ``open_image``.
        window: As for ``open_image``.
        least: As for ``open_image``.

    Returns:
        The upright image.

    Raises:
        UserError: As ``open_image`` does.
    """
    source = io.BytesIO(content)
    header = parse_header(source, name)
    return _open(source, name, header, max_pixels=max_pixels, has_numbers=has_numbers, window=window, least=least)


def _open(
    file: BinaryIO,
    path: Path,
    header: ImageHeader,
    *,
    max_pixels: int | None,
    has_numbers: bool,
    window: Sequence[int] | None,
    least: LeastSize | None,
) -> FileImage:
    try:
        part = None if window is None else parse_window(window, *header.upright_size)
        check_header(header, path, max_pixels=max_pixels, window=part)
        reduction = 1 if part is not None else find_reduction(header, least)
        return decode(file, header, str(path), has_numbers=has_numbers, window=part, reduction=reduction)
    except (DamagedPixelsError, DamagedHeaderError, TruncatedHeaderError) as error:
        reason = f": {error}" if str(error) else ""
        raise UserError(f"{path} cannot be decoded as an image, it is damaged{reason}; replace it") from None
    except UserError as error:
        raise UserError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from None


def check_header(
    header: ImageHeader, path: Path, *, max_pixels: int | None = None, window: Window | None = None
) -> None:
    """Check that a file holds what is read: one picture of gray levels, colours or bands, of a type that sides take.

    Args:
        header: The file's header.
        path: The file, for messages.
        max_pixels: Greatest number of pixels.
        window: The part that is read, where it is not all.

    Raises:
        UserError: It holds something else, or is too large.
    """
    is_part = window is not None and header.format in FORMATS_IN_PARTS
    pixels = window.width * window.height if window and is_part else header.width * header.height
    if max_pixels is not None and pixels > max_pixels:
        raise UserError(
            f"{path} claims {header.width} x {header.height} pixels, more than max_pixels={max_pixels}: make it "
            "smaller, or raise max_pixels if you trust the file"
        )
    if not is_part and (pixels > _MAX_PIXELS or max(header.width, header.height) > _MAX_SIDE):
        raise UserError(
            f"{path} claims {header.width} x {header.height} pixels: at most {_MAX_PIXELS}, and {_MAX_SIDE} a side, "
            "are read; cut it"
        )
    if header.pages > 1:
        kind = _PAGES.get(header.format, "frames of an animation")
        raise UserError(f"{path} holds {header.pages} {kind}, one picture is expected: save each as a file of its own")
    if header.dtype not in PIXEL_TYPES or (header.dtype != "uint8" and header.format in _BYTES_ALONE):
        raise UserError(
            f"{path} holds {_count_channels(header)} of {header.dtype} values ({header.bits} bits): whole numbers or "
            "fractions of one type are expected, and in BMP and JPEG files 8 bits; convert it to uint16 or "
            "float32, as a TIFF"
        )
    is_rgb_once_decoded = header.directory is not None and header.directory.compression == _JPEG_IN_TIFF
    if header.is_colour or header.photometric == "bands" or (header.photometric == "ycbcr" and is_rgb_once_decoded):
        return
    raise UserError(
        f"{path} holds {_count_channels(header)} ({header.photometric}); gray levels, RGB or bands, with or without "
        "alpha, are expected: save it as RGB or grayscale"
    )


def _count_channels(header: ImageHeader) -> str:
    return f"{header.channels} channel{'s' if header.channels > 1 else ''}"


def format_reason(error: UserError | OSError) -> str:
    """Return in one line what is wrong with a file."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        fix = ", allow it to this user" if isinstance(error, PermissionError) else ""
        return f"{os.fsdecode(error.filename)} cannot be read: {error.strerror.lower()}{fix}"
    return " ".join(str(error).split())


def choose_suffix(dtype: str, channels: int, *, needs_tags: bool = False) -> str:
    """Choose the format of an output.

    Args:
        dtype: NumPy's name of the values' type.
        channels: Number of channels.
        needs_tags: Whether it says more than its pixels, such as where they lie on the ground.

    Returns:
        ``.png`` for 8 or 16 bits of gray levels or RGB, else ``.tif``.
    """
    dtypes, counts = _WRITTEN[".png"]
    is_png = dtype in dtypes and channels in (counts or ()) and not needs_tags
    return ".png" if is_png else ".tif"


def write_image(
    path: Path,
    image: npt.NDArray[Any],
    *,
    georeference: Georeference | None = None,
    nodata: float | None = None,
    scale: float = 1.0,
    offset: float = 0.0,
    overwrite: bool = False,
) -> None:
    """Write an image in the format of the file's suffix, with its own type and channels.

    Args:
        path: The file to write.
        image: (H, W) or (H, W, C), uint8, uint16, int16, float16 or float32; three channels are RGB.
        georeference: Where the pixels lie on the ground, for a TIFF; in another size it is scaled.
        nodata: Value of pixels without a value, for a TIFF.
        scale: Factor from a stored value to a physical one, for a TIFF.
        offset: Physical value of a stored 0, for a TIFF.
        overwrite: Replace the file if it exists.

    Raises:
        FileExistsError: The file exists and ``overwrite`` is off.
        UserError: The suffix is of no known format, or the format does not hold such an image.
    """
    suffix = get_suffix(path.name)
    if suffix not in _WRITTEN:
        raise UserError(f"{path} names no image format: use one of the suffixes {' '.join(sorted(_WRITTEN))}")
    height, width, channels = (*image.shape, 1)[:3]
    if max(height, width) > (most := _MAX_SIDES.get(suffix, _MAX_SIDE)):
        size = f"{width} x {height}"
        raise UserError(f"{path}: an image of {size} pixels in a format of at most {most} a side: use the suffix .png")
    check_writable(path, image.dtype.name, channels)
    has_tags = georeference is not None or (nodata, scale, offset) != (None, 1, 0)
    if has_tags and suffix not in TIFF_SUFFIXES:
        raise UserError(f"{path}: a georeference, nodata, scale or offset is kept in a TIFF alone: use the suffix .tif")
    check_absent(path, overwrite=overwrite)
    with atomic_write(path, overwrite=overwrite) as scratch:
        if suffix in TIFF_SUFFIXES:
            write_tiff(scratch, image, georeference=georeference, nodata=nodata, scale=scale, offset=offset)
        elif suffix == ".npy":
            with scratch.open("wb") as file:
                np.save(file, image, allow_pickle=False)
        else:
            scratch.write_bytes(_encode_picture(image, suffix))


def check_writable(path: Path, dtype: str, channels: int) -> None:
    """Check that a file's format holds a type and a number of channels.

    Args:
        path: The file to write, whose suffix is of a format that is written.
        dtype: NumPy's name of the values' type.
        channels: Number of channels.

    Raises:
        UserError: It does not.
    """

    def is_held(suffix: str) -> bool:
        dtypes, counts = _WRITTEN[suffix]
        return dtype in dtypes and (counts is None or channels in counts)

    if not is_held(get_suffix(path.name)):
        raise UserError(
            f"{path}: the format holds no {channels} channel{'s' if channels > 1 else ''} of {dtype} values: use one "
            f"of the suffixes {' '.join(filter(is_held, _WRITTEN))}"
        )


def _encode_picture(image: npt.NDArray[Any], suffix: str) -> bytes:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 and image.shape[2] == 3 else image
    if suffix == ".ppm" and (bgr.ndim == 2 or bgr.shape[2] == 1):  # a format of colours alone
        bgr = cv2.cvtColor(bgr, cv2.COLOR_GRAY2BGR)
    encoded, buffer = cv2.imencode(suffix, bgr)
    assert encoded, suffix
    return buffer.tobytes()
