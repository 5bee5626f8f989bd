"""Decode the pixels of TIFF files, in bounded memory."""

from __future__ import annotations

import io
import logging
import lzma
import warnings
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import TiffImagePlugin

from pix2pix_lightning.data.files.tiff_header import TiffDirectory
from pix2pix_lightning.utils.errors import UserError

# what it logs of a damaged file would be printed next to our message where a program has no logging
logging.getLogger("tifffile").addHandler(logging.NullHandler())

Array = npt.NDArray[Any]

_NONE, _DEFLATE, _LZMA = 1, (8, 32946), 34925
_SMALL = 2**26  # bytes that a strip or tile may have without being looked into
_DEFLATE_RATIO = 1032  # a byte of Deflate becomes at most so many
_MAX_TILE = 2**24  # pixels of a tile that may be larger than its image
_NAMES = {2: "CCITT", 3: "CCITT fax", 4: "CCITT fax", 5: "LZW", 6: "old JPEG", 7: "JPEG", 32773: "PackBits"}
_NAMES |= {34712: "JPEG 2000", 34887: "LERC", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL"}
_PILLOW_MODES = {1: ("L", "P", "1"), 2: ("LA",), 3: ("RGB",), 4: ("RGBA",)}


class DamagedPixelsError(Exception):
    """The pixels of a file contradict its header, or end early."""


def decode_tiff(content: bytes, page: TiffDirectory) -> tuple[Array, Array | None]:
    """Decode the first page of a TIFF, and its palette.

    Memory is bounded by the page's size: a strip or tile that would unpack to more than its place is refused before.

    Args:
        content: The file.
        page: The first page's fields.

    Returns:
        (H, W, samples), turned upright, else as stored: of the type that the page names, not inverted, alpha not
        applied; and (N, 3) uint8, the colours of a palette, or None.

    Raises:
        UserError: The compression is not read here.
        DamagedPixelsError: The pixels contradict the header, or end early.
    """
    is_plain = page.compression in (_NONE, *_DEFLATE, _LZMA)
    if is_plain and page.bits not in (2, 4):  # tifffile unpacks those by another package
        return _decode_by_tifffile(content, page)
    is_simple = page.dtype == "uint8" and page.bits in (1, 2, 4, 8) and not page.is_planar and not page.is_premultiplied
    if is_simple and page.photometric in ("grayscale", "rgb", "palette", "ycbcr"):
        return _decode_by_pillow(content, page)
    name = _NAMES.get(page.compression, f"number {page.compression}")
    raise UserError(
        f"the TIFF compression {name} is read for 8-bit gray levels and RGB alone, and this file has {page.samples} "
        f"samples of {page.dtype} ({page.photometric}{', in planes' if page.is_planar else ''}"
        f"{', premultiplied' if page.is_premultiplied else ''}): save it without compression or with Deflate"
    )


def _decode_by_tifffile(content: bytes, page: TiffDirectory) -> tuple[Array, Array | None]:
    from tifffile import TiffFile, TiffFileError

    if page.tile and page.tile[0] * page.tile[1] > max(4 * page.width * page.height, _MAX_TILE):
        raise DamagedPixelsError(f"tiles of {page.tile[0]} x {page.tile[1]} pixels")
    try:
        with TiffFile(io.BytesIO(content)) as file:
            first: Any = file.pages.first
            _check_parts(content, page, first)
            array: Array = first.asarray(maxworkers=1)
            palette = None if page.photometric != "palette" else _convert_palette(first.colormap)
    except (TiffFileError, ValueError, TypeError, IndexError, KeyError, ZeroDivisionError, OverflowError) as error:
        raise DamagedPixelsError(str(error)) from None
    except (zlib.error, lzma.LZMAError, AssertionError, RuntimeError, AttributeError) as error:
        raise DamagedPixelsError(str(error)) from None
    if page.is_planar:
        array = np.moveaxis(array, 0, -1)
    array = _check_shape(array.astype(np.uint8) if array.dtype == bool else array, page.width, page.height, page)
    return turn(array, page.orientation), palette


def _check_parts(content: bytes, page: TiffDirectory, first: Any) -> None:
    """Check that each strip or tile is in the file, and unpacks to no more than its place."""
    offsets, counts = first.dataoffsets, first.databytecounts
    width, height = page.tile or (page.width, min(int(first.rowsperstrip) or page.height, page.height))
    expected = -(-page.width // width) * -(-page.height // height) * (page.samples if page.is_planar else 1)
    if len(offsets) != expected or len(counts) != expected:
        raise DamagedPixelsError(f"{len(offsets)} strips or tiles, {expected} are expected")
    if not all(counts):
        raise DamagedPixelsError(f"{sum(not count for count in counts)} of its strips or tiles have no pixels")
    if any(offset + count > len(content) for offset, count in zip(offsets, counts, strict=True)):
        raise DamagedPixelsError("its pixels end early")
    limit = height * -(-width * page.bits * (1 if page.is_planar else page.samples) // 8)
    if page.compression in _DEFLATE or page.compression == _LZMA:
        _check_unpacked(content, page.compression, limit, offsets, counts)


def _check_unpacked(content: bytes, kind: int, limit: int, offsets: Sequence[int], counts: Sequence[int]) -> None:
    for offset, count in zip(offsets, counts, strict=True):
        if kind != _LZMA and count * _DEFLATE_RATIO <= max(limit, _SMALL):
            continue
        unpacker: Any = lzma.LZMADecompressor(memlimit=_SMALL) if kind == _LZMA else zlib.decompressobj()
        left, size = content[offset : offset + count], 0
        while size <= limit and not unpacker.eof:
            part = unpacker.decompress(left, _SMALL // 16)
            left = b"" if kind == _LZMA else unpacker.unconsumed_tail
            size += len(part)
            if not part:
                break
        if size > limit:
            raise DamagedPixelsError(f"a strip or tile unpacks to more than the {limit} bytes of its place")


def _convert_palette(colours: Array) -> Array:
    """Convert (3, N) colours of 16 bits; some programs write 8 bits there."""
    return (colours.T if colours.max(initial=0) < 256 else colours.T >> 8).astype(np.uint8)


def _decode_by_pillow(content: bytes, page: TiffDirectory) -> tuple[Array, Array | None]:
    with warnings.catch_warnings(action="ignore"):
        try:
            # Image.open would apply the limit of the whole process to large files
            with TiffImagePlugin.TiffImageFile(io.BytesIO(content)) as image:
                mode, size = image.mode, sorted(image.size)
                if mode not in _PILLOW_MODES.get(page.samples, ()) or size != sorted((page.width, page.height)):
                    raise DamagedPixelsError(f"pixels of mode {mode} and size {image.size}")
                image.load()  # this turns it
                array = np.asarray(image)
                palette = np.asarray(image.getpalette("RGB"), np.uint8).reshape(-1, 3) if mode == "P" else None
        except (OSError, SyntaxError, ValueError, TypeError, LookupError, RuntimeError) as error:
            raise DamagedPixelsError(str(error)) from None
    array = array.astype(np.uint8, copy=False)
    if mode == "L":
        array = array // (255 // (2**page.bits - 1))  # Pillow has multiplied the levels
    if page.is_inverted:  # and inverted them
        array = 2**page.bits - 1 - array
    width, height = (page.height, page.width) if page.orientation >= 5 else (page.width, page.height)
    return _check_shape(array, width, height, page), palette


def turn(image: Array, orientation: int) -> Array:
    """Turn an image upright.

    Args:
        image: (H, W) or (H, W, C) as stored.
        orientation: EXIF's number, 1 to 8.

    Returns:
        The image with its axes exchanged from 5 on, and mirrored.
    """
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    rows = slice(None, None, -1) if orientation in (3, 4, 7, 8) else slice(None)
    columns = slice(None, None, -1) if orientation in (2, 3, 6, 7) else slice(None)
    return np.ascontiguousarray(image[rows, columns])


def _check_shape(array: Array, width: int, height: int, page: TiffDirectory) -> Array:
    array = array.reshape(*array.shape[:2], -1) if array.ndim >= 2 else array
    if array.shape != (height, width, page.samples):
        raise DamagedPixelsError(f"pixels of shape {array.shape}")
    return array
