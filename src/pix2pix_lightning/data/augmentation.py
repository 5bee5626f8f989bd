"""The augmentation of training pairs: the paper's random crop and mirror, then the user's transforms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.device_resize import UnresizedImage
from pix2pix_lightning.data.files.window import Window
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.sizes import Size, get_sides
from pix2pix_lightning.data.transforms import PairTransform
from pix2pix_lightning.utils.errors import UserError

Image = npt.NDArray[Any]

MAX_CV_CHANNELS = 512
"""Channels of the images that OpenCV takes."""


class Placement(NamedTuple):
    """Which part of a pair is taken.

    Attributes:
        window: The part.
        is_mirrored: Whether it is mirrored left to right.
    """

    window: Window
    is_mirrored: bool


class PairAugmentation:
    """Crop and mirror both sides of a pair alike (paper, section 6.2), then apply further transforms.

    Args:
        size: Size of the crop: the side of a square, or (height, width), in pixels; None takes whole images.
        mirror: Mirror left to right with probability 1/2.
        transforms: Applied to the crop, in this order. Each draws from a generator of its own.
        is_random: Whether all positions of the crop are equally likely; else it is the centre.
    """

    def __init__(
        self, size: Size | None, *, mirror: bool, transforms: Sequence[PairTransform] = (), is_random: bool = True
    ) -> None:
        self.size = size
        self.mirror = mirror
        self.transforms = tuple(transforms)
        self.is_random = is_random

    def __call__(self, source: Image, target: Image, seed: np.random.SeedSequence) -> tuple[Image, Image]:
        """Augment a pair.

        Args:
            source: (H, W, C), sides at least those of ``size``.
            target: (H, W, C) of the same height and width.
            seed: The result is a function of the pair and this seed alone.

        Returns:
            Source and target, each (height, width, C) of ``size`` in its own type.

        Raises:
            UserError: A transform fails, or changes the size or the type of an image.
        """
        placement = self.place(source.shape[0], source.shape[1], seed)
        window = placement.window.slices
        images = {"source": source[window], "target": target[window]}
        images = self.finish(images, seed, is_mirrored=placement.is_mirrored)
        return images["source"], images["target"]

    def place(self, height: int, width: int, seed: np.random.SeedSequence) -> Placement:
        """Choose the part of a pair that is taken, so that no more needs to be read.

        Args:
            height: Height of the images in pixels, at least that of ``size``.
            width: Width of the images in pixels, at least that of ``size``.
            seed: As for the call.

        Returns:
            The part, and whether it is mirrored.
        """
        draw = np.random.Generator(np.random.PCG64(seed)).integers  # what default_rng builds, in less time
        rows, columns = (height, width) if self.size is None else get_sides(self.size)
        # one number at a time: half the time of an array of them, and the same numbers
        top, left = int(draw(height - rows + 1)), int(draw(width - columns + 1))
        is_mirrored = bool(draw(2)) and self.mirror
        if not self.is_random:
            top, left = (height - rows) // 2, (width - columns) // 2
        return Placement(Window(top, left, rows, columns), is_mirrored)

    def finish(
        self, images: Mapping[str, Image], seed: np.random.SeedSequence, *, is_mirrored: bool
    ) -> dict[str, Image]:
        """Mirror a part of a pair, and apply the further transforms.

        Args:
            images: The part that ``place`` has chosen of ``source``, ``target`` and, if there is one, ``mask``, (H, W,
                1) uint8.
            seed: As for the call.
            is_mirrored: Whether it is mirrored, as ``place`` has drawn it.

        Returns:
            The images in the same shapes.

        Raises:
            UserError: The same as for the call.
        """
        finished: dict[str, Any] = {key: _mirror(image) if is_mirrored else image for key, image in images.items()}
        for number, transform in enumerate(self.transforms):
            own_seed = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, number))
            finished = transform.apply(finished, own_seed)
        return finished


def _mirror(image: Image | UnresizedImage) -> Any:
    if isinstance(image, UnresizedImage):
        return image.mirror()
    if image.shape[2] > MAX_CV_CHANNELS:
        return np.ascontiguousarray(image[:, ::-1])
    return cv2.flip(image, 1).reshape(image.shape)


def check_entries(entries: Sequence[Any] | None, *, makes_sources: bool) -> list[Any]:
    """Check that ``data.augmentation`` is a list, and that each entry has an effect.

    Args:
        entries: The value of the key.
        makes_sources: Whether sources are made after the transforms.

    Returns:
        The list; an empty one for None.

    Raises:
        UserError: It is something else, or an entry is for sources alone, where they are made afterwards.
    """
    if entries is None:
        return []
    if isinstance(entries, str | Mapping) or not isinstance(entries, Sequence):
        raise UserError(
            f"data.augmentation={entries}: a list of transforms is expected, "
            "[{_target_: albumentations.<Class>, ...}, ...]"
        )
    for number, entry in enumerate(entries if makes_sources else ()):
        if isinstance(entry, Mapping) and entry.get("sides") == "source":
            raise UserError(
                f"data.augmentation[{number}].sides=source has no effect with data.source_maker, which makes the "
                "sources afterwards: do it there, or set sides=both"
            )
    return list(entries)


def build_augmentation(
    entries: Sequence[Any], spec: PairSpec, *, mirror: bool, jitter: bool = True
) -> PairAugmentation | None:
    """Build the augmentation of training pairs.

    Args:
        entries: Transforms or their descriptions, those of ``data.augmentation``.
        spec: Kinds and sizes of the pair.
        mirror: Mirror left to right with probability 1/2.
        jitter: Crop at random places, and not in the centre.

    Returns:
        The augmentation; None where pairs stay as they are resized.

    Raises:
        UserError: An entry describes no transform.
    """
    transforms = [PairTransform(entry, spec, f"data.augmentation[{number}]") for number, entry in enumerate(entries)]
    crops = not spec.is_whole and (spec.resize != "stretch" or spec.load_size != spec.size)
    if not (transforms or mirror or crops):
        return None
    size = None if spec.is_whole else spec.size
    return PairAugmentation(size, mirror=mirror, transforms=transforms, is_random=jitter)


def build_centre_crop(spec: PairSpec, *, is_whole: bool) -> PairAugmentation | None:
    """Build what a validation sees of its pairs.

    Args:
        spec: Sizes of the pair.
        is_whole: Whether it sees whole images where the training sees crops.

    Returns:
        What takes the centre of the images; None where pairs stay as they are resized.
    """
    if is_whole or spec.is_whole or spec.resize == "stretch":
        return None
    return PairAugmentation(spec.size, mirror=False, is_random=False)
