"""RawSide: any number of channels of any type, such as bands of a satellite, a CT slice or a depth map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pix2pix_lightning.data.sides.ranges import (
    DTYPES,
    Range,
    is_finite_number,
    list_ranges,
    parse_nodata,
    parse_raw_range,
    to_channels,
)
from pix2pix_lightning.data.sides.side import Array, Side
from pix2pix_lightning.utils.checks import check_choice, check_counts
from pix2pix_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from pix2pix_lightning.data.files.file_image import FileImage
    from pix2pix_lightning.data.files.image_header import ImageHeader

_MAX_CHANNELS = 4096


@dataclass(frozen=True, kw_only=True)
class RawSide(Side):
    """Describe a side of values that are no 8-bit picture: what a file holds is converted by a range, and by no more.

    Values beyond the range become its nearest bound. NaN, and ``nodata``, mark pixels without a value: a network sees
    ``fill`` there, they do not count in losses and metrics, and an output has none where its source has none in any
    channel.

    Args:
        interpolation: As in ``Side``; by default ``bicubic``.
        num_channels: Number of channels of a file.
        dtype: Type of a file's values: ``uint8``, ``uint16``, ``int16``, ``float16`` or ``float32``.
        value_range: Values that become -1 and 1: a pair for all channels, or a list of pairs, one for each channel;
            ``auto`` is all that an integer type holds. A data module also takes percentiles of its training pairs,
            ``["p0.5", "p99.5"]``, or those of each channel, ``[["p0.5", "p99.5"]]``, and by default the least and the
            greatest value of floats, and of int16 that it has recognised.
        nodata: Value of pixels without a value. None: NaN alone.
        scale: Factor from a stored value to a physical one, as GeoTIFF and DICOM files have it; a file with another
            is refused. Files of floats are converted to physical values, without scale and offset.
        offset: Physical value of a stored 0.
        fill: What a network sees where there is no value, from -1 to 1; 0 is the middle of the range.

    Raises:
        UserError: A value is out of range.

    Example:
        >>> side = RawSide(num_channels=5, dtype="uint16", nodata=0)
        >>> side.value_range
        (0.0, 65535.0)
        >>> RawSide(num_channels=2, dtype="float32", value_range=[[-25, 5], [0, 1]]).ranges
        ((-25.0, 5.0), (0.0, 1.0))
    """

    kind: ClassVar[str] = "raw"
    num_channels: int = 1
    dtype: str = "uint16"
    value_range: tuple[float, float] | tuple[Range, ...] = cast(
        "Range", None
    )  # that of the type, where it is not given
    nodata: float | None = None
    scale: float = 1.0
    offset: float = 0.0
    fill: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(num_channels=self.num_channels, at_most=_MAX_CHANNELS)
        check_choice("dtype", self.dtype, DTYPES)
        object.__setattr__(self, "num_channels", int(self.num_channels))
        object.__setattr__(self, "value_range", parse_raw_range(self.value_range, self.dtype, self.num_channels))
        object.__setattr__(self, "nodata", parse_nodata(self.nodata, self.dtype))
        for name in ("scale", "offset"):
            value = getattr(self, name)
            if not is_finite_number(value) or value == (0 if name == "scale" else None):
                raise UserError(f"{name}={value}: a number is expected, which for scale is not 0")
            if self.is_float and value != (1 if name == "scale" else 0):
                raise UserError(f"{name}={value} of {self.dtype}, whose values are physical ones: leave it out")
        if not (is_finite_number(self.fill) and -1 <= self.fill <= 1):
            raise UserError(f"fill={self.fill}: a number from -1 to 1 is expected, where 0 is the middle of the range")

    @property
    def channels(self) -> int:
        """Number of channels that a network sees."""
        return self.num_channels

    @property
    def file_channels(self) -> int:
        """Number of channels of a file."""
        return self.num_channels

    @property
    def batch_channels(self) -> int:
        """Number of channels that a batch carries."""
        return self.num_channels

    @property
    def ranges(self) -> tuple[Range, ...]:
        """Values of a file that become -1 and 1: one pair for all channels, or one for each."""
        return list_ranges(self.value_range)

    @property
    def has_missing(self) -> bool:
        """Whether a pixel may have no value."""
        return self.nodata is not None or self.is_float

    @property
    def is_float(self) -> bool:
        """Whether files hold floats."""
        return self.dtype.startswith("float")

    def read(self, image: FileImage) -> Array:
        """Take the values of a file.

        Args:
            image: What the file holds.

        Returns:
            (H, W, num_channels) in this side's type, ``nodata`` or NaN where there is no value.

        Raises:
            UserError: The file has another type, number of channels, scale or value for none, or transparent pixels.
        """
        if image.has_clear_pixels:
            raise UserError(
                "transparent pixels (alpha) in a side of kind raw: save the file without alpha, and mark pixels "
                "without a value by nodata="
            )
        pixels = image.pixels if image.palette is None else image.palette[image.pixels[..., 0]]
        missing = None if image.nodata is None or image.nodata == self.nodata else pixels == image.nodata
        if (image.scale, image.offset) != (self.scale, self.offset):
            if not self.is_float:
                raise UserError(
                    f"values of scale {image.scale:g} and offset {image.offset:g} in a side of scale={self.scale:g} "
                    f"offset={self.offset:g}: set these, or dtype=float32 for physical values, which all files share"
                )
            pixels = (pixels * np.float32(image.scale) + np.float32(image.offset)).astype(np.float32)
        elif self.dtype == "float32" and pixels.dtype in (np.uint16, np.int16):  # of a scale of 1
            pixels = pixels.astype(np.float32)
        if missing is None or not missing.any():
            return self.prepare(pixels)
        if not self.has_missing:
            raise UserError(f"pixels without a value, nodata={image.nodata:g} in the file: set nodata={image.nodata:g}")
        return self.prepare(
            np.where(missing, pixels.dtype.type(np.nan if self.nodata is None else self.nodata), pixels)
        )

    def find_misfit(self, header: ImageHeader) -> str | None:
        """Say why a file does not fit, as far as its header tells."""
        is_fit = header.pixel_dtype == self.dtype or (self.dtype == "float32" and header.pixel_dtype != "uint8")
        if header.pixel_channels == self.num_channels and is_fit:
            return None
        found = _format_content(header.pixel_channels, header.pixel_dtype)
        return f"{found}, {_format_content(self.num_channels, self.dtype)} expected by its side"

    def prepare(self, image: Array) -> Array:
        """Check that an image has this side's type and channels.

        Args:
            image: (H, W, num_channels).

        Returns:
            The same values; float16 as float32 if this is the side's type.

        Raises:
            UserError: It has another type or another number of channels.
        """
        is_narrow = image.dtype == np.float16 and self.dtype == "float32"
        if image.shape[2] != self.num_channels or not (image.dtype == self.dtype or is_narrow):
            raise UserError(
                f"{_format_content(image.shape[2], str(image.dtype))} in a side of "
                f"{_format_content(self.num_channels, self.dtype)}: set num_channels={image.shape[2]} "
                f"dtype={image.dtype} if all files are like this one, or convert it"
            )
        return image.astype(self.dtype, copy=False)

    def encode(self, values: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Convert images from what a batch carries to what a network sees.

        Args:
            values: (B, num_channels, H, W) in the files' type. For a type of integers, floats are taken as what a
                network sees already.
            dtype: Type of the result.

        Returns:
            (B, num_channels, H, W) floats in [-1, 1], NaN where there is no value.
        """
        if values.is_floating_point() and not self.is_float:
            return values.to(dtype)
        floats = values.to(torch.promote_types(dtype, torch.float32))
        middle = to_channels([(low + high) / 2 for low, high in self.ranges], floats)
        factor = to_channels([2 / (high - low) for low, high in self.ranges], floats)
        # from the middle, so that a range of equal parts below and above 0 keeps all bits of floats
        encoded: Tensor = (floats - middle).mul_(factor).clamp_(-1, 1)
        if self.nodata is not None:
            encoded.masked_fill_(floats == self.nodata, torch.nan)
        return encoded.to(dtype)

    def decode(
        self, output: Tensor, source: Tensor | None = None, *, is_output: bool = False, rounding: str = "nearest"
    ) -> Tensor:
        """Convert images from what a network sees or returns to what a file of this side holds.

        Args:
            output: (B, num_channels, H, W) floats in [-1, 1]; values outside are clamped. NaN becomes ``nodata``.
            source: The generator's input as ``encode`` returns it: where it is NaN in all channels, and this side can
                say so, the result has no value.
            is_output: Not used.
            rounding: ``nearest``, or ``floor`` to cut fractions off; of no effect for floats.

        Returns:
            (B, num_channels, H, W) in the files' type. A value that would be read as ``nodata`` is one level beside it.
        """
        floats = output.to(torch.promote_types(output.dtype, torch.float32))
        half = to_channels([(high - low) / 2 for low, high in self.ranges], floats)
        middle = to_channels([(low + high) / 2 for low, high in self.ranges], floats)
        lowest, highest = (to_channels(bounds, floats) for bounds in zip(*self.ranges, strict=True))
        values = (floats * half + middle).clamp(lowest, highest)
        missing = torch.isnan(floats)
        if source is not None and self.has_missing:
            missing = missing | torch.isnan(source).all(1, keepdim=True)
        if self.is_float:
            nodata = torch.nan if self.nodata is None else self.nodata
        else:
            values = values.floor() if rounding == "floor" else values.round()
            nodata = lowest if self.nodata is None else self.nodata
            if self.nodata is not None:
                beside = [self.nodata + (1 if self.nodata < high else -1) for _, high in self.ranges]
                values = torch.where(values == nodata, to_channels(beside, floats), values)
        return torch.where(missing, nodata, values).to(getattr(torch, self.dtype))

    def fill_missing(self, values: Tensor) -> Tensor:
        """Return images (B, num_channels, H, W) of ``encode`` with ``fill`` in place of NaN."""
        return torch.where(torch.isnan(values), self.fill, values) if self.has_missing else values

    def find_missing(self, values: Tensor) -> Tensor | None:
        """Return which pixels of images of ``encode`` have no value in any channel; None where all have one."""
        return torch.isnan(values).all(1, keepdim=True) if self.has_missing else None

    def find_ignored(self, values: Tensor) -> Tensor | None:
        """Return which pixels of images of ``encode`` lack the value of a channel; None where none does."""
        return torch.isnan(values).any(1, keepdim=True) if self.has_missing else None

    def preview(self, values: Tensor) -> npt.NDArray[np.uint8]:
        """Convert one image of ``decode`` to a picture for people.

        Args:
            values: (num_channels, H, W) in the files' type.

        Returns:
            (H, W, 3) uint8 of the first three channels, or (H, W, 1) of the mean of fewer; black and white are the
            bounds of the range, for each channel of its own, and pixels without a value are as a network sees them.
        """
        seen = self.fill_missing(self.encode(values[None]))[0]
        shown = seen[:3] if self.num_channels >= 3 else seen.mean(0, keepdim=True)
        levels = ((shown + 1) * 127.5).round().clamp(0, 255)
        picture: npt.NDArray[np.uint8] = levels.permute(1, 2, 0).to("cpu", torch.uint8).numpy()
        return picture


def _format_content(num_channels: int, dtype: str) -> str:
    return f"{num_channels} channel{'s' if num_channels > 1 else ''} of {dtype}"
