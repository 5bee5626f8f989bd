"""Read slices of NIfTI files: stored values, with the scale that makes them physical."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.files.formats.arrays import read_into
from pix2pix_lightning.data.files.formats.header import (
    DamagedHeaderError,
    DamagedPixelsError,
    ImageHeader,
    TruncatedHeaderError,
)
from pix2pix_lightning.data.files.formats.mapped import map_array
from pix2pix_lightning.data.files.window import Window
from pix2pix_lightning.utils.errors import UserError

Array = npt.NDArray[Any]

GZIP_MAGIC = b"\x1f\x8b"
_START = 540  # bytes, as many as the longer of two headers has
_DEFLATE_RATIO = 1032  # a byte of Deflate becomes at most so many


@dataclass(frozen=True, kw_only=True)
class Volume:
    """What the header of a NIfTI file says.

    Attributes:
        shape: Number of values along the three axes.
        dtype: Type of the values.
        start: Where they begin, in bytes; the first axis varies fastest.
        scale: Factor from a stored value to a physical one.
        offset: Physical value of a stored 0.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    start: int
    scale: float
    offset: float

    @property
    def size(self) -> int:
        """Size of the values in bytes."""
        return self.shape[0] * self.shape[1] * self.shape[2] * self.dtype.itemsize


def is_nifti(file: BinaryIO) -> bool:
    """Return whether a file, compressed or not, begins as NIfTI files do."""
    try:
        with _open_stream(file) as stream:
            begin = stream.read(348)
    except (OSError, EOFError, zlib.error):
        return False
    return begin[344:348] in (b"n+1\0", b"ni1\0") or begin[4:8] == b"n+2\0"


def read_volume(file: BinaryIO) -> Volume:
    """Read the header of a NIfTI file.

    Args:
        file: The file, compressed by gzip or not.

    Returns:
        What it says.

    Raises:
        DamagedHeaderError: It contradicts itself, or claims more values than the file has.
        UserError: nibabel is missing, or the file holds more than three axes.
    """
    try:
        from nibabel.nifti1 import Nifti1Header
        from nibabel.nifti2 import Nifti2Header
        from nibabel.spatialimages import HeaderDataError
    except ImportError:
        raise UserError(
            "it is a NIfTI file, which is read by nibabel: pip install 'pix2pix-lightning[medical]'"
        ) from None
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    is_packed = file.read(2) == GZIP_MAGIC
    try:
        with _open_stream(file) as stream:
            begin = stream.read(_START)
        kind: Any = Nifti2Header if begin[4:8] == b"n+2\0" else Nifti1Header
        header: Any = kind.from_fileobj(io.BytesIO(begin), check=False)
        lengths = tuple(int(length) for length in header.get_data_shape())
        dtype, start = header.get_data_dtype(), max(int(header.get_data_offset()), len(header.binaryblock) + 4)
        slope, inter = header.get_slope_inter()
    except (HeaderDataError, OSError, EOFError, zlib.error, ValueError, TypeError, LookupError) as error:
        raise DamagedHeaderError(" ".join(str(error).split())[:120]) from None
    x, y, z = (*lengths[:3], 1, 1, 1)[:3]
    if any(length != 1 for length in lengths[3:]):
        raise UserError(f"a NIfTI file of shape {lengths}: one slice is expected, or one volume of slices")
    if min(x, y, z) < 1 or start < 0:
        raise DamagedHeaderError(f"shape {lengths}")
    volume = Volume(shape=(x, y, z), dtype=dtype, start=start, scale=float(slope or 1), offset=float(inter or 0))
    if start + volume.size > size * (_DEFLATE_RATIO if is_packed else 1):
        raise DamagedHeaderError(f"{volume.size} bytes of values in a file of {size}")
    return volume


def parse_nifti(file: BinaryIO) -> ImageHeader:
    """Parse the header of a NIfTI file; raise the errors of ``header`` where it is damaged."""
    return describe_slice(read_volume(file), 2)


def describe_slice(volume: Volume, axis: int, channels: int = 1) -> ImageHeader:
    """Describe the slices of a volume as pictures.

    Args:
        volume: The volume.
        axis: The axis across the slices: 0, 1 or 2. Of the others the first one runs down, the second one to the right.
        channels: Number of channels.

    Returns:
        The header of a slice, whose ``pages`` is their number.
    """
    height, width = (length for place, length in enumerate(volume.shape) if place != axis)
    is_unsigned = volume.dtype.kind == "u"
    return ImageHeader(
        format="nifti",
        width=width,
        height=height,
        channels=channels,
        dtype=volume.dtype.name,
        bits=volume.dtype.itemsize * 8,
        max_level=2 ** (volume.dtype.itemsize * 8) - 1 if is_unsigned else 0,
        photometric="grayscale" if channels == 1 else "bands",
        pages=volume.shape[axis],
        scale=volume.scale,
        offset=volume.offset,
    )


def decode_nifti(file: BinaryIO, header: ImageHeader, window: Window) -> Array:
    """Read a window of the one slice of a file.

    Args:
        file: The file.
        header: Its header.
        window: The part that is returned.

    Returns:
        (H, W, 1) stored values.

    Raises:
        DamagedPixelsError: The file is damaged.
    """
    return read_slices(file, 2, [0], window)


def read_slices(file: BinaryIO, axis: int, indices: list[int], window: Window) -> Array:
    """Read a window of slices of a volume as channels.

    Args:
        file: A NIfTI file. Of one that is not compressed, what is asked for alone is read; else all up to there.
        axis: The axis across the slices: 0, 1 or 2.
        indices: Numbers of the slices.
        window: The part of a slice that is returned.

    Returns:
        (H, W, number of slices) stored values.

    Raises:
        DamagedPixelsError: The file is damaged.
    """
    file.seek(0)
    is_packed = file.read(2) == GZIP_MAGIC
    try:
        volume = read_volume(file)
        if is_packed:
            array = _unpack(file, volume, axis, indices, window)
        else:
            values = np.moveaxis(map_array(file, volume.dtype, volume.shape, volume.start, "F"), axis, 0)
            array = np.stack([values[index][window.slices] for index in indices], -1)
    except (DamagedHeaderError, TruncatedHeaderError, OSError, EOFError, zlib.error) as error:
        raise DamagedPixelsError(str(error)) from None
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _unpack(file: BinaryIO, volume: Volume, axis: int, indices: list[int], window: Window) -> Array:
    """Unpack what is needed of a volume, plane by plane along its last axis."""
    array = np.empty((window.height, window.width, len(indices)), volume.dtype)
    plane = np.empty(volume.shape[:2], volume.dtype, "F")
    rows, columns = window.slices
    wanted = sorted(set(indices)) if axis == 2 else range(columns.start, columns.stop)
    with _open_stream(file) as stream:
        for number in wanted:
            stream.seek(volume.start + number * plane.nbytes)
            read_into(stream, plane)
            for channel, index in enumerate(indices):
                if axis == 2 and index == number:
                    array[..., channel] = plane[rows, columns]
                elif axis < 2:
                    line = plane[index] if axis == 0 else plane[:, index]
                    array[:, number - columns.start, channel] = line[rows]
    return array


@contextmanager
def _open_stream(file: BinaryIO) -> Iterator[Any]:
    """Yield the content of a file that may be compressed by gzip."""
    file.seek(0)
    is_packed = file.read(2) == GZIP_MAGIC
    file.seek(0)
    if not is_packed:
        yield file
        return
    with gzip.GzipFile(fileobj=file) as stream:
        yield stream
