"""Parse the headers of TIFF files, and decode their pixels, in bounded memory."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import TiffImagePlugin

from pix2pix_lightning.data.files.formats.header import DamagedPixelsError, ImageHeader
from pix2pix_lightning.data.files.formats.tiff_header import TiffDirectory, read_directories
from pix2pix_lightning.data.files.formats.tiff_segments import PACK_BITS, PLAIN, check_tile, decode_segments, is_plain
from pix2pix_lightning.data.files.window import Window, turn
from pix2pix_lightning.utils.errors import UserError

Array = npt.NDArray[Any]

_OF_PILLOW = (2, 3, 4, 5, 6, 7, 50000, 50001)
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
    if is_plain(page) and not (is_simple and page.compression == PACK_BITS):
        return decode_segments(file, page, window)
    if is_simple and page.compression in (*PLAIN, *_OF_PILLOW):
        pixels, palette = _decode_by_pillow(file, page)
        return pixels[window.slices], palette
    if find_spec("rasterio") is None:
        name = _NAMES.get(page.compression, f"number {page.compression}")
        raise UserError(
            f"its TIFF compression ({name}, {page.samples} samples of {page.dtype}, {page.bits} bits, predictor "
            f"{page.predictor}, {page.photometric}{', in planes' if page.is_planar else ''}) is read by rasterio: pip "
            "install 'pix2pix-lightning[geo]', or save the file without compression or with Deflate"
        )
    return _decode_by_rasterio(file, page, window)


@contextmanager
def _open_by_rasterio(file: BinaryIO) -> Iterator[Any]:
    import rasterio

    if isinstance(file, io.BytesIO):
        with rasterio.MemoryFile(file.getbuffer()) as memory, memory.open(driver="GTiff") as opened:
            yield opened
    else:  # by its path, from which GDAL reads no more than it needs
        with rasterio.open(Path(file.name).absolute(), driver="GTiff") as opened:
            yield opened


def _decode_by_rasterio(file: BinaryIO, page: TiffDirectory, window: Window) -> tuple[Array, Array | None]:
    from rasterio.errors import RasterioError

    check_tile(page)
    rows, columns = window.slices
    palette = None
    with warnings.catch_warnings(action="ignore"):  # of a file without a georeference
        try:
            with _open_by_rasterio(file) as opened:
                if (opened.width, opened.height, opened.count) != (page.width, page.height, page.samples):
                    raise DamagedPixelsError(f"{opened.count} bands of {opened.width} x {opened.height} pixels")
                bands = opened.read(window=((rows.start, rows.stop), (columns.start, columns.stop)))
                if page.photometric == "palette":
                    palette = np.array([colour[:3] for _, colour in sorted(opened.colormap(1).items())], np.uint8)
        except (RasterioError, ValueError) as error:
            raise DamagedPixelsError(str(error)) from None
    stored = np.moveaxis(bands, 0, -1)
    array: Array = stored.astype(page.dtype)
    if not np.array_equal(array, stored, equal_nan=page.dtype.startswith("float")):
        raise DamagedPixelsError(f"pixels of {bands.dtype}, and its header claims {page.dtype}")
    return array, palette


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
