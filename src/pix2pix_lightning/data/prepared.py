"""Pairs as a batch carries them, before the random augmentation."""

from __future__ import annotations

from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.pairs import Image, Pairs
from pix2pix_lightning.data.sides import Side
from pix2pix_lightning.utils.errors import UserError

MAX_UNREADABLE = 20
"""Unreadable pairs in a row after which it is not single files that are at fault."""


def build_unreadable_error(reason: str) -> UserError:
    """Build the error about many unreadable pairs in a row, from what is wrong with the last one."""
    return UserError(f"{MAX_UNREADABLE} pairs in a row cannot be read: is data.root still there? The last: {reason}")


class PreparedPairs:
    """Convert each image to what a batch carries of its side, and resize it to a square.

    Args:
        pairs: The pairs as their files hold them.
        spec: Kinds of the sides.
        length: Side of the square in pixels.
    """

    def __init__(self, pairs: Pairs, spec: PairSpec, length: int) -> None:
        self.pairs = pairs
        self.length = length
        self.a, self.b = spec.a, spec.b

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Image, Image, str]:
        """Return A and B, each (length, length, 1 or 3) uint8, and the name of pair ``index``.

        Raises:
            UserError: A file is damaged or does not fit the description of its side.
        """
        a, b, name = self.pairs[index]
        return self._prepare(a, "a", name), self._prepare(b, "b", name), name

    def _prepare(self, image: Image, key: str, name: str) -> Image:
        side: Side = getattr(self, key)
        try:
            return side.prepare_and_resize(image, self.length, self.length)
        except ValueError as error:
            raise UserError(f"pair {name}, data.{key}: {error}") from None
