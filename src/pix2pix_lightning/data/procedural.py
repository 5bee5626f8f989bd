"""Drawn pairs: label maps of facades, and photos rendered from them."""

from __future__ import annotations

import zlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.facades.layout import Part, draw_facade, paint_parts
from pix2pix_lightning.data.facades.photo import render_photo
from pix2pix_lightning.utils.errors import UserError

__all__ = ["PALETTE", "ProceduralPairs"]

MIN_SIZE = 32
"""Least side of the drawn pairs in pixels, below which their parts vanish."""
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
    """Draw the pairs 0 to ``num - 1`` of a split on demand.

    As in the facades data set, A is the photo and B the label map. A pair is a function of (seed, split, index); at
    another size it shows the same building. Materials, weather, curtains and lights do not follow from the label map,
    so that there is more than one right photo.

    Args:
        num: Number of pairs, at least 1.
        size: Side of the images in pixels, at least 32.
        seed: Seed of all pairs, not negative.
        split: Name of the split; each split has its own buildings.
        num_looks: Number of streets, at least 1. Buildings of one street share materials and weather, so that with
            one street only what is in the windows does not follow from the label map. The streets are the same for
            all seeds and splits. None gives each building its own look.

    Raises:
        UserError: ``num``, ``size``, ``seed`` or ``num_looks`` is too small.

    Example:
        >>> photo, labels, name = ProceduralPairs(20, size=64)[12]
        >>> photo.shape, labels.dtype.name, name
        ((64, 64, 3), 'uint8', 'train_00012')
    """

    def __init__(
        self, num: int, *, size: int = 256, seed: int = 0, split: str = "train", num_looks: int | None = None
    ) -> None:
        for name, value, least in (
            ("num", num, 1),
            ("size", size, MIN_SIZE),
            ("seed", seed, 0),
            ("num_looks", num_looks, 1),
        ):
            if value is not None and value < least:
                raise UserError(f"{name}={value} of the drawn pairs: give {least} or more")
        self.num = num
        self.size = size
        self.seed = seed
        self.split = split
        self.num_looks = num_looks

    def __len__(self) -> int:
        """Return the number of pairs."""
        return self.num

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], str]:
        """Draw one pair.

        Args:
            index: Number of the pair, 0 to ``num - 1``.

        Returns:
            Photo and label map, each (size, size, 3) RGB uint8, the label map in colours of ``PALETTE`` only; and the
            pair's name.

        Raises:
            IndexError: There is no such pair.
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

    def compute_fingerprints(self) -> list[list[str | int | None]]:
        """Return what each pair is a function of: the arguments, its number and a checksum of the code."""
        folder = Path(__file__).with_name("facades")
        code = b"".join(path.read_bytes() for path in (Path(__file__), *sorted(folder.glob("*.py"))))
        common: list[str | int | None] = [self.split, self.seed, self.size, self.num_looks, zlib.crc32(code)]
        return [[*common, index] for index in range(self.num)]
