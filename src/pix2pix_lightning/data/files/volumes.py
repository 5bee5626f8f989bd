"""Read slices of volumes as pictures."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.files.file_image import FileImage
from pix2pix_lightning.data.files.formats.arrays import convert_type
from pix2pix_lightning.data.files.formats.header import DamagedHeaderError, DamagedPixelsError, TruncatedHeaderError
from pix2pix_lightning.data.files.formats.nifti import GZIP_MAGIC, describe_slice, is_nifti, read_slices, read_volume
from pix2pix_lightning.data.files.image_files import check_header, get_suffix
from pix2pix_lightning.data.files.window import Window, parse_window
from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.checks import check_absent, check_counts
from pix2pix_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from pix2pix_lightning.data.files.image_header import ImageHeader

VOLUME_SUFFIXES = frozenset({".nii", ".nii.gz"})
_MOST_NEIGHBOURS = 100
_MOST_UNPACKED = 2**28  # bytes of a volume that is kept


def check_slices(prefix: str = "", *, axis: int, neighbours: int) -> None:
    """Check how slices are taken of a volume.

    Args:
        prefix: What messages put in front of a name.
        axis: The axis across the slices.
        neighbours: Number of slices on each side that are channels too.

    Raises:
        UserError: There is no such axis, or the number is out of range.
    """
    check_counts(prefix=prefix, at_least=0, at_most=2, axis=axis)
    check_counts(prefix=prefix, at_least=0, at_most=_MOST_NEIGHBOURS, neighbours=neighbours)


def list_slices(path: Path, axis: int = 2) -> range:
    """List the slices of a volume; only its header is read.

    Args:
        path: A NIfTI file, ``.nii`` or ``.nii.gz``.
        axis: The axis across the slices: 0, 1 or 2.

    Returns:
        Their numbers, which ``open_slice`` takes.

    Raises:
        UserError: The file is no volume, or is damaged; or there is no such axis.
        OSError: The file cannot be read.
    """
    return range(read_slice_header(path, axis).pages)


def read_slice_header(path: Path, axis: int = 2) -> ImageHeader:
    """Read the header of a volume as that of its slices.

    Args:
        path: A NIfTI file.
        axis: The axis across the slices.

    Returns:
        The header of a slice; ``pages`` is their number.

    Raises:
        UserError: As ``list_slices`` does.
    """
    check_slices(axis=axis, neighbours=0)
    with path.open("rb") as file:
        if not is_nifti(file):
            raise UserError(f"{path} is no NIfTI file: a volume of slices is expected")
        try:
            return describe_slice(read_volume(file), axis)
        except (DamagedHeaderError, TruncatedHeaderError) as error:
            raise UserError(f"{path} cannot be decoded, its header is damaged ({error}); replace it") from None
        except UserError as error:
            raise UserError(f"{path}: {error}") from None


def open_slice(
    path: Path,
    index: int,
    *,
    axis: int = 2,
    neighbours: int = 0,
    max_pixels: int | None = None,
    window: Sequence[int] | None = None,
) -> FileImage:
    """Read a slice of a volume, alone or with those next to it as channels.

    Args:
        path: A NIfTI file. Of one that is not compressed, no more than what is asked for is read; of those that are,
            the last four are kept in memory, up to 256 MB each.
        index: Number of the slice.
        axis: The axis across the slices. Of the others the first one runs down, the second one to the right.
        neighbours: Number of slices on each side that are channels too; beyond the first and the last slice these are
            repeated.
        max_pixels: Refuse a slice of more pixels than this, before memory is allocated.
        window: First row, first column, rows and columns of the part that is wanted; by default all.

    Returns:
        The slice, of 1 + 2 ``neighbours`` channels.

    Raises:
        UserError: The file is no volume, is damaged or too large, or has no such slice, or the window lies outside.
        OSError: The file cannot be read.
    """
    header = read_slice_header(path, axis)
    if not 0 <= index < header.pages:
        raise UserError(f"{path} has the slices 0 to {header.pages - 1} along axis {axis}, and no slice {index}")
    whole = (0, 0, header.height, header.width)
    try:
        part: Window = parse_window(whole if window is None else window, header.width, header.height)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    check_header(replace(header, pages=1), path, max_pixels=max_pixels, window=part)
    indices = [min(max(index + step, 0), header.pages - 1) for step in range(-neighbours, neighbours + 1)]
    status = path.stat()
    unpacked = _unpack(path, status.st_size, status.st_mtime_ns)
    with path.open("rb") if unpacked is None else io.BytesIO(unpacked) as file:
        try:
            pixels = convert_type(read_slices(file, axis, indices, part))
        except DamagedPixelsError as error:
            raise UserError(f"{path} cannot be decoded, it is damaged: {error}; replace it") from None
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
    return FileImage(
        pixels=pixels,
        max_level=header.max_level,
        name=f"{path}, slice {index}",
        scale=header.scale,
        offset=header.offset,
        is_colour=neighbours == 0,
    )


@lru_cache(maxsize=4)
def _unpack(path: Path, size: int, time: int) -> bytes | None:
    """Return the content of a compressed file of this size and time; None where it is not, is too large or damaged."""
    with path.open("rb") as file:
        if file.read(2) != GZIP_MAGIC:
            return None
        try:
            volume = read_volume(file)
            end = volume.start + volume.size
            if end > _MOST_UNPACKED:
                return None
            file.seek(0)
            with gzip.GzipFile(fileobj=file) as stream:
                return stream.read(end)
        except (DamagedHeaderError, UserError, OSError, EOFError, zlib.error):  # which reading a slice reports
            return None


def is_volume(path: Path) -> bool:
    """Return whether a file is a NIfTI file of several slices; one that cannot be read is none."""
    if get_suffix(path.name) not in VOLUME_SUFFIXES:
        return False
    try:
        return len(list_slices(path)) > 1
    except (UserError, OSError):
        return False


def write_volume(
    path: Path,
    volume: npt.NDArray[Any],
    *,
    like: Path,
    scale: float = 1.0,
    offset: float = 0.0,
    overwrite: bool = False,
) -> None:
    """Write a volume in the place of another one in space.

    Args:
        path: The file to write, ``.nii`` or ``.nii.gz``.
        volume: (X, Y, Z) stored values; float16, which NIfTI does not have, becomes float32.
        like: The NIfTI file whose affine, units and codes are taken.
        scale: Factor from a stored value to a physical one.
        offset: Physical value of a stored 0.
        overwrite: Replace the file if it exists.

    Raises:
        FileExistsError: The file exists and ``overwrite`` is off.
    """
    import nibabel

    check_absent(path, overwrite=overwrite)
    stored = volume.astype(np.float32) if volume.dtype == np.float16 else volume
    source: Any = nibabel.load(like)
    nifti: Any = nibabel.Nifti1Image  # whose stubs lack types
    header = nifti.header_class.from_header(source.header)
    header.set_data_dtype(stored.dtype)
    header["cal_min"] = header["cal_max"] = 0  # the window of the other one's values
    image = nifti(stored, source.affine, header)
    image.header.set_slope_inter(scale, offset)  # without these, nibabel would choose some
    content = image.to_bytes()
    with atomic_write(path, overwrite=overwrite) as scratch:
        scratch.write_bytes(gzip.compress(content) if get_suffix(path.name) == ".nii.gz" else content)
