"""Parse the headers of TIFF files, and decode their pixels, in bounded memory."""

from __future__ import annotations

import io
import logging
import lzma
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import TiffImagePlugin

from pix2pix_lightning.data.files.formats.header import DamagedPixelsError, ImageHeader
from pix2pix_lightning.data.files.formats.mapped import map_array
from pix2pix_lightning.data.files.formats.tiff_header import TiffDirectory, read_directories
from pix2pix_lightning.data.files.window import Window, turn
from pix2pix_lightning.utils.errors import UserError

# what it logs of a damaged file would be printed next to our message where a program has no logging
logging.getLogger("tifffile").addHandler(logging.NullHandler())

Array = npt.NDArray[Any]

_NONE, _DEFLATE, _LZMA, _PACK_BITS = 1, (8, 32946), 34925, 32773
_PLAIN = (_NONE, *_DEFLATE, _LZMA, _PACK_BITS)
_PLAIN_BITS = (1, 8, 16, 32, 64)
_SMALL = 2**26  # bytes that a strip or tile may have without being looked into
_DEFLATE_RATIO = 1032  # a byte of Deflate becomes at most so many
_MAX_TILE = 2**24  # pixels of a tile that may be larger than its image
_NAMES = {
    1: "none",
    8: "Deflate",
    2: "CCITT",
    3: "CCITT fax",
    4: "CCITT fax",
    5: "LZW",
    6: "old JPEG",
    7: "JPEG",
    32773: "PackBits",
}
_NAMES |= {34712: "JPEG 2000", 34887: "LERC", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL"}
_PILLOW_MODES = {1: ("L", "P", "1"), 2: ("LA",), 3: ("RGB",), 4: ("RGBA",)}


def parse_tiff(file: BinaryIO) -> ImageHeader:
    """Parse the header of a TIFF; raise ``ValueError`` where it is damaged."""
    directory, pages = read_directories(file)
    return ImageHeader(
        format="tiff",
        width=directory.width,
        height=directory.height,
        channels=directory.samples,
        dtype=directory.dtype,
        bits=directory.bits,
        max_level=2**directory.bits - 1 if directory.dtype.startswith("uint") else 0,
        photometric=directory.photometric,
        has_alpha=directory.alpha is not None,
        is_premultiplied=directory.is_premultiplied,
        is_inverted=directory.is_inverted,
        pages=pages,
        orientation=directory.orientation,
        nodata=directory.nodata,
        scale=directory.scale,
        offset=directory.offset,
        directory=directory,
        end=directory.end,
    )


def decode_tiff(file: BinaryIO, page: TiffDirectory, window: Window) -> tuple[Array, Array | None]:
    """Decode a window of the first page of a TIFF, and its palette.

    Memory is bounded by the window's size, or by the page's where its strips or tiles have to be unpacked: one that
    would unpack to more than its place is refused before.

    Args:
        file: The file.
        page: The first page's fields.
        window: The part that is read, of the page as it is stored.

    Returns:
        (H, W, samples) as stored: of the type that the page names, not turned, not inverted, alpha not applied; and
        (N, 3) uint8, the colours of a palette, or None.

    Raises:
        UserError: The compression is not read here.
        DamagedPixelsError: The pixels contradict the header, or end early.
    """
    is_simple = page.dtype == "uint8" and page.bits in (1, 2, 4, 8) and not page.is_planar and not page.is_premultiplied
    is_simple = is_simple and page.photometric in ("grayscale", "rgb", "palette", "ycbcr")
    # tifffile unpacks the others by another package
    is_plain = page.compression in _PLAIN and page.bits in _PLAIN_BITS and page.predictor in (1, 2)
    if is_plain and not (is_simple and page.compression == _PACK_BITS):
        return _decode_by_tifffile(file, page, window)
    if is_simple:
        pixels, palette = _decode_by_pillow(file, page)
        return pixels[window.slices], palette
    if find_spec("rasterio") is None:
        name = _NAMES.get(page.compression, f"number {page.compression}")
        if page.compression in _PLAIN:
            name += f" of {page.bits} bits a sample, predictor {page.predictor},"
        raise UserError(
            f"the TIFF compression {name} is read for 8-bit gray levels and RGB alone, and this file has "
            f"{page.samples} samples of {page.dtype} ({page.photometric}{', in planes' if page.is_planar else ''}"
            f"{', premultiplied' if page.is_premultiplied else ''}): install the package rasterio, "
            "pip install 'pix2pix-lightning[geo]', or save the file without compression or with Deflate"
        )
    return _decode_by_rasterio(file, page, window), None


@contextmanager
def _name_damage() -> Iterator[None]:
    """Raise the errors that tifffile has for damaged files as one."""
    from tifffile import TiffFileError

    try:
        yield
    except (TiffFileError, ValueError, TypeError, IndexError, KeyError, ZeroDivisionError, OverflowError) as error:
        raise DamagedPixelsError(str(error)) from None
    except (zlib.error, lzma.LZMAError, AssertionError, RuntimeError, AttributeError) as error:
        raise DamagedPixelsError(str(error)) from None


def _decode_by_tifffile(file: BinaryIO, page: TiffDirectory, window: Window) -> tuple[Array, Array | None]:
    from tifffile import TiffFile

    _check_tile(page)
    file.seek(0)
    with _name_damage(), TiffFile(file) as opened:
        first: Any = opened.pages.first
        _check_parts(file, page, first)
        palette = None if page.photometric != "palette" else _convert_palette(first.colormap)
        is_whole = window == (0, 0, page.height, page.width)
        array = _map_pixels(file, page, first)
        if array is not None:
            array = array[window.slices].astype(page.dtype)
        elif is_whole:
            array = first.asarray(maxworkers=1)
            array = np.moveaxis(array, 0, -1) if page.is_planar else array
            array = _check_shape(array, page.width, page.height, page)
        else:
            array = _decode_segments(file, page, first, window)
    return array.astype(page.dtype, copy=False), palette


def _map_pixels(file: BinaryIO, page: TiffDirectory, first: Any) -> Array | None:
    """Return the pixels as an array over the file, (H, W, samples); None where they do not lie in it one by one."""
    offsets, counts = first.dataoffsets, first.databytecounts
    ends = [offset + count for offset, count in zip(offsets, counts, strict=True)]
    is_one = page.compression == _NONE and page.tile is None and page.bits in (8, 16, 32, 64) and first.fillorder == 1
    size = page.width * page.height * page.samples * page.bits // 8
    if not is_one or ends[:-1] != list(offsets[1:]) or sum(counts) != size:
        return None
    dtype = np.dtype(page.dtype).newbyteorder(first.parent.byteorder)
    if page.is_planar:
        return np.moveaxis(map_array(file, dtype, (page.samples, page.height, page.width), offsets[0]), 0, -1)
    return map_array(file, dtype, (page.height, page.width, page.samples), offsets[0])


def _decode_segments(file: BinaryIO, page: TiffDirectory, first: Any, window: Window) -> Array:
    """Decode the strips or tiles that a window touches."""
    width, height = page.tile or (page.width, min(int(first.rowsperstrip) or page.height, page.height))
    across, down = -(-page.width // width), -(-page.height // height)
    rows = range(window.top // height, (window.top + window.height - 1) // height + 1)
    columns = range(window.left // width, (window.left + window.width - 1) // width + 1)
    pixels = np.empty((window.height, window.width, page.samples), bool if page.bits == 1 else page.dtype)
    for plane in range(page.samples if page.is_planar else 1):
        samples = slice(plane, plane + 1) if page.is_planar else slice(None)
        for row in rows:
            for column in columns:
                index = (plane * down + row) * across + column
                file.seek(first.dataoffsets[index])
                content = file.read(first.databytecounts[index])
                segment, (_, _, top, left, _), (_, rows_in, columns_in, _) = first.decode(content or None, index)
                y, x = max(top, window.top), max(left, window.left)
                y_end = min(top + rows_in, window.top + window.height)
                x_end = min(left + columns_in, window.left + window.width)
                target = pixels[y - window.top : y_end - window.top, x - window.left : x_end - window.left, samples]
                if segment is None:
                    target[:] = page.nodata
                else:
                    target[:] = segment[0, y - top : y_end - top, x - left : x_end - left]
    return pixels


def _check_tile(page: TiffDirectory) -> None:
    if page.tile and page.tile[0] * page.tile[1] > max(4 * page.width * page.height, _MAX_TILE):
        raise DamagedPixelsError(f"tiles of {page.tile[0]} x {page.tile[1]} pixels")


def _check_parts(file: BinaryIO, page: TiffDirectory, first: Any) -> None:
    """Check that each strip or tile is in the file, and unpacks to no more than its place."""
    offsets, counts = first.dataoffsets, first.databytecounts
    width, height = page.tile or (page.width, min(int(first.rowsperstrip) or page.height, page.height))
    expected = -(-page.width // width) * -(-page.height // height) * (page.samples if page.is_planar else 1)
    if len(offsets) != expected or len(counts) != expected:
        raise DamagedPixelsError(f"{len(offsets)} strips or tiles, {expected} are expected")
    if not all(counts) and page.nodata is None:  # GDAL leaves out those without a value
        raise DamagedPixelsError(f"{sum(not count for count in counts)} of its strips or tiles have no pixels")
    size = file.seek(0, io.SEEK_END)
    if any(offset + count > size for offset, count in zip(offsets, counts, strict=True)):
        raise DamagedPixelsError("its pixels end early")
    limit = height * -(-width * page.bits * (1 if page.is_planar else page.samples) // 8)
    if page.compression in _DEFLATE or page.compression == _LZMA:
        _check_unpacked(file, page.compression, limit, offsets, counts)


def _check_unpacked(file: BinaryIO, kind: int, limit: int, offsets: Sequence[int], counts: Sequence[int]) -> None:
    for offset, count in zip(offsets, counts, strict=True):
        if not count or (kind != _LZMA and count * _DEFLATE_RATIO <= max(limit, _SMALL)):
            continue
        unpacker: Any = lzma.LZMADecompressor(memlimit=_SMALL) if kind == _LZMA else zlib.decompressobj()
        file.seek(offset)
        left, size = file.read(count), 0
        while size <= limit and not unpacker.eof:
            part = unpacker.decompress(left, _SMALL // 16)
            left = b"" if kind == _LZMA else unpacker.unconsumed_tail
            size += len(part)
            if not part:
                break
        if size > limit:
            raise DamagedPixelsError(f"a strip or tile unpacks to more than the {limit} bytes of its place")


def _decode_by_rasterio(file: BinaryIO, page: TiffDirectory, window: Window) -> Array:
    import rasterio
    from rasterio.errors import RasterioError

    _check_tile(page)
    rows, columns = window.slices
    file.seek(0)
    with warnings.catch_warnings(action="ignore"):  # of a file without a georeference
        try:
            with rasterio.MemoryFile(file.read()) as memory, memory.open(driver="GTiff") as opened:
                if (opened.width, opened.height, opened.count) != (page.width, page.height, page.samples):
                    raise DamagedPixelsError(f"{opened.count} bands of {opened.width} x {opened.height} pixels")
                bands = opened.read(window=((rows.start, rows.stop), (columns.start, columns.stop)))
        except (RasterioError, ValueError) as error:
            raise DamagedPixelsError(str(error)) from None
    array: Array = np.moveaxis(bands, 0, -1).astype(page.dtype)
    if not np.array_equal(array, np.moveaxis(bands, 0, -1), equal_nan=page.dtype.startswith("float")):
        raise DamagedPixelsError(f"pixels of {bands.dtype}, and its header claims {page.dtype}")
    return array


def _convert_palette(colours: Array) -> Array:
    """Convert (3, N) colours of 16 bits; some programs write 8 bits there."""
    return (colours.T if colours.max(initial=0) < 256 else colours.T >> 8).astype(np.uint8)


def _decode_by_pillow(file: BinaryIO, page: TiffDirectory) -> tuple[Array, Array | None]:
    """Decode 8-bit pixels, and their palette, as they are stored."""
    file.seek(0)
    with warnings.catch_warnings(action="ignore"):
        try:
            # Image.open would apply the limit of the whole process to large files
            with TiffImagePlugin.TiffImageFile(file) as image:
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
    array = turn(array, {6: 8, 8: 6}.get(page.orientation, page.orientation))  # back
    return _check_shape(array, page.width, page.height, page), palette


def _check_shape(array: Array, width: int, height: int, page: TiffDirectory) -> Array:
    array = array.reshape(*array.shape[:2], -1) if array.ndim >= 2 else array
    if array.shape != (height, width, page.samples):
        raise DamagedPixelsError(f"pixels of shape {array.shape}")
    return array
