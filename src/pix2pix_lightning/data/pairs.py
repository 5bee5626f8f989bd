"""Pairs that come from files: side-by-side strips, or files of A and of B."""

from __future__ import annotations

import io
from collections.abc import Sequence
from copy import copy
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.files.file_image import FileImage
from pix2pix_lightning.data.files.image_files import FORMATS_IN_PARTS, decode_image, open_image
from pix2pix_lightning.data.files.image_header import ImageHeader, parse_header, read_header
from pix2pix_lightning.data.files.listing import PathList, get_stem
from pix2pix_lightning.data.files.reduction import LeastSize
from pix2pix_lightning.data.files.slice_path import AnyFile, SlicePath
from pix2pix_lightning.data.files.stacking import stack_images
from pix2pix_lightning.data.files.window import Window
from pix2pix_lightning.data.strips import format_odd_width, split_strip
from pix2pix_lightning.utils.errors import UserError

if TYPE_CHECKING:  # it imports torch, which pairs do without
    from pix2pix_lightning.data.sides import Side

Image = npt.NDArray[Any]
Files = Sequence[AnyFile]


class Pairs(Protocol):
    """A sequence of pairs: the interface of a data set."""

    def __len__(self) -> int:
        """Return the number of pairs."""

    def __getitem__(self, index: int) -> tuple[Image, Image, str]:
        """Return A and B of pair ``index``, each (H, W, C), and its name."""


class WindowedPairs(Pairs, Protocol):
    """Pairs of which parts can be read: what crops of large images need."""

    def get_name(self, index: int) -> str:
        """Return the name of pair ``index``."""

    def read_sizes(self, index: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return height and width of A and those of B of pair ``index`` in pixels, without decoding them."""

    def read_window(self, index: int, window: Window) -> tuple[Image, Image, str]:
        """Return the part ``window`` of A and of B of pair ``index``, and its name."""


class StripPairs:
    """Read files that hold A in their left half and B in the right one, as the public archives do.

    Args:
        files: One file for each pair. Its name is its path below the folder of the list, or the file's, without ending.

    Attributes:
        sides: What A and B take from a file: its colours, over the side's background where they are transparent, or
            its class numbers. None takes colours over white.
    """

    sides: tuple[Side | None, Side | None] = (None, None)

    def __init__(self, files: Files) -> None:
        self.files = files

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Image, Image, str]:
        """Return A and B of pair ``index``, each (H, W, C), and its name.

        Raises:
            UserError: The file is no image, its width is odd, or a side cannot take what it holds.
        """
        return self.read_reduced(index, None)

    def read_reduced(self, index: int, least: tuple[int, int] | None) -> tuple[Image, Image, str]:
        """Return pair ``index`` as indexing does, or smaller where its file is decoded smaller in less time.

        Args:
            index: Number of the pair.
            least: Height and width in pixels that A and B have at least, if their file's have; None for their own.

        Returns:
            A and B, each (H, W, C), and the name.

        Raises:
            UserError: The same as for the pair itself.
        """
        path = self.files[index]
        size = LeastSize(*least, columns=2) if least and all(map(_may_reduce, self.sides)) else None
        strip = _open(path, has_numbers=any(map(_has_class_numbers, self.sides)), least=size)
        a, b = split_strip(strip, path)
        return _convert(a, self.sides[0], "a"), _convert(b, self.sides[1], "b"), self.get_name(index)

    def read_sizes(self, index: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return height and width of A and those of B of pair ``index`` in pixels, by the file's header.

        Raises:
            UserError: The file is no image, or its width is odd.
        """
        path = self.files[index]
        width, height = read_file_header(path).upright_size
        if width % 2:
            raise UserError(format_odd_width(path, width))
        return (height, width // 2), (height, width // 2)

    def read_window(self, index: int, window: Window) -> tuple[Image, Image, str]:
        """Return the part ``window`` of A and of B of pair ``index``, each (H, W, C), and its name.

        Raises:
            UserError: The same as for the pair itself.
        """
        path, has_numbers = self.files[index], any(map(_has_class_numbers, self.sides))
        header = read_file_header(path)
        if header.format in FORMATS_IN_PARTS:
            lefts = (window.left, window.left + header.upright_size[0] // 2)
            a, b = (_open(path, has_numbers=has_numbers, window=window._replace(left=left)) for left in lefts)
        else:  # the whole file is decoded, once
            a, b = (half.cut(window) for half in split_strip(_open(path, has_numbers=has_numbers), path))
        return _convert(a, self.sides[0], "a"), _convert(b, self.sides[1], "b"), self.get_name(index)

    def get_name(self, index: int) -> str:
        """Return the name of pair ``index``."""
        files = self.files
        return get_stem(files.names[index] if isinstance(files, PathList) else files[index].name)

    def list_files(self) -> list[tuple[str, Files]]:
        """Return the files with what they hold, ``ab``, as ``FilePairs`` does."""
        return [("ab", self.files)]

    def select(self, indices: Sequence[int]) -> StripPairs:
        """Return some of the pairs, in the order of ``indices``."""
        selected = copy(self)
        selected.files = _select(self.files, indices)
        return selected

    def compute_fingerprints(self) -> list[list[str | int]]:
        """Return name, size and time of each pair's file; they change when the file does."""
        return _compute_fingerprints(self.files)


class FilePairs:
    """Read pairs whose A and B are files of their own.

    Args:
        a: The files of A, one for each pair; several lists where the channels of several files are put together.
        b: The files of B, in the same form.
        names: Names of the pairs.
        masks: For each pair the file whose pixels are not zero where the pair counts, or None; None for no masks.

    Attributes:
        sides: As in ``StripPairs``.
    """

    sides: tuple[Side | None, Side | None] = (None, None)

    def __init__(
        self,
        a: Sequence[Files],
        b: Sequence[Files],
        names: Sequence[str],
        masks: Sequence[AnyFile | None] | None = None,
    ) -> None:
        self.a = list(a)
        self.b = self.a if b is a else list(b)  # the files of one list are read once
        self.names = names
        self.masks = masks

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Image, Image, str]:
        """Return A and B of pair ``index``, each (H, W, C), and its name.

        Raises:
            UserError: One of its files is no image, or a side cannot take what it holds.
        """
        return self.read_reduced(index, None)

    def read_reduced(self, index: int, least: tuple[int, int] | None) -> tuple[Image, Image, str]:
        """Return pair ``index``, as ``StripPairs`` does; A and B may be reduced by different factors."""
        return *self._read(index, None, least), self.get_name(index)

    def read_sizes(self, index: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return height and width of A and those of B of pair ``index`` in pixels, by the files' headers.

        Raises:
            UserError: A file is no image, or files whose channels are put together differ in size.
        """
        a, b = (_read_size([files[index] for files in stack]) for stack in (self.a, self.b))
        return a, b

    def read_window(self, index: int, window: Window) -> tuple[Image, Image, str]:
        """Return the part ``window`` of A and of B of pair ``index``, each (H, W, C), and its name.

        Raises:
            UserError: The same as for the pair itself.
        """
        return *self._read(index, window), self.get_name(index)

    def _read(self, index: int, window: Window | None, least: tuple[int, int] | None = None) -> tuple[Image, Image]:
        rules = [
            {
                "has_numbers": _has_class_numbers(side),
                "least": LeastSize(*least) if least and _may_reduce(side) else None,
            }
            for side in self.sides
        ]
        image_a = _stack(self.a, index, window=window, **rules[0])
        is_one = self.b is self.a and rules[0] == rules[1]
        image_b = image_a if is_one else _stack(self.b, index, window=window, **rules[1])
        return _convert(image_a, self.sides[0], "a"), _convert(image_b, self.sides[1], "b")

    def read_mask_size(self, index: int) -> tuple[int, int] | None:
        """Return height and width of the mask of pair ``index`` in pixels, by its header; None where it has none."""
        file = None if self.masks is None else self.masks[index]
        return None if file is None else _read_size([file])

    def read_mask(self, index: int, window: Window | None = None) -> npt.NDArray[np.bool_] | None:
        """Return where pair ``index`` counts, or its part ``window``: (H, W) booleans, or None where all of it does.

        Raises:
            UserError: Its mask is no image.
        """
        file = None if self.masks is None else self.masks[index]
        if file is None:
            return None
        mask: npt.NDArray[np.bool_] = (_open(file, has_numbers=True, window=window).pixels != 0).any(2)
        return mask

    def get_name(self, index: int) -> str:
        """Return the name of pair ``index``."""
        return self.names[index]

    def list_files(self) -> list[tuple[str, Files]]:
        """Return the lists of files, each with what it holds: ``a``, ``b`` or ``mask``.

        A pair without a mask has its file of B in that list, so that all lists have one length.
        """
        lists = [("a", files) for files in self.a] + [("b", files) for files in self.b]
        if self.masks is None:
            return lists
        return [*lists, ("mask", [mask or b for mask, b in zip(self.masks, self.b[0], strict=True)])]

    def select(self, indices: Sequence[int]) -> FilePairs:
        """Return some of the pairs, in the order of ``indices``."""
        selected = copy(self)
        selected.a = [_select(files, indices) for files in self.a]
        selected.b = selected.a if self.b is self.a else [_select(files, indices) for files in self.b]
        selected.names = [self.names[index] for index in indices]
        selected.masks = None if self.masks is None else [self.masks[index] for index in indices]
        return selected

    def compute_fingerprints(self) -> list[list[str | int]]:
        """Return names, sizes and times of each pair's files; they change when a file does."""
        columns = [_compute_fingerprints(files) for _, files in self.list_files()]
        return [list(chain.from_iterable(rows)) for rows in zip(*columns, strict=True)]


PairFiles = StripPairs | FilePairs
"""Pairs that come from files."""


def _stack(stack: Sequence[Files], index: int, **rules: Any) -> FileImage:
    if len(stack) > 1:  # which are of one size
        rules["least"] = None
    return stack_images([_open(files[index], **rules) for files in stack])


def _open(
    file: AnyFile, *, has_numbers: bool, window: Window | None = None, least: LeastSize | None = None
) -> FileImage:
    if isinstance(file, Path):
        return open_image(file, has_numbers=has_numbers, window=window, least=least)
    if isinstance(file, SlicePath):
        return file.read_image(window)
    return decode_image(file.read_bytes(), Path(str(file)), has_numbers=has_numbers, window=window, least=least)


def read_file_header(file: AnyFile) -> ImageHeader:
    """Read the header of a file of a pair.

    Returns:
        The header; that of one picture for a slice of a volume.

    Raises:
        UserError: The file is no image, or its header is damaged.
    """
    if isinstance(file, Path):
        return read_header(file)
    if isinstance(file, SlicePath):
        return file.read_header()
    return parse_header(io.BytesIO(file.read_bytes()), Path(str(file)))


def _read_size(stack: Sequence[AnyFile]) -> tuple[int, int]:
    sizes = [read_file_header(file).upright_size for file in stack]
    for file, (width, height) in zip(stack, sizes, strict=True):
        if (width, height) != sizes[0]:  # a window would be of other places in each
            raise UserError(
                f"channels of files of one size are stacked, but {stack[0]} is {sizes[0][0]} x {sizes[0][1]} pixels "
                f"and {file} {width} x {height}: make them alike"
            )
    return sizes[0][::-1]


def _select(files: Files, indices: Sequence[int]) -> Files:
    return files.select(indices) if isinstance(files, PathList) else [files[index] for index in indices]


def _compute_fingerprints(files: Files) -> list[list[str | int]]:
    if isinstance(files, PathList) and isinstance(files.folder, Path):  # which may move
        return [[name, *_read_status(file)] for name, file in zip(files.names, files, strict=True)]
    return [[str(file) if isinstance(file, Path) else file.within, *_read_status(file)] for file in files]


def _read_status(file: AnyFile) -> tuple[int, int]:
    if not isinstance(file, Path):
        return file.get_status()
    try:
        status = file.stat()
    except OSError:  # reading it says so, unless the pair is left out
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _has_class_numbers(side: Side | None) -> bool:
    return side is not None and side.has_class_numbers


def _may_reduce(side: Side | None) -> bool:
    """Return whether a side's pixels may be mixed by the decoder of its files."""
    return side is None or not (side.is_exact or side.interpolation == "nearest")


def _convert(image: FileImage, side: Side | None, key: str) -> Image:
    try:
        return image.to_colours() if side is None else side.read(image)
    except UserError as error:
        raise UserError(f"{image.name}, data.{key}: {error}") from None
