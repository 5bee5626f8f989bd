"""Read the files that a model translates: whole pictures, or the source's half of strips of A and B."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from pix2pix_lightning.data.files.file_image import FileImage
from pix2pix_lightning.data.files.image_files import open_image
from pix2pix_lightning.data.files.stacking import stack_images
from pix2pix_lightning.data.files.volumes import is_volume, list_slices, open_slice
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.strips import is_strip_shape, split_strip
from pix2pix_lightning.utils.checks import check_choice
from pix2pix_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from pix2pix_lightning.data.files.formats.geotiff import Georeference

Array = npt.NDArray[Any]
Source = Path | tuple[Path, ...]
"""A file, or several whose channels are put together."""
HALVES = ("auto", "source", "left", "right", "off")
_log = logging.getLogger(__name__)


def list_files(source: Source) -> tuple[Path, ...]:
    """Return the files of a source."""
    return (source,) if isinstance(source, Path) else source


def format_source(source: Source) -> str:
    """Return the paths of a source's files, for a message."""
    return " + ".join(map(str, list_files(source)))


def has_volumes(source: Source) -> bool:
    """Return whether a source is read slice by slice."""
    return any(map(is_volume, list_files(source)))


class SourceReader:
    """Read files as the source of a model takes them.

    Args:
        spec: What the model's images mean.
        half: Which half of a file is read: ``left``; ``right``; ``source``, the one that was the source in training
            (with ``direction=b_to_a`` the right one); ``off`` for the whole picture. ``auto`` is ``source`` for a file
            that looks like the training's strips: of their size or, where that varied, twice as wide as high.
        max_pixels: Greatest number of pixels of a file; None for any number.
        is_logged: Whether a line in the log says what ``auto`` does with the first file that could be a strip.

    Attributes:
        half: The argument.
        num_halves: Number of files of which a half was read.
        note: What ``auto`` did with the last file that could be a strip, or None.

    Raises:
        UserError: ``half`` is unknown.
    """

    def __init__(
        self, spec: PairSpec, *, half: str = "auto", max_pixels: int | None = None, is_logged: bool = True
    ) -> None:
        check_choice("half", half, HALVES)
        self.spec = spec
        self.half = half
        self.max_pixels = max_pixels
        self.num_halves = 0
        self.note: str | None = None
        self.is_logged = is_logged
        self._logged: set[str] = set()

    @property
    def side(self) -> str:
        """The half that is read where one is: ``left`` or ``right``."""
        if self.half in ("left", "right"):
            return self.half
        return "left" if self.spec.direction == "a_to_b" else "right"

    @property
    def _letter(self) -> str:
        return "A" if self.side == "left" else "B"

    def read(self, source: Source) -> Array:
        """Read a file, or several whose channels are put together as in a training by a manifest.

        Args:
            source: The file or files.

        Returns:
            (H, W, C) in the type of the source's files: RGB, over the source's background where it was transparent,
            levels, class numbers or other values.

        Raises:
            UserError: A file is not an image, or too large; or the source refuses what it holds; or it cannot be
                halved; or several cannot be put together.
            OSError: A file cannot be read.
        """
        return self.read_georeferenced(source)[0]

    def read_georeferenced(self, source: Source) -> tuple[Array, Georeference | None]:
        """Read files as `read` does, and where the pixels, or those of a half, lie on the ground, if a file says so."""
        has_numbers = self.spec.source.has_class_numbers
        image = stack_images(
            [open_image(path, max_pixels=self.max_pixels, has_numbers=has_numbers) for path in list_files(source)]
        )
        image = self._take_half(image, source)
        return self._convert(image, source), image.georeference

    def list_slices(self, source: Source) -> range:
        """List the slices of a volume, or of several whose channels are put together, across the training's axis.

        Args:
            source: The volume or volumes.

        Returns:
            Their numbers, which `read_slice` takes.

        Raises:
            UserError: A file is no volume, or they differ in their number of slices.
        """
        axis = self.spec.slice_axis
        slices = [list_slices(path, axis) for path in list_files(source)]
        if len(set(slices)) > 1:
            counts = ", ".join(str(len(own)) for own in slices)
            raise UserError(
                f"{format_source(source)} differ in their number of slices across axis {axis}, {counts}: resample them "
                "to one grid"
            )
        return slices[0]

    def read_slice(self, source: Source, index: int) -> Array:
        """Read a slice of a volume, or of several, with its neighbours as the training had them.

        Args:
            source: The volume or volumes.
            index: Number of the slice.

        Returns:
            What `read` returns.

        Raises:
            UserError: As `read` raises it.
        """
        axis, neighbours = self.spec.slice_axis, self.spec.neighbours
        images = [
            open_slice(path, index, axis=axis, neighbours=neighbours, max_pixels=self.max_pixels)
            for path in list_files(source)
        ]
        return self._convert(stack_images(images), source)

    def convert(self, image: FileImage, path: Path) -> Array:
        """Convert what a file holds, or its half, to what the source takes.

        Args:
            image: The content of the file, or a frame of a video.
            path: The file, for messages.

        Returns:
            What `read` returns.

        Raises:
            UserError: The source refuses what it holds, or it cannot be halved.
        """
        return self._convert(self._take_half(image, path), path)

    def _convert(self, image: FileImage, source: Source) -> Array:
        if self.is_logged and self.note and self.note not in self._logged:
            self._logged.add(self.note)
            _log.warning("%s %s", format_source(source), self.note)
        try:
            return self.spec.source.read(image)
        except UserError as error:
            raise UserError(f"{format_source(source)}: {error}") from None

    def format_halves(self) -> str:
        """Return which half was read of how many files, for a message; an empty text for none."""
        if not self.num_halves:
            return ""
        return f"the {self.side} half, {self._letter}, of {self.num_halves} strip{'s' if self.num_halves > 1 else ''}"

    def _take_half(self, image: FileImage, source: Source) -> FileImage:
        height, width = image.pixels.shape[:2]
        if self.half == "off" or (self.half == "auto" and not self._is_strip(width, height)):
            return image
        if width % 2:
            name = format_source(source)
            raise UserError(f"{name} is {width} pixels wide, and half={self.half} needs an even width: set half=off")
        self.num_halves += 1
        return split_strip(image, list_files(source)[0])[0 if self.side == "left" else 1]

    def _is_strip(self, width: int, height: int) -> bool:
        """Return whether a file is taken for a strip, and note why."""
        strips = self.spec.strips
        has_size_of_training = strips == (width, height)
        if strips is False or width % 2 or not (has_size_of_training or is_strip_shape(width, height)):
            self.note = None
            if strips is True and width > height and not width % 2:  # strips of several shapes are possible
                self.note = (
                    "is not twice as wide as high: it is translated as one picture; set half=source if it is a strip "
                    "of A and B side by side"
                )
            return False
        if strips is True or has_size_of_training:
            self.note = (
                f"is a strip like those of the training: its {self.side} half, {self._letter}, is translated; half=off "
                "translates whole pictures"
            )
            return True
        size = "" if strips is None else f", and the strips of the training had {strips[0]} x {strips[1]} pixels"
        self.note = (
            f"is twice as wide as high{size}: it is translated as one picture; set half=source if it is a strip of A "
            "and B side by side"
        )
        return False
