"""Side: what the pixels of one side of a pair mean, and the only conversions between files and networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pix2pix_lightning.data.resize import INTERPOLATIONS, resize
from pix2pix_lightning.data.sides.ranges import Range, to_channels
from pix2pix_lightning.data.sides.values import Palette, to_plain
from pix2pix_lightning.utils.checks import check_choice

if TYPE_CHECKING:
    from pix2pix_lightning.data.files.file_image import FileImage
    from pix2pix_lightning.data.files.image_header import ImageHeader

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Side(ABC):
    """Describe one side of a pair, as plain data that is saved with a checkpoint.

    Pixels pass through four forms: what a file holds (``FileImage``), what a batch carries (``read``, ``prepare`` and
    ``resize``: an array in the files' own type, cheap to move), what a network sees (``encode``: floats in [-1, 1]),
    and again what a file holds (``decode``).

    Args:
        interpolation: How to resize this side: ``bicubic``, ``bilinear`` or ``nearest``. The default depends on the
            kind.

    Attributes:
        kind: Name of the kind, by which ``build_side`` finds the class.
        has_class_numbers: Whether files hold class numbers, which cannot be mixed.
    """

    kind: ClassVar[str]
    interpolation: str | None = None

    def __post_init__(self) -> None:
        if self.interpolation is None:
            object.__setattr__(self, "interpolation", self._default_interpolation)
        check_choice("interpolation", self.interpolation, INTERPOLATIONS)

    @property
    def _default_interpolation(self) -> str:
        return "bicubic"

    @property
    @abstractmethod
    def channels(self) -> int:
        """Number of channels that a network sees."""

    @property
    @abstractmethod
    def file_channels(self) -> int:
        """Number of channels of a file, as ``decode`` returns them."""

    @property
    @abstractmethod
    def batch_channels(self) -> int:
        """Number of channels that a batch carries."""

    @property
    def dtype(self) -> str:
        """Type of the files' values, a name of NumPy's."""
        return "uint8"

    @property
    def ranges(self) -> tuple[Range, ...]:
        """Values of a file that become -1 and 1: one pair for all channels, or one for each."""
        return ((0.0, 255.0),)

    @property
    def palette(self) -> Palette | None:
        """RGB colours, where files hold them alone."""
        return None

    @property
    def nodata(self) -> float | None:
        """Value of pixels without a value, in a file; NaN is always one."""
        return None

    @property
    def scale(self) -> float:
        """Factor from a file's value to a physical one."""
        return 1.0

    @property
    def offset(self) -> float:
        """Physical value of a file's 0."""
        return 0.0

    @property
    def needs_tags(self) -> bool:
        """Whether a file has to say more than its pixels: a value for none, or a scale or offset, as a TIFF does."""
        return (self.nodata, self.scale, self.offset) != (None, 1, 0)

    @property
    def ignore_index(self) -> int | None:
        """Class number of pixels without a class."""
        return None

    @property
    def has_class_numbers(self) -> bool:
        """Whether files hold class numbers, and not colours."""
        return False

    @property
    def is_exact(self) -> bool:
        """Whether values stand for classes, so that formats such as JPEG, which change them, are no use."""
        return self.palette is not None or self.has_class_numbers

    @abstractmethod
    def read(self, image: FileImage) -> Array:
        """Take from a file what ``prepare`` converts.

        Args:
            image: What the file holds.

        Returns:
            (H, W, C), in the file's type.

        Raises:
            UserError: The file holds what this side does not take.
        """

    def find_misfit(self, header: ImageHeader) -> str | None:
        """Say why a file does not fit, as far as its header tells.

        Args:
            header: The file's header.

        Returns:
            What it holds and what is expected, or None where it fits.
        """
        return None

    @abstractmethod
    def prepare(self, image: Array) -> Array:
        """Convert an image from what ``read`` returns to what a batch carries.

        Args:
            image: (H, W, C).

        Returns:
            (H, W, batch_channels), in the type of a batch.

        Raises:
            UserError: A value has no meaning for this side.
        """

    def prepare_and_resize(self, image: Array, height: int, width: int) -> Array:
        """Convert an image as ``prepare`` does, and resize it with this side's interpolation.

        Args:
            image: (H, W, C), as ``read`` returns it.
            height: Height of the result in pixels.
            width: Width of the result in pixels.

        Returns:
            (height, width, batch_channels).

        Raises:
            UserError: The same as ``prepare``.
        """
        assert self.interpolation is not None
        if self.interpolation == "nearest":  # it picks pixels, so that few pixels of a large image are converted
            return self.prepare(resize(image, height, width, "nearest"))
        return resize(self.prepare(image), height, width, self.interpolation, nodata=self.nodata)

    @abstractmethod
    def encode(self, values: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Convert images from what a batch carries to what a network sees.

        Args:
            values: (B, batch_channels, H, W).
            dtype: Type of the result.

        Returns:
            (B, channels, H, W) floats in [-1, 1]; NaN where a pixel has no value, until ``fill_missing``.
        """

    def encode_file(self, values: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Convert images from what a file holds to what a network sees.

        This is ``prepare`` and ``encode`` without the checks of a file, in operators that ``torch.export`` and ONNX
        have.

        Args:
            values: (B, file_channels, H, W), in the type of the files.
            dtype: Type of the result.

        Returns:
            (B, channels, H, W) floats in [-1, 1].
        """
        return self.encode(values, dtype)

    @abstractmethod
    def decode(
        self, output: Tensor, source: Tensor | None = None, *, is_output: bool = False, rounding: str = "nearest"
    ) -> Tensor:
        """Convert images from what a network sees or returns to what a file of this side holds.

        Args:
            output: (B, channels, H, W) floats in [-1, 1]; values outside are clamped.
            source: The generator's input as ``encode`` returned it, for kinds that are completed from it, and for
                pixels without a value.
            is_output: Whether a generator returned them.
            rounding: ``nearest``, or ``floor`` to cut fractions off, as junyanz does.

        Returns:
            (B, file_channels, H, W) in the type and range of the files.
        """

    def fill_missing(self, values: Tensor) -> Tensor:
        """Return images as a network sees them.

        Args:
            values: (B, channels, H, W), as ``encode`` returns them: NaN where there is no value.

        Returns:
            (B, channels, H, W) without NaN.
        """
        return values

    def find_missing(self, values: Tensor) -> Tensor | None:
        """Find the pixels that have no value.

        Args:
            values: (B, channels, H, W), as ``encode`` returns them.

        Returns:
            (B, 1, H, W), True where no channel has a value; None where all have one.
        """
        return None

    def find_ignored(self, values: Tensor) -> Tensor | None:
        """Find the pixels that do not count.

        Args:
            values: (B, channels, H, W), as ``encode`` returns them.

        Returns:
            (B, 1, H, W), True where a pixel does not count; None where all count.
        """
        return None

    def to_fractions(self, values: Tensor) -> Tensor:
        """Convert images of ``decode`` to fractions of the range of each channel.

        Args:
            values: (B, file_channels, H, W), in the type of the files.

        Returns:
            (B, file_channels, H, W) in [0, 1], float64; float32 where the device has no float64.
        """
        values = values.to(torch.float32 if values.device.type == "mps" else torch.float64)
        low, high = (to_channels(bounds, values) for bounds in zip(*self.ranges, strict=True))
        fractions: Tensor = (values - low) / (high - low)
        return fractions

    @abstractmethod
    def preview(self, values: Tensor) -> npt.NDArray[np.uint8]:
        """Convert one image of ``decode`` to a picture for people.

        Args:
            values: (file_channels, H, W), in the type of the files.

        Returns:
            (H, W, 1) or (H, W, 3) uint8.
        """

    def to_dict(self) -> dict[str, Any]:
        """Return the description as plain data: the kind and the arguments."""
        return {"kind": self.kind, **{field.name: to_plain(getattr(self, field.name)) for field in fields(self)}}
