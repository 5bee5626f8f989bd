"""Decode the strips and tiles of TIFF files, in bounded memory; tifffile finds those that are no plain array."""

from __future__ import annotations

import io
import logging
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.files.formats.header import DamagedPixelsError
from pix2pix_lightning.data.files.formats.mapped import map_array
from pix2pix_lightning.data.files.formats.tiff_header import TiffDirectory
from pix2pix_lightning.data.files.window import Window

# what it logs of a damaged file would be printed next to our message where a program has no logging
logging.getLogger("tifffile").addHandler(logging.NullHandler())

Array = npt.NDArray[Any]

PACK_BITS = 32773
_NONE, _DEFLATE, _LZMA = 1, (8, 32946), 34925
PLAIN = (_NONE, *_DEFLATE, _LZMA, PACK_BITS)
"""Compressions that are unpacked here."""
_WHOLE_BYTES = (8, 16, 32, 64)
_LZMA_MEMORY = 2**26  # bytes that its dictionary may have
_MAX_TILE = 2**24  # pixels of a tile that may be larger than its image


def is_plain(page: TiffDirectory) -> bool:
    """Return whether the strips and tiles of a page are unpacked here."""
    is_known = page.compression in PLAIN and page.predictor in (1, 2)
    return is_known and (page.bits == 1 or page.bits in _WHOLE_BYTES)


def decode_segments(file: BinaryIO, page: TiffDirectory, window: Window) -> tuple[Array, Array | None]:
    """Decode the strips or tiles of a page that a window touches.

    Args:
        file: The file.
        page: The page's fields.
        window: The part that is read, of the page as it is stored.

    Returns:
        (H, W, samples) and the palette, as ``decode_tiff`` returns them.

    Raises:
        DamagedPixelsError: The pixels contradict the header, or end early.
    """
    if page.start is not None and page.photometric != "palette":
        return _map_pixels(file, page, page.start)[window.slices].astype(page.dtype), None
    from tifffile import TiffFile

    check_tile(page)
    file.seek(0)
    with _name_damage(), TiffFile(file) as opened:
        segments = _Segments(file, page, opened.pages.first)
        palette = None if page.photometric != "palette" else _convert_palette(segments.first.colormap)
        return segments.decode(window), palette


def _map_pixels(file: BinaryIO, page: TiffDirectory, start: int) -> Array:
    """Return the pixels as an array over the file, (H, W, samples)."""
    planes, samples = (page.samples, 1) if page.is_planar else (1, page.samples)
    shape = (planes, page.height, page.width, samples)
    array = map_array(file, np.dtype(page.dtype).newbyteorder(page.order), shape, start)
    return array[0] if planes == 1 else np.moveaxis(array[..., 0], 0, -1)


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


class _Segments:
    """The strips or tiles of a page.

    Args:
        file: The file.
        page: The page's fields.
        first: The page as tifffile describes it.

    Raises:
        DamagedPixelsError: A strip or tile is missing, or lies outside of the file.
    """

    def __init__(self, file: BinaryIO, page: TiffDirectory, first: Any) -> None:
        self.file = file
        self.page = page
        self.first = first
        self.width, self.height = page.tile or (page.width, min(int(first.rowsperstrip) or page.height, page.height))
        self.across, self.down = -(-page.width // self.width), -(-page.height // self.height)
        self.planes, self.samples = (page.samples, 1) if page.is_planar else (1, page.samples)
        self.dtype = np.dtype(page.dtype).newbyteorder(first.parent.byteorder)
        self.offsets, self.counts = first.dataoffsets, first.databytecounts
        self._check()

    def _check(self) -> None:
        """Check that each strip or tile is in the file."""
        expected = self.across * self.down * self.planes
        if len(self.offsets) != expected or len(self.counts) != expected:
            raise DamagedPixelsError(f"{len(self.offsets)} strips or tiles, {expected} are expected")
        if not all(self.counts) and self.page.nodata is None:  # GDAL leaves out those without a value
            missing = sum(not count for count in self.counts)
            raise DamagedPixelsError(f"{missing} of its strips or tiles have no pixels")
        size = self.file.seek(0, io.SEEK_END)
        if any(offset + count > size for offset, count in zip(self.offsets, self.counts, strict=True)):
            raise DamagedPixelsError("its pixels end early")

    def decode(self, window: Window) -> Array:
        """Decode the part of the strips or tiles that a window touches, (H, W, samples)."""
        pixels = np.empty((window.height, window.width, self.page.samples), self.page.dtype)
        bottom, right = window.top + window.height, window.left + window.width
        for plane in range(self.planes):
            samples = slice(plane, plane + 1) if self.planes > 1 else slice(None)
            for row in range(window.top // self.height, (bottom - 1) // self.height + 1):
                for column in range(window.left // self.width, (right - 1) // self.width + 1):
                    top, left = row * self.height, column * self.width
                    y, y_end = max(top, window.top), min(top + self.height, bottom)
                    x, x_end = max(left, window.left), min(left + self.width, right)
                    segment = self._decode_one((plane * self.down + row) * self.across + column, top)
                    target = pixels[y - window.top : y_end - window.top, x - window.left : x_end - window.left, samples]
                    if segment is None:
                        target[:] = self.page.nodata
                    else:
                        target[:] = segment[y - top : y_end - top, x - left : x_end - left]
        return pixels

    def _decode_one(self, index: int, top: int) -> Array | None:
        """Decode a strip or tile, (rows, columns, samples); None for one that GDAL has left out."""
        page, count = self.page, self.counts[index]
        if not count:
            return None
        self.file.seek(self.offsets[index])
        content = self.file.read(count)
        rows = self.height if page.tile else min(self.height, page.height - top)
        # the last strip may be filled up
        limit = self.height * -(-self.width * self.samples * page.bits // 8)
        if page.bits == 1 or page.compression == PACK_BITS or self.first.fillorder != 1:
            _unpack(content, page.compression, limit)
            decoded: Array = self.first.decode(content, index)[0][0]
            return decoded
        values = rows * self.width * self.samples
        array = np.frombuffer(_unpack(content, page.compression, limit), self.dtype, values)
        array = array.reshape(rows, self.width, self.samples)
        if page.predictor == 1:
            return array
        steps = array.astype(page.dtype, copy=False).view(f"u{self.dtype.itemsize}")
        return np.cumsum(steps, axis=1, dtype=steps.dtype).view(page.dtype)


def _unpack(content: bytes, compression: int, limit: int) -> bytes:
    """Unpack a strip or tile, and refuse one that is larger than its place before memory is allocated for it."""
    if compression in (_NONE, PACK_BITS):
        return content
    is_lzma = compression == _LZMA
    unpacker: Any = lzma.LZMADecompressor(memlimit=_LZMA_MEMORY) if is_lzma else zlib.decompressobj()
    parts, size, left = [], 0, content
    while size <= limit and not unpacker.eof:
        part = unpacker.decompress(left, limit + 1 - size)
        left = b"" if is_lzma else unpacker.unconsumed_tail
        size += len(part)
        parts.append(part)
        if not part:
            break
    if size > limit:
        raise DamagedPixelsError(f"a strip or tile unpacks to more than the {limit} bytes of its place")
    if not unpacker.eof:
        raise DamagedPixelsError("a strip or tile ends early")
    return b"".join(parts)


def check_tile(page: TiffDirectory) -> None:
    """Check the size of a page's tiles.

    Raises:
        DamagedPixelsError: They are far larger than the page.
    """
    if page.tile and page.tile[0] * page.tile[1] > max(4 * page.width * page.height, _MAX_TILE):
        raise DamagedPixelsError(f"tiles of {page.tile[0]} x {page.tile[1]} pixels")


def _convert_palette(colours: Array) -> Array:
    """Convert (3, N) colours of 16 bits; some programs write 8 bits there."""
    return (colours.T if colours.max(initial=0) < 256 else colours.T >> 8).astype(np.uint8)
