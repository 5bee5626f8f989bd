"""The paper's jitter, and the only file that knows albumentations."""

from __future__ import annotations

import os
import random

import numpy as np
import numpy.typing as npt

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # importing it would ask the network for a newer version

import albumentations as A
import cv2

Image = npt.NDArray[np.uint8]


class PairAugmentation:
    """A random crop and a random mirror, the same for both sides of a pair (paper, section 6.2).

    Args:
        size: Side of the crop in pixels.
        mirror: Mirror left to right with probability 1/2.
    """

    def __init__(self, size: int, *, mirror: bool) -> None:
        self._crop = A.RandomCrop(size, size)
        self._mirror = A.HorizontalFlip(p=0.5 if mirror else 0)

    def __call__(self, source: Image, target: Image, seed: np.random.SeedSequence) -> tuple[Image, Image]:
        """Crop and mirror a pair.

        Args:
            source: (H, W, C) uint8, sides at least ``size``.
            target: (H, W, C) uint8 of the same height and width.
            seed: What is drawn is a function of this alone.

        Returns:
            Both, (size, size, C).
        """
        words = seed.generate_state(2)
        generators = np.random.default_rng(words[0]), random.Random(int(words[1]))
        generators[1].random()  # a pipeline of albumentations draws one more: seeds give what they gave with one
        for transform in (self._crop, self._mirror):
            transform.set_random_state(*generators)
        # the draws alone are albumentations': applying them would copy each image four times
        window = self._crop.get_params_dependent_on_data({"shape": source.shape}, {})["crop_coords"]
        is_mirrored = self._mirror.should_apply()
        return _cut(source, window, is_mirrored), _cut(target, window, is_mirrored)


def _cut(image: Image, window: tuple[int, int, int, int], is_mirrored: bool) -> Image:
    left, top, right, bottom = window
    part = image[top:bottom, left:right]
    return cv2.flip(part, 1).reshape(part.shape) if is_mirrored else part  # type: ignore[return-value]
