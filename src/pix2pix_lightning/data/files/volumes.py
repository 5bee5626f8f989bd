"""Read slices of volumes as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pix2pix_lightning.data.files.file_image import FileImage
from pix2pix_lightning.data.files.formats.arrays import convert_type
from pix2pix_lightning.data.files.formats.header import DamagedHeaderError, DamagedPixelsError, TruncatedHeaderError
from pix2pix_lightning.data.files.formats.nifti import describe_slice, is_nifti, read_slices, read_volume
from pix2pix_lightning.data.files.image_files import check_header
from pix2pix_lightning.data.files.window import Window, parse_window
from pix2pix_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from pix2pix_lightning.data.files.image_header import ImageHeader

VOLUME_SUFFIXES = frozenset({".nii", ".nii.gz"})
_AXES = (0, 1, 2)


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
    if axis not in _AXES:
        raise UserError(f"axis={axis}: a volume has the axes 0, 1 and 2")
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
        path: A NIfTI file. Of one that is not compressed, no more than what is asked for is read.
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
    with path.open("rb") as file:
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
