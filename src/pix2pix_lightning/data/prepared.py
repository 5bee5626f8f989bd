"""Pairs as a batch carries them, before the random augmentation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np

from pix2pix_lightning.data.device_resize import UnresizedImage
from pix2pix_lightning.data.files.window import Window
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.pairs import Image, Pairs, WindowedPairs
from pix2pix_lightning.data.resize import resize
from pix2pix_lightning.data.sides import Side
from pix2pix_lightning.data.sizes import get_sides
from pix2pix_lightning.utils.errors import UserError

MAX_UNREADABLE = 20
"""Unreadable pairs in a row after which it is not single files that are at fault."""


def build_unreadable_error(reason: str) -> UserError:
    """Build the error about many unreadable pairs in a row, from what is wrong with the last one."""
    return UserError(f"{MAX_UNREADABLE} pairs in a row cannot be read: is data.root still there? The last: {reason}")


class PreparedPairs:
    """Convert each image to what a batch carries of its side, and resize it by the rule of the pairs.

    Args:
        pairs: The pairs as their files hold them.
        spec: Kinds of the sides, sizes, and the rule.
        for_crop: Whether stretched pairs are enlarged to ``spec.load_size``, of which crops of ``spec.size`` are taken.
        decode: ``reduced`` decodes a JPEG that is stretched to a half, a quarter or an eighth of its size, if that is
            at least the size to which it is resized; its pixels then differ a little.
        resize_on: ``device`` returns images that are resized in their batch. Those of ``nearest`` are resized at once:
            to pick pixels takes less time than to move them all.

    Attributes:
        size: Size of all pairs, where the rule is ``stretch``.
        reads_windows: Whether parts can be read by ``read_window``.
        has_masks: Whether pairs have masks, which ``read_mask`` reads.
    """

    def __init__(
        self,
        pairs: Pairs,
        spec: PairSpec,
        *,
        for_crop: bool = False,
        decode: Literal["exact", "reduced"] = "exact",
        resize_on: Literal["cpu", "device"] = "cpu",
    ) -> None:
        self.pairs = pairs
        self.a, self.b = spec.a, spec.b
        self.size = spec.load_size if for_crop else spec.size
        self.reads_windows = spec.resize == "none" and hasattr(pairs, "read_window")
        self.has_masks = hasattr(pairs, "read_mask") and getattr(pairs, "masks", ()) is not None
        self._spec = spec
        self._for_crop = for_crop
        self._resizes_later = resize_on == "device"
        self._may_reduce = decode == "reduced" and spec.resize == "stretch"
        if self._may_reduce and not hasattr(pairs, "read_reduced"):
            raise UserError(f"data.decode=reduced: {type(pairs).__name__} has no read_reduced(): set data.decode=exact")

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Image, Image, str]:
        """Return A and B, each (H, W, C) of one size, and the name of pair ``index``.

        Raises:
            UserError: A file is damaged, does not fit the description of its side, or is of another size than the
                other one where pairs are not resized.
        """
        if self._may_reduce:
            a, b, name = cast(Any, self.pairs).read_reduced(index, get_sides(self.size))
        else:
            a, b, name = self.pairs[index]
        if self._spec.resize == "none":
            check_equal_sizes(a.shape[:2], b.shape[:2], name)
        height, width = self._spec.compute_resized(*a.shape[:2], for_crop=self._for_crop)
        return self._prepare(a, "a", name, height, width), self._prepare(b, "b", name, height, width), name

    def read_size(self, index: int) -> tuple[int, int]:
        """Return height and width of pair ``index`` in pixels, by the headers of its files.

        Raises:
            UserError: The same as for the pair itself.
        """
        pairs: WindowedPairs = cast(Any, self.pairs)
        a, b = pairs.read_sizes(index)
        if self._spec.resize == "none":
            check_equal_sizes(a, b, pairs.get_name(index))
        return self._spec.compute_resized(*a, for_crop=self._for_crop)

    def count_pixels(self) -> int | None:
        """Count the pixels of one side of all pairs, by the headers of their files.

        Returns:
            Their number, without those of pairs that cannot be read; None where pairs do not tell their sizes.
        """
        if self._spec.resize == "stretch":
            return len(self) * math.prod(get_sides(self.size))
        if not hasattr(self.pairs, "read_sizes"):
            return None
        return sum(map(self._count_pixels, range(len(self))))

    def _count_pixels(self, index: int) -> int:
        try:
            return math.prod(self.read_size(index))
        except (UserError, OSError):  # who reads the pair gets it
            return 0

    def get_name(self, index: int) -> str:
        """Return the name of pair ``index``, where parts can be read."""
        return cast(WindowedPairs, self.pairs).get_name(index)

    def read_window(self, index: int, window: Window) -> tuple[Image, Image, str]:
        """Return the part ``window`` of A and of B, each (height, width, C), and the name of pair ``index``.

        Raises:
            UserError: The same as for the pair itself.
        """
        a, b, name = cast(WindowedPairs, self.pairs).read_window(index, window)
        height, width = window.height, window.width
        return self._prepare(a, "a", name, height, width), self._prepare(b, "b", name, height, width), name

    def read_mask(self, index: int, size: tuple[int, int], window: Window | None = None) -> Image:
        """Return where a pair counts.

        Args:
            index: Number of the pair.
            size: Height and width of the prepared pair in pixels, to which its mask is resized.
            window: The part of it that is wanted; by default all.

        Returns:
            (H, W, 1) uint8 of 0 and 1, which are all 1 for a pair without a mask.

        Raises:
            UserError: The mask is no image.
        """
        pairs = cast(Any, self.pairs)
        if window is not None and hasattr(pairs, "read_mask_size") and pairs.read_mask_size(index) == size:
            return np.asarray(pairs.read_mask(index, window)[..., None].astype(np.uint8))
        mask = pairs.read_mask(index)
        if mask is None:
            return np.ones((*(size if window is None else (window.height, window.width)), 1), np.uint8)
        resized = resize(mask[..., None].astype(np.uint8), *size, "nearest")
        return resized if window is None else resized[window.slices]

    def _prepare(self, image: Image, key: str, name: str, height: int, width: int) -> Any:
        side: Side = getattr(self, key)
        try:
            if self._resizes_later and side.interpolation not in (None, "nearest"):
                return UnresizedImage(side.prepare(image), height, width, side.interpolation, side.nodata)
            return side.prepare_and_resize(image, height, width)
        except ValueError as error:
            raise UserError(f"pair {name}, data.{key}: {error}") from None


def check_equal_sizes(a: tuple[int, ...], b: tuple[int, ...], name: str) -> None:
    """Check that A and B of a pair that is not resized have one size.

    Args:
        a: Height and width of A in pixels.
        b: Height and width of B in pixels.
        name: Name of the pair, for the message.

    Raises:
        UserError: They differ.
    """
    if a != b:
        raise UserError(f"pair {name}: {format_unequal(a, b)}")


def format_unequal(a: Sequence[int], b: Sequence[int]) -> str:
    """Return what is wrong with A and B, (height, width) in pixels, of a pair that is not resized."""
    return (
        f"A is {a[1]} x {a[0]} pixels and B {b[1]} x {b[0]}, and data.resize=none resizes neither: give both one size, "
        "or set data.resize=stretch or scale_width"
    )


def format_too_small(sides: Sequence[int], least: Sequence[int]) -> str:
    """Return what is wrong with a pair of ``sides``, from which a crop of ``least`` is taken; (height, width) each."""
    return (
        f"is {sides[1]} x {sides[0]} pixels, smaller than the crop of {least[1]} x {least[0]}: set a smaller "
        "data.crop=, or data.resize=scale_width with a crop"
    )
