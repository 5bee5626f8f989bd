"""What a file's header says about its pixels, and the errors of damaged files."""

from __future__ import annotations

from dataclasses import dataclass

from pix2pix_lightning.data.files.formats.tiff_header import TiffDirectory

COLOUR_SPACES = ("grayscale", "rgb", "palette")
PIXEL_TYPES = {
    "bool": "uint8",
    "uint8": "uint8",
    "int8": "int16",
    "uint16": "uint16",
    "int16": "int16",
    "float16": "float16",
    "float32": "float32",
    "uint32": "float32",
    "int32": "float32",
    "uint64": "float32",
    "int64": "float32",
    "float64": "float32",
}
"""The type that pixels have once they are read, by the type that they are stored in."""


@dataclass(frozen=True, kw_only=True)
class ImageHeader:
    """What an image file says about its pixels.

    Attributes:
        format: ``png``, ``jpeg``, ``tiff``, ``webp``, ``bmp``, ``ppm`` (any of the portable anymaps), ``npy``, ``npz``,
            ``nifti`` or ``dicom``.
        width: Width in pixels as stored.
        height: Height in pixels as stored.
        channels: Samples of a pixel as stored, alpha included. A palette's number is one sample.
        dtype: NumPy's name of a sample's type as stored; ``uint8`` also for 1, 2 and 4 bits.
        bits: Bits of a sample.
        max_level: Greatest level of an unsigned sample, such as 15 for 4 bits; 0 for others.
        photometric: ``grayscale``, ``rgb``, ``palette``, ``cmyk``, ``bands`` (channels without a known meaning), or the
            name of another colour space.
        has_alpha: Whether the file has transparency: an alpha channel, or a transparent colour.
        is_premultiplied: Whether colours are stored multiplied by alpha.
        is_inverted: Whether 0 is white.
        pages: Number of pictures: pages of a TIFF, frames of an animation, slices of a volume. Previews do not count.
        orientation: EXIF's number, 1 to 8; from 5 on, width and height are exchanged.
        nodata: Value of pixels without a value, as stored. NaN always means none and is not named.
        scale: Factor from a stored value to a physical one.
        offset: Physical value of a stored 0.
        directory: The first page's fields, for a TIFF.
        end: Size in bytes that the file has at least, as far as its header tells.
    """

    format: str
    width: int
    height: int
    channels: int
    dtype: str = "uint8"
    bits: int = 8
    max_level: int = 255
    photometric: str
    has_alpha: bool = False
    is_premultiplied: bool = False
    is_inverted: bool = False
    pages: int = 1
    orientation: int = 1
    nodata: float | None = None
    scale: float = 1.0
    offset: float = 0.0
    directory: TiffDirectory | None = None
    end: int = 0

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height in pixels after the orientation is applied."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)

    @property
    def pixel_dtype(self) -> str:
        """NumPy's name of the type that the pixels have once they are read; the stored one where it is not read."""
        return PIXEL_TYPES.get(self.dtype, self.dtype)

    @property
    def is_colour(self) -> bool:
        """Whether the channels are gray levels or colours, and not bands of unknown meaning."""
        return self.photometric in COLOUR_SPACES

    @property
    def pixel_channels(self) -> int:
        """Number of channels that the pixels have once they are read: without alpha, with a palette's colours."""
        if not self.is_colour:
            return self.channels
        return 1 if self.photometric == "grayscale" else 3


class DamagedHeaderError(Exception):
    """A header contradicts itself."""


class TruncatedHeaderError(Exception):
    """A header ends early."""


class DamagedPixelsError(Exception):
    """The pixels of a file contradict its header, or end early."""
