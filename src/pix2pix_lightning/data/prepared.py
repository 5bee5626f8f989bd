"""Pairs as a batch carries them, before anything is drawn at random."""

from __future__ import annotations

from pix2pix_lightning.data.pairs import Image, Pairs
from pix2pix_lightning.data.sides import PairSpec, SideSpec
from pix2pix_lightning.utils.errors import UserError


class PreparedPairs:
    """Pairs, each image snapped to what its side may hold and resized to a square.

    Args:
        pairs: The files.
        spec: Kinds of the sides.
        length: Side of the square in pixels.
    """

    def __init__(self, pairs: Pairs, spec: PairSpec, length: int) -> None:
        self.pairs = pairs
        self.length = length
        self.a, self.b = (spec.source, spec.target) if spec.direction == "a_to_b" else (spec.target, spec.source)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Image, Image, str]:
        """Return A and B, each (length, length, 1 or 3), and the name of pair ``index``.

        Raises:
            ValueError: A file is damaged or does not fit the description of its side.
        """
        a, b, name = self.pairs[index]
        return self._prepared(a, "a", name), self._prepared(b, "b", name), name

    def _prepared(self, image: Image, key: str, name: str) -> Image:
        side: SideSpec = getattr(self, key)
        try:
            return side.snap_resized(image, self.length, self.length)
        except ValueError as error:
            raise UserError(f"pair {name}, data.{key}: {error}") from None
