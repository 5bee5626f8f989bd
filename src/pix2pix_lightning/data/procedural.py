"""Pairs that the program draws itself: label maps of facades, and photos rendered from them."""

from __future__ import annotations

import zlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.facade_layout import Part, draw_facade, paint_parts
from pix2pix_lightning.data.facade_photo import render_photo
from pix2pix_lightning.utils.errors import UserError

__all__ = ["PALETTE", "ProceduralPairs"]

PALETTE: dict[str, tuple[int, int, int]] = {
    "sky": (0, 0, 128),
    "neighbour": (112, 0, 112),
    "street": (128, 0, 0),
    "roof": (255, 128, 0),
    "wall": (0, 0, 255),
    "cornice": (0, 255, 192),
    "window": (0, 96, 255),
    "shutter": (255, 255, 0),
    "sill": (96, 255, 96),
    "door": (0, 200, 255),
    "shop": (255, 0, 0),
    "balcony": (170, 255, 0),
}
_COLOURS = np.zeros((1, 256, 3), np.uint8)
_COLOURS[0, : len(Part)] = [PALETTE[part.name.lower()] for part in Part]


class ProceduralPairs:
    """Pairs number 0 to ``num - 1`` of a split, drawn on demand.

    As in the facades data set A is the photo and B the label map. A pair is a function of (seed, split,
    index) alone; at another size it is the same building. Materials, weather, curtains and lights do not
    follow from the label map: there is more than one right photo.

    Args:
        num: Number of pairs, at least 1.
        size: Side of the pictures in pixels, at least 32.
        seed: Seed of the whole collection, not negative.
        split: Name of the split; another split has other buildings.
        num_looks: Of how many streets the buildings are: those of one street share materials and weather, so that
            with one street the photo follows from the label map but for what is in the windows. The streets are
            the same for every seed and split. None gives each building a look of its own.

    Raises:
        ValueError: If ``num``, ``size``, ``seed`` or ``num_looks`` is too small.

    Example:
        >>> photo, labels, name = ProceduralPairs(20, size=64)[12]
        >>> photo.shape, labels.dtype.name, name
        ((64, 64, 3), 'uint8', 'train_00012')
    """

    def __init__(
        self, num: int, *, size: int = 256, seed: int = 0, split: str = "train", num_looks: int | None = None
    ) -> None:
        for name, value, least in (("num", num, 1), ("size", size, 32), ("seed", seed, 0), ("num_looks", num_looks, 1)):
            if value is not None and value < least:
                raise UserError(f"{name} of the procedural pairs is {value}: give {least} or more")
        self.num = num
        self.size = size
        self.seed = seed
        self.split = split
        self.num_looks = num_looks

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], str]:
        """Draw one pair.

        Args:
            index: Number of the pair, 0 to ``num - 1``.

        Returns:
            The photo and the label map, both (size, size, 3), RGB, uint8, 0 to 255, the label map in colours
            of `PALETTE` only; and the pair's name.

        Raises:
            IndexError: If there is no such pair.
        """
        if not 0 <= index < self.num:
            raise IndexError(f"pair {index} of split {self.split!r}: there are pairs 0 to {self.num - 1}")
        root = np.random.SeedSequence(self.seed, spawn_key=(zlib.crc32(self.split.encode()), int(index)))
        layout, look, grain = (np.random.default_rng(child) for child in root.spawn(3))
        if self.num_looks is not None:
            street = (zlib.crc32(b"look"), index % self.num_looks)
            look = np.random.default_rng(np.random.SeedSequence(0, spawn_key=street))
        facade = draw_facade(layout)
        parts, behind = paint_parts(facade, self.size)
        photo = render_photo(facade, parts, behind, look, grain)
        labels = cv2.LUT(cv2.merge((parts, parts, parts)), _COLOURS)
        return photo, labels.astype(np.uint8, copy=False), f"{self.split}_{index:05d}"

    def stamps(self) -> list[list[str | int | None]]:
        """What each pair is a function of: the arguments, and the code that draws."""
        folder = Path(__file__).parent
        code = b"".join(path.read_bytes() for path in (Path(__file__), *sorted(folder.glob("facade_*.py"))))
        drawn: list[str | int | None] = [self.split, self.seed, self.size, self.num_looks, zlib.crc32(code)]
        return [[*drawn, index] for index in range(self.num)]
