"""Arrays of NumPy in files, and which types of values are read."""

from __future__ import annotations

import errno
import io
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.files.formats.header import (
    PIXEL_TYPES,
    DamagedHeaderError,
    DamagedPixelsError,
    ImageHeader,
    TruncatedHeaderError,
)
from pix2pix_lightning.data.files.formats.mapped import map_array
from pix2pix_lightning.data.files.window import Window
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.text import format_names

Array = npt.NDArray[Any]

NPY_MAGIC, ZIP_MAGIC = b"\x93NUMPY", b"PK\x03\x04"
_MAX_HEADER = 10_000  # characters of a header; NumPy evaluates it
_MAX_PLANES = 32  # channels of an array with the channels first
_READ_TYPES = frozenset(np.dtype(name) for name in PIXEL_TYPES.values())
_DEFLATE_RATIO = 1032  # a byte of Deflate becomes at most so many


def parse_npy(file: BinaryIO) -> ImageHeader:
    """Parse the header of an array (H, W) or (H, W, C); raise the errors of ``header`` where it is damaged."""
    shape, _, dtype, start = _read_npy_header(file)
    return _describe("npy", shape, dtype, start)


def parse_npz(file: BinaryIO) -> ImageHeader:
    """Parse the header of an archive with one array; raise the errors of ``header`` where it is damaged."""
    with _open_archive(file) as (archive, entry):
        shape, _, dtype, start = _read_npy_header(archive.open(entry))
        size = _count_bytes(shape, dtype)
        if entry.file_size != start + size or size > entry.compress_size * _DEFLATE_RATIO + 1:
            raise DamagedHeaderError(f"{size} bytes of pixels in {entry.file_size}")
    return _describe("npz", shape, dtype, 0)


def _describe(kind: str, shape: tuple[int, ...], dtype: np.dtype[Any], start: int) -> ImageHeader:
    if len(shape) not in (2, 3):
        raise UserError(f"an array of shape {shape}: (height, width) or (height, width, channels) is expected")
    height, width, channels = (*shape, 1)[:3]
    if height <= _MAX_PLANES < channels and height < width:
        raise UserError(
            f"an array of shape {shape}, which looks like (channels, height, width): (height, width, channels) is "
            "expected; save it as np.moveaxis(array, 0, -1)"
        )
    is_rgb = dtype == np.uint8 and channels == 3
    return ImageHeader(
        format=kind,
        width=width,
        height=height,
        channels=channels,
        dtype=dtype.name,
        bits=1 if dtype.kind == "b" else dtype.itemsize * 8,
        max_level=1 if dtype.kind == "b" else 2 ** (dtype.itemsize * 8) - 1 if dtype.kind == "u" else 0,
        photometric="grayscale" if channels == 1 else "rgb" if is_rgb else "bands",
        end=start + _count_bytes(shape, dtype),
    )


def decode_npy(file: BinaryIO, header: ImageHeader, window: Window) -> Array:
    """Read a window of an array in a file.

    Args:
        file: The file.
        header: Its header, which describes the values once more.
        window: The part that is read; nothing else is.

    Returns:
        (H, W, C) in the type of the file; of an array of truth values 0 and 255.

    Raises:
        DamagedPixelsError: The file ends early.
    """
    shape, is_fortran, dtype, start = _read_npy_header(file)
    return _take(map_array(file, dtype, shape, start, "F" if is_fortran else "C"), window)


def decode_npz(file: BinaryIO, header: ImageHeader, window: Window) -> Array:
    """Read a window of the array in an archive, of which the whole array is unpacked.

    Args:
        file: The file.
        header: Its header, by which the memory is allocated.
        window: The part that is returned.

    Returns:
        As ``decode_npy`` does.

    Raises:
        DamagedPixelsError: The archive is damaged.
    """
    try:
        with _open_archive(file) as (archive, entry), archive.open(entry) as stream:
            shape, is_fortran, dtype, _ = _read_npy_header(stream)
            array = np.empty(shape, dtype, "F" if is_fortran else "C")
            read_into(stream, array)
    except (DamagedHeaderError, TruncatedHeaderError) as error:
        raise DamagedPixelsError(str(error)) from None
    return _take(array, window)


def read_into(stream: Any, array: Array) -> None:
    """Fill an array from a stream, in the order of its memory.

    Args:
        stream: A file that is read from where it stands.
        array: An array without gaps.

    Raises:
        DamagedPixelsError: The stream ends early.
    """
    target: Any = memoryview(array.reshape(-1, order="A").view(np.uint8))  # type: ignore[arg-type]
    place = 0
    while place < len(target):
        count = stream.readinto(target[place:])
        if not count:
            raise DamagedPixelsError("its pixels end early")
        place += count


def convert_type(array: Array) -> Array:
    """Convert values to a type that sides take: bytes, 16 bits, or float16 and float32.

    Args:
        array: Values of any real type and byte order.

    Returns:
        The same values: 8 signed bits as int16, and 32 and 64 bits as float32.

    Raises:
        UserError: A value would change.
    """
    if array.dtype in _READ_TYPES:  # their names take longer than small arrays do
        return array
    target = np.dtype(PIXEL_TYPES[array.dtype.name])
    with np.errstate(over="ignore"):
        converted: Array = array.astype(target, copy=False)
    if np.can_cast(array.dtype, target, "safe") or target == np.uint8:
        return converted
    changed = (converted.astype(np.float64) != array) & (array == array)
    if array.dtype.kind in "iu":  # of which float64 itself does not hold larger ones
        changed |= (array > 2**53) | (array < -(2**53))
    if changed.any():
        raise UserError(
            f"its {array.dtype.name} values, such as {array[changed][0]!s}, change as float32, to which they would be "
            f"converted: save them as float32{' or uint16' if array.dtype.kind in 'ui' else ''}"
        )
    return converted


def _take(array: Array, window: Window) -> Array:
    part = (array[..., None] if array.ndim == 2 else array)[window.slices]
    return part * np.uint8(255) if part.dtype == bool else np.array(part, part.dtype.newbyteorder("="))


def _count_bytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    size = dtype.itemsize
    for length in shape:
        size *= length
    return size


def _read_npy_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return shape, whether the first axis varies fastest, type, and the place of the values."""
    if file.seekable():
        file.seek(0)
    begin = file.read(12)
    if len(begin) < 12:
        raise TruncatedHeaderError
    if begin[:6] != NPY_MAGIC or begin[6] not in (1, 2):
        raise DamagedHeaderError(f"version {begin[6]}")
    length = int.from_bytes(begin[8:10] if begin[6] == 1 else begin[8:12], "little")
    start = 10 + length if begin[6] == 1 else 12 + length
    if length > _MAX_HEADER:
        raise DamagedHeaderError(f"a header of {length} bytes")
    content = begin + file.read(start - len(begin))
    if len(content) < start:
        raise TruncatedHeaderError
    return *_parse_npy_header(content), start


@lru_cache(maxsize=64)  # files of a data set often have one header, and NumPy compiles it
def _parse_npy_header(content: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether the first axis varies fastest, and type, of all bytes before the values."""
    stream = io.BytesIO(content[8:])
    read = np.lib.format.read_array_header_1_0 if content[6] == 1 else np.lib.format.read_array_header_2_0
    try:
        shape, is_fortran, dtype = read(stream)
    except (ValueError, TypeError, SyntaxError, LookupError, RecursionError, tokenize.TokenError) as error:
        raise DamagedHeaderError(" ".join(str(error).split())[:80]) from None
    if dtype.hasobject:
        raise UserError("it holds Python objects, which would have to be unpickled: save an array of numbers")
    if dtype.name not in PIXEL_TYPES:
        raise UserError(f"it holds values of type {dtype}: whole numbers, float16 or float32 are expected")
    if any(length < 1 for length in shape):
        raise UserError(f"an array of shape {shape} has no pixel")
    return shape, is_fortran, dtype


@contextmanager
def _open_archive(file: BinaryIO) -> Iterator[tuple[zipfile.ZipFile, zipfile.ZipInfo]]:
    """Yield an archive and its one array."""
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            names = [entry.filename.removesuffix(".npy") for entry in entries]
            if len(entries) != 1 or not entries[0].filename.endswith(".npy"):
                raise UserError(f"an archive of {len(entries)} arrays ({format_names(names)}), one array is expected")
            entry = entries[0]
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or entry.flag_bits & 1:
                raise UserError("an archive that is encrypted or not of Deflate: save it by np.savez_compressed")
            yield archive, entry
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DamagedHeaderError(str(error)) from None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise DamagedHeaderError("a place outside of the file") from None
