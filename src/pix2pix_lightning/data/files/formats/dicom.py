"""Read DICOM files by pydicom: stored values, with the scale that makes them physical."""

from __future__ import annotations

import io
import logging
import mmap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.files.formats.header import DamagedHeaderError, DamagedPixelsError, ImageHeader
from pix2pix_lightning.data.files.window import Window
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.memory import is_out_of_memory

# what it logs of a damaged file would be printed next to our message where a program has no logging
logging.getLogger("pydicom").addHandler(logging.NullHandler())

DICOM_MAGIC, DICOM_START = b"DICM", 128
_DEFLATED = "1.2.840.10008.1.2.1.99"
_COLOURS = {"RGB": "rgb", "YBR_FULL": "rgb", "YBR_FULL_422": "rgb", "YBR_ICT": "rgb", "YBR_RCT": "rgb"}
_GRAY = ("MONOCHROME1", "MONOCHROME2")


def parse_dicom(file: BinaryIO) -> ImageHeader:
    """Parse the header of a DICOM file, and raise the errors of ``header`` where it is damaged."""
    with _name_damage(DamagedHeaderError):
        return _describe(_read(file, is_header=True))


def decode_dicom(file: BinaryIO, header: ImageHeader, window: Window) -> npt.NDArray[Any]:
    """Read a window of the picture in a DICOM file.

    Args:
        file: The file.
        header: Its header.
        window: The part that is returned.

    Returns:
        (H, W, 1 or 3) stored values; of ``MONOCHROME1`` mirrored within their range, so that the least one is black.

    Raises:
        DamagedPixelsError: The pixels are damaged or missing.
        UserError: pydicom needs another package for their compression.
    """
    from pydicom import pixels

    with _name_damage(DamagedPixelsError):
        dataset = _read(file, is_header=False)
        syntax = dataset.file_meta.TransferSyntaxUID
        if syntax.is_compressed:
            decoder: Any = pixels.get_decoder(syntax)  # type: ignore[attr-defined]
            if not decoder.is_available:
                raise UserError(
                    f"pydicom unpacks its compression, {syntax.name}, by another package: pip install "
                    "'pylibjpeg[all]', or save it without compression"
                )
        array: npt.NDArray[Any] = dataset.pixel_array
        array = array.reshape(header.height, header.width, header.channels)[window.slices]
        if header.is_inverted:
            low, high = _get_range(dataset)
            array = ((low + high) - array.astype(np.int64)).astype(array.dtype)
    return array


@contextmanager
def _name_damage(kind: type[Exception]) -> Iterator[None]:
    """Raise what pydicom raises for damaged files, which may be of any type, as one kind of error."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except UserError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise kind(" ".join(str(error).split())[:120]) from None


def _read(file: BinaryIO, *, is_header: bool) -> Any:
    try:
        from pydicom import dcmread
    except ImportError:
        raise UserError(
            "it is a DICOM file, which is read by pydicom: pip install 'pix2pix-lightning[medical]'"
        ) from None
    file.seek(0)
    if _DEFLATED.encode() in file.read(2048):  # pydicom would unpack all of it, however large
        raise UserError("a DICOM file whose header is deflated is not read: save it without compression")
    file.seek(0)
    if not is_header or isinstance(file, io.BytesIO):
        return dcmread(io.BytesIO(file.read()), stop_before_pixels=is_header)
    # a file would allocate what a damaged length claims before it reads
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        stream: Any = mapped
        return dcmread(stream, stop_before_pixels=True)


def _describe(dataset: Any) -> ImageHeader:
    kind, samples = str(dataset.PhotometricInterpretation), int(dataset.SamplesPerPixel)
    if kind not in _GRAY and kind not in _COLOURS:
        raise UserError(f"a DICOM file of {kind[:20]!r} values: MONOCHROME1, MONOCHROME2 or RGB is expected")
    if samples != (1 if kind in _GRAY else 3):
        raise DamagedHeaderError(f"{samples} samples of {kind[:20]!r}")
    allocated = int(dataset.BitsAllocated)
    if allocated not in (8, 16, 32, 64):
        raise UserError(f"a DICOM file of {allocated} bits a value: 8, 16 or 32 are expected")
    if "PixelRepresentation" not in dataset:  # its values are fractions
        dtype, bits = f"float{allocated}", allocated
    else:
        dtype, bits = f"{'int' if int(dataset.PixelRepresentation) else 'uint'}{allocated}", int(dataset.BitsStored)
    if not 1 <= bits <= allocated:
        raise DamagedHeaderError(f"{bits} of {allocated} bits")
    is_inverted = kind == "MONOCHROME1" and not dtype.startswith("float")
    slope, intercept = float(dataset.get("RescaleSlope") or 1), float(dataset.get("RescaleIntercept") or 0)
    nodata = dataset.get("PixelPaddingValue")
    if nodata is not None and dtype == "int16" and int(nodata) > 2**15 - 1:
        nodata = int(nodata) - 2**16  # some programs write it without its sign
    if is_inverted:
        both = sum(_get_range(dataset))
        slope, intercept, nodata = -slope, intercept + slope * both, None if nodata is None else both - int(nodata)
    return ImageHeader(
        format="dicom",
        width=int(dataset.Columns),
        height=int(dataset.Rows),
        channels=samples,
        dtype=dtype,
        bits=bits,
        max_level=(255 if allocated == 8 else 2**bits - 1) if dtype.startswith("uint") else 0,
        photometric="rgb" if kind in _COLOURS else "grayscale",
        is_inverted=is_inverted,
        pages=int(dataset.get("NumberOfFrames") or 1),
        nodata=None if nodata is None else float(nodata),
        scale=slope,
        offset=intercept,
    )


def _get_range(dataset: Any) -> tuple[int, int]:
    """Return the least and the greatest value that a file can store."""
    bits = int(dataset.BitsStored)
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if int(dataset.PixelRepresentation) else (0, 2**bits - 1)
