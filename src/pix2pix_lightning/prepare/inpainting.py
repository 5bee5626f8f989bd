"""Cut holes into photos, for pairs of hole and photo: ``prepare task=inpainting``."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pix2pix_lightning.data.holes import MASKS, check_fill, draw_hole, fill_hole
from pix2pix_lightning.prepare.photos import pair_photos
from pix2pix_lightning.prepare.pictures import Image
from pix2pix_lightning.utils.checks import check_choice, check_counts

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True)
class CutHole:
    """Cut a hole into a photo.

    Args:
        mask: ``centre`` or ``random``.
        fill: ``mean``, ``gray`` or a colour.
        seed: Seed of the random boxes, with the pair's name.
    """

    mask: str
    fill: str | tuple[int, ...]
    seed: int

    def __call__(self, photo: Image, name: str) -> Image:
        """Return a photo (H, W, 3) of a name with the hole that belongs to the name."""
        digest = hashlib.sha256(f"{self.seed}/{name}".encode(errors="surrogateescape")).digest()
        hole = draw_hole(photo.shape[0], photo.shape[1], self.mask, int.from_bytes(digest[:8], "big"))
        return fill_hole(photo, hole, self.fill)


def inpainting(cfg: DictConfig) -> None:
    """Make pairs of hole and photo.

    Args:
        cfg: ``input`` is the folder of the photos, ``mask`` the kind of hole, ``fill`` its colour.

    Raises:
        UserError: There is no such folder, a value is wrong, or nothing could be written.
        FileExistsError: The output exists.
    """
    check_choice("mask", cfg.mask, MASKS)
    check_counts(at_least=0, seed=cfg.seed)
    fill = cfg.fill if isinstance(cfg.fill, str) else tuple(cfg.fill)
    check_fill(fill)
    pair_photos(cfg, CutHole(cfg.mask, fill, cfg.seed))
