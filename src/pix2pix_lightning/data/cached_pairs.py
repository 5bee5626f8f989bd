"""The files of a cache: prepared pairs in memory maps, of which parts can be read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Self

import numpy as np

from pix2pix_lightning.data.files.window import Window
from pix2pix_lightning.data.pairs import Image
from pix2pix_lightning.data.sides.ranges import DTYPES
from pix2pix_lightning.utils.errors import UserError

_INDEX = "pairs.json"
_DAMAGES = (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError, FileNotFoundError)


class ImageForm(NamedTuple):
    """What all images of a side have in common.

    Attributes:
        dtype: NumPy's name of their type.
        channels: Number of their channels.
    """

    dtype: str
    channels: int


class CachedPairs:
    """Read prepared pairs from a folder that ``CacheWriter`` wrote.

    The folder holds ``a.bin`` and ``b.bin``, and ``mask.bin`` where pairs have masks: the images of a side one after
    the other, (height, width, channels), with nothing in between. ``pairs.json`` has names, heights and widths of the
    pairs, and type and channels of the sides.

    The maps are open from the beginning, so that they outlive their files. A loader process that was not forked opens
    them again. Images are views of the maps, so that a part of one is read without the rest, and cannot be written to.

    Args:
        folder: The cache's folder.

    Attributes:
        names: Names of the pairs.
        unreadable: Why a pair could not be read when the cache was built, by its number.

    Raises:
        UserError: A file of it is damaged or missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
            self.names: list[str] = index["names"]
            self.unreadable = {int(number): str(reason) for number, reason in index["unreadable"].items()}
            heights, widths = (np.array(index[key], np.int64) for key in ("heights", "widths"))
            ends = (heights * widths).cumsum()
            # where the pixels of each pair begin and end, and their rows and columns
            self._places = np.stack([ends - heights * widths, ends, heights, widths], 1)
            maps = {side: _open_map(folder, side, ImageForm(*form)) for side, form in index["sides"].items()}
            self._a, self._b, self._mask = maps["a"], maps["b"], maps.get("mask")
            lengths = {len(self.names) == len(ends), *(len(pixels) == ends[-1] for pixels in maps.values())}
            if lengths != {True} or self._places.min() < 0 or not all(isinstance(name, str) for name in self.names):
                raise ValueError("its files do not fit each other")
        except _DAMAGES as error:
            raise UserError(f"the cache {folder} is damaged: {error}") from None

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Image, Image, str]:
        """Return A, B and the name of pair ``index``; images are (H, W, C).

        Raises:
            UserError: The pair could not be read when the cache was built.
        """
        if index in self.unreadable:
            raise UserError(self.unreadable[index])
        begin, end, height, width = self._places[index].tolist()
        a, b = self._a[begin:end].reshape(height, width, -1), self._b[begin:end].reshape(height, width, -1)
        return a, b, self.names[index]

    def read_mask(self, index: int, size: tuple[int, int], window: Window | None = None) -> Image:
        """Return where a pair counts, as ``PreparedPairs.read_mask`` does.

        Args:
            index: Number of the pair.
            size: Height and width of the pair in pixels.
            window: The part of it that is wanted; by default all.

        Returns:
            (H, W, 1) uint8 of 0 and 1.
        """
        assert self._mask is not None
        begin, end, *_ = self._places[index].tolist()
        mask = self._mask[begin:end].reshape(*size, 1)
        return mask if window is None else mask[window.slices]

    def __reduce__(self) -> tuple[type, tuple[Path]]:
        """Pickle the folder alone; the maps would be copied as arrays."""
        return CachedPairs, (self.folder,)


class CacheWriter:
    """Write pairs one by one to files as ``CachedPairs`` reads them.

    Args:
        folder: An empty folder.
        forms: What the images of each side have in common, by ``a``, ``b`` and, where pairs have masks, ``mask``.

    Attributes:
        unreadable: Why a pair was left out, by its number.
    """

    def __init__(self, folder: Path, forms: Mapping[str, ImageForm]) -> None:
        self.unreadable: dict[int, str] = {}
        self._folder = folder
        self._forms = forms
        self._names: list[str] = []
        self._sizes: list[tuple[int, int]] = []
        self._files: list[BinaryIO] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Open the files."""
        paths = [_build_path(self._folder, side) for side in self._forms]
        self._files = [self._stack.enter_context(path.open("xb")) for path in paths]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Close the files."""
        self._stack.__exit__(kind, error, tb)

    def add(self, name: str, images: Sequence[Image]) -> None:
        """Append a pair.

        Args:
            name: Name of the pair.
            images: (H, W, C) of one size, of A, of B and, where pairs have masks, of the mask.

        Raises:
            UserError: They differ in size, or in type or channels from those of other pairs.
        """
        for image, (side, form) in zip(images, self._forms.items(), strict=True):
            if image.shape[:2] != images[0].shape[:2] or get_form(image) != form:
                raise UserError(
                    f"pair {name}: {side} is {image.shape} of type {image.dtype}, and not "
                    f"{(*images[0].shape[:2], form.channels)} of type {form.dtype}: a cache takes pairs of one kind"
                )
        for image, file in zip(images, self._files, strict=True):
            file.write(np.ascontiguousarray(image).data)
        self._names.append(name)
        self._sizes.append(images[0].shape[:2])

    def add_unreadable(self, reason: str) -> None:
        """Append an empty pair in the place of one that cannot be read.

        Args:
            reason: Why it cannot be read.
        """
        self.unreadable[len(self._names)] = reason
        self._names.append("")
        self._sizes.append((0, 0))

    def finish(self, settings: Mapping[str, Any]) -> None:
        """Write the index, and wait until all is on the disk.

        Args:
            settings: What else the index tells, as JSON values.
        """
        heights, widths = zip(*self._sizes, strict=True)
        index = {"sides": self._forms, "names": self._names, "heights": heights, "widths": widths}
        content = json.dumps({**settings, **index, "unreadable": self.unreadable})
        self._files.append(self._stack.enter_context((self._folder / _INDEX).open("xb")))
        self._files[-1].write(content.encode("ascii"))  # names of files need not be UTF-8
        for file in self._files:
            file.flush()
            os.fsync(file.fileno())


def get_form(image: Image) -> ImageForm:
    """Return what an image (H, W, C) has in common with others of its side."""
    return ImageForm(image.dtype.name, image.shape[2])


def _build_path(folder: Path, side: str) -> Path:
    return folder / f"{side}.bin"


def _open_map(folder: Path, side: str, form: ImageForm) -> Image:
    """Open the file of a side as an array (pixels, channels)."""
    if form.dtype not in DTYPES:
        raise ValueError(f"its images of {side} are of type {form.dtype}")
    return np.asarray(np.memmap(_build_path(folder, side), form.dtype, "r")).reshape(-1, form.channels)
