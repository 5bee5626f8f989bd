"""Read what image files hold from their headers, without decoding a pixel."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pix2pix_lightning.data.files.formats.arrays import NPY_MAGIC, ZIP_MAGIC, parse_npy, parse_npz
from pix2pix_lightning.data.files.formats.bmp import parse_bmp
from pix2pix_lightning.data.files.formats.dicom import DICOM_MAGIC, DICOM_START, parse_dicom
from pix2pix_lightning.data.files.formats.header import DamagedHeaderError, ImageHeader, TruncatedHeaderError
from pix2pix_lightning.data.files.formats.nifti import is_nifti, parse_nifti
from pix2pix_lightning.data.files.formats.pictures import parse_anymap, parse_jpeg, parse_png, parse_webp
from pix2pix_lightning.data.files.formats.tiff import parse_tiff
from pix2pix_lightning.data.files.formats.tiff_header import TIFF_MAGIC
from pix2pix_lightning.utils.errors import UserError

__all__ = ["ImageHeader", "find_header", "parse_header", "read_header"]

_MOST_KNOWN = 1024
_LEAST_AGE = 2  # seconds; a younger file may be written again within a tick of its clock
# of files by their status: a crop asks for its place and for its pixels, and again in the next epoch
_known: dict[tuple[int, ...], ImageHeader] = {}
_OTHER_KINDS = {
    b"GIF8": "a GIF",
    b"%PDF": "a PDF",
    b"8BPS": "a Photoshop file",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 file",
    b"\x89HDF": "an HDF5 file",
    b"v/1\x01": "an OpenEXR file",
    b"#?RADIANCE": "a Radiance file",
    b"P7\n": "a PAM file",
    b"<": "a page or another text (an SVG file, or the message of a server)",
    b"version https://": "a Git LFS pointer: fetch the file itself",
}


def read_header(path: Path) -> ImageHeader:
    """Read the header of an image file; of its pixels nothing is read.

    A file that has not changed since it was among the last that were asked for is not opened.

    Args:
        path: The image file.

    Returns:
        What the file says about its pixels.

    Raises:
        UserError: The file is no image, or its header is damaged.
        OSError: The file cannot be read.
    """
    header = _known.get(_get_key(path.stat()))
    if header is not None:
        return header
    with path.open("rb") as file:
        return find_header(file, path)


def find_header(file: BinaryIO, path: Path) -> ImageHeader:
    """Return the header of an open file, which is parsed if it is not known.

    Args:
        file: The file, opened to read bytes.
        path: Its path, for messages.

    Returns:
        The header.

    Raises:
        UserError: The file is no image, or its header is damaged.
    """
    status = os.fstat(file.fileno())
    key = _get_key(status)
    header = _known.get(key)
    if header is None:
        header = parse_header(file, path)
        if time.time() - status.st_mtime > _LEAST_AGE:
            if len(_known) >= _MOST_KNOWN:
                _known.clear()
            _known[key] = header
    return header


def _get_key(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def parse_header(file: BinaryIO, path: Path) -> ImageHeader:
    """Parse the header of an image.

    Args:
        file: The content, which can be sought in.
        path: Where it comes from, for messages.

    Returns:
        The header.

    Raises:
        UserError: The file is no image, or its header is damaged.
    """
    begin = file.read(16)
    parse = _find_parser(begin) or _find_late_parser(file)
    if parse is None:
        raise UserError(f"{path} cannot be decoded as an image: {_describe_other(begin)}")
    try:
        header = parse(file)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except TruncatedHeaderError:
        raise UserError(f"{path} is truncated, within its header: copy or download it again") from None
    except (DamagedHeaderError, struct.error, ValueError, OverflowError) as error:
        reason = f" ({error})" if isinstance(error, DamagedHeaderError) else ""
        raise UserError(f"{path} cannot be decoded as an image: its header is damaged{reason}; replace it") from None
    if not (header.width and header.height and header.channels):
        raise UserError(
            f"{path} cannot be decoded as an image: its header claims {header.width} x {header.height} pixels of "
            f"{header.channels} channels; replace it"
        )
    return header


def _find_parser(begin: bytes) -> Callable[[BinaryIO], ImageHeader] | None:
    if begin.startswith(b"\xff\xd8\xff"):
        return parse_jpeg
    if begin.startswith(b"\x89PNG\r\n\x1a\n"):
        return parse_png
    if begin.startswith(b"RIFF") and begin[8:12] == b"WEBP":
        return parse_webp
    if begin[:4] in TIFF_MAGIC:
        return parse_tiff
    if begin.startswith(b"BM"):
        return parse_bmp
    if begin[:1] == b"P" and begin[1:2] in b"123456" and begin[2:3].isspace():
        return parse_anymap
    if begin.startswith(NPY_MAGIC):
        return parse_npy
    if begin.startswith(ZIP_MAGIC):
        return parse_npz
    return None


def _find_late_parser(file: BinaryIO) -> Callable[[BinaryIO], ImageHeader] | None:
    """Find the parser of formats that do not begin with a mark of their own."""
    file.seek(DICOM_START)
    if file.read(len(DICOM_MAGIC)) == DICOM_MAGIC:
        return parse_dicom
    return parse_nifti if is_nifti(file) else None


def _describe_other(begin: bytes) -> str:
    if not begin:
        return "it is empty; replace it"
    kind = next((kind for magic, kind in _OTHER_KINDS.items() if begin.startswith(magic)), None)
    if begin[4:12] in (b"ftypavif", b"ftypheic", b"ftypmif1", b"ftypheix"):
        kind = "an AVIF or HEIC file"
    if kind is None:
        return "it is damaged or of another kind; replace it"
    return f"it is {kind}; a PNG, JPEG, TIFF, WebP, BMP, PPM, NumPy, NIfTI or DICOM file is expected"
