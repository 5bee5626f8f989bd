"""The augmentation of training pairs: the paper's random crop and mirror, then the user's transforms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.transforms import PairTransform
from pix2pix_lightning.utils.errors import UserError

Image = npt.NDArray[Any]


class PairAugmentation:
    """Crop and mirror both sides of a pair alike (paper, section 6.2), then apply further transforms.

    Args:
        size: Side of the crop in pixels. All positions of the crop are equally likely.
        mirror: Mirror left to right with probability 1/2.
        transforms: Applied to the crop, in this order. Each draws from a generator of its own.
    """

    def __init__(self, size: int, *, mirror: bool, transforms: Sequence[PairTransform] = ()) -> None:
        self.size = size
        self.mirror = mirror
        self.transforms = tuple(transforms)

    def __call__(self, source: Image, target: Image, seed: np.random.SeedSequence) -> tuple[Image, Image]:
        """Augment a pair.

        Args:
            source: (H, W, C), sides at least ``size``.
            target: (H, W, C) of the same height and width.
            seed: The result is a function of the pair and this seed alone.

        Returns:
            Source and target, each (size, size, C) in its own type.

        Raises:
            UserError: A transform fails, or changes the size or the type of an image.
        """
        generator = np.random.default_rng(seed)
        height, width = source.shape[:2]
        top, left = generator.integers(0, (height - self.size + 1, width - self.size + 1))
        is_mirrored = bool(generator.integers(2)) and self.mirror
        source, target = (self._crop(image, top, left, is_mirrored) for image in (source, target))
        for number, transform in enumerate(self.transforms):
            own_seed = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, number))
            source, target = transform(source, target, own_seed)
        return source, target

    def _crop(self, image: Image, top: int, left: int, is_mirrored: bool) -> Image:
        part = image[top : top + self.size, left : left + self.size]
        return cv2.flip(part, 1).reshape(part.shape) if is_mirrored else part


def check_entries(entries: Sequence[Any] | None) -> list[Any]:
    """Check that ``data.augmentation`` is a list.

    Returns:
        The list; an empty one for None.

    Raises:
        UserError: It is something else.
    """
    if entries is None:
        return []
    if isinstance(entries, str | Mapping) or not isinstance(entries, Sequence):
        raise UserError(
            f"data.augmentation={entries}: a list of transforms is expected, "
            "[{_target_: albumentations.<Class>, ...}, ...]"
        )
    return list(entries)


def check_sides(entries: Sequence[Any]) -> None:
    """Check that no transform is for the sources alone, where they are made after the transforms.

    Raises:
        UserError: One is.
    """
    for number, entry in enumerate(entries):
        if isinstance(entry, Mapping) and entry.get("sides") == "source":
            raise UserError(
                f"data.augmentation[{number}].sides=source has no effect with data.source_maker, which makes the "
                "sources afterwards: do it there, or set sides=both"
            )


def build_augmentation(entries: Sequence[Any], spec: PairSpec, *, mirror: bool) -> PairAugmentation | None:
    """Build the augmentation of training pairs.

    Args:
        entries: Transforms or their descriptions, those of ``data.augmentation``.
        spec: Kinds and sizes of the pair; images of ``load_size`` are cropped to ``size``.
        mirror: Mirror left to right with probability 1/2.

    Returns:
        The augmentation; None where pairs stay as they are.

    Raises:
        UserError: An entry describes no transform.
    """
    transforms = [PairTransform(entry, spec, f"data.augmentation[{number}]") for number, entry in enumerate(entries)]
    if not (transforms or mirror or spec.load_size > spec.size):
        return None
    return PairAugmentation(spec.size, mirror=mirror, transforms=transforms)
