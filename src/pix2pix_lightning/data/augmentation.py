"""The augmentation of training pairs: the paper's random crop and mirror, then the user's transforms."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.transforms import PairTransform

Image = npt.NDArray[np.uint8]


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
            source: (H, W, C) uint8, sides at least ``size``.
            target: (H, W, C) uint8 of the same height and width.
            seed: The result is a function of the pair and this seed alone.

        Returns:
            Source and target, each (size, size, C) uint8.

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
        return cv2.flip(part, 1).reshape(part.shape) if is_mirrored else part  # type: ignore[return-value]
