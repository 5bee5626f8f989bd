"""The paper's jitter, and the only file that knows albumentations."""

from __future__ import annotations

import os
import random

import numpy as np
import numpy.typing as npt

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # importing it would ask the network for a newer version

import albumentations as A

Image = npt.NDArray[np.uint8]


class PairAugmentation:
    """A random crop and a random mirror, the same for both sides of a pair (paper, section 6.2).

    Args:
        size: Side of the crop in pixels.
        mirror: Mirror left to right with probability 1/2.
    """

    def __init__(self, size: int, *, mirror: bool) -> None:
        steps: list[A.DualTransform] = [A.RandomCrop(size, size)]
        if mirror:
            steps.append(A.HorizontalFlip(p=0.5))
        self._pipeline = A.Compose(steps, additional_targets={"target": "image"})

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
        self._pipeline.set_random_state(np.random.default_rng(words[0]), random.Random(int(words[1])))
        both = self._pipeline(image=source, target=target)
        return both["image"], both["target"]
