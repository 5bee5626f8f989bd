"""SlicePath: a slice of a volume as a file of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pix2pix_lightning.data.files.file_image import FileImage
from pix2pix_lightning.data.files.volumes import open_slice, read_slice_header
from pix2pix_lightning.data.stores.stored_path import AnyPath

if TYPE_CHECKING:
    from pix2pix_lightning.data.files.image_header import ImageHeader
    from pix2pix_lightning.data.files.window import Window


@dataclass(frozen=True)
class SlicePath:
    """The place of a slice in a volume, with those methods of ``pathlib.Path`` that pairs need.

    Args:
        volume: A NIfTI file.
        index: Number of the slice.
        axis: The axis across the slices: 0, 1 or 2.
        neighbours: Number of slices on each side that are channels too.
    """

    volume: Path
    index: int
    axis: int = 2
    neighbours: int = 0

    def __str__(self) -> str:
        around = f" with {self.neighbours} on each side" if self.neighbours else ""
        return f"{self.volume}, slice {self.index} across axis {self.axis}{around}"

    @property
    def within(self) -> str:
        """What tells this slice from others, in a fingerprint."""
        return str(self)

    @property
    def name(self) -> str:
        """Name of the volume's file."""
        return self.volume.name

    @property
    def parent(self) -> Path:
        """Folder of the volume."""
        return self.volume.parent

    def read_image(self, window: Window | None = None) -> FileImage:
        """Read the slice with its neighbours.

        Args:
            window: The part that is wanted; by default all.

        Returns:
            The slice, of 1 + 2 ``neighbours`` channels.

        Raises:
            UserError: As ``open_slice`` does.
        """
        return open_slice(self.volume, self.index, axis=self.axis, neighbours=self.neighbours, window=window)

    def read_header(self) -> ImageHeader:
        """Read the header of the slice as that of one picture; that of the volume is read once for all of them.

        Returns:
            The header.

        Raises:
            UserError: As ``read_slice_header`` does.
        """
        channels = 1 + 2 * self.neighbours
        header = _read_header(self.volume, self.axis, *self.get_status())
        return replace(header, pages=1, channels=channels, photometric="grayscale" if channels == 1 else "bands")

    def read_bytes(self) -> bytes:
        """Return the values of the slice as bytes."""
        return self.read_image().pixels.tobytes()

    def open(self) -> BinaryIO:
        """Open the volume's file."""
        return self.volume.open("rb")

    def get_status(self) -> tuple[int, int]:
        """Return the size of the volume's file in bytes, and its time of change in nanoseconds; -1 and -1 for none."""
        try:
            status = self.volume.stat()
        except OSError:
            return -1, -1
        return status.st_size, status.st_mtime_ns


AnyFile = AnyPath | SlicePath
"""What pairs are read from."""


@lru_cache(maxsize=4096)
def _read_header(volume: Path, axis: int, size: int, time: int) -> ImageHeader:
    """Read the header of a file of this size and time."""
    return read_slice_header(volume, axis)
