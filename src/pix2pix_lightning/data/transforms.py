"""Transforms of albumentations, or of the user's own package, for pairs; the only file that uses albumentations."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.sizes import format_size
from pix2pix_lightning.utils.checks import check_choice
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.memory import is_out_of_memory

Image = npt.NDArray[np.uint8]

_SIDES = {"both": ("source", "target"), "source": ("source",), "target": ("target",)}


class PairTransform:
    """Apply a transform of albumentations, one entry of ``data.augmentation``, to both sides of a pair or to one.

    Images of kind ``label`` are albumentations' masks: changes of colour leave them alone, and class numbers are
    never blended. All randomness comes from the seed of the call.

    Args:
        entry: A transform, or its description ``{"_target_": "albumentations.Rotate", "p": 0.5, ...}``. A description
            may hold ``sides``: ``both`` (default), ``source`` or ``target``. Transforms that change the size in
            between are one entry, ``{"_target_": "albumentations.Compose", "transforms": [...]}``.
        spec: Kinds and size of the pair.
        name: The entry's configuration key, for messages.

    Raises:
        UserError: The entry describes no transform, or the transform refuses its arguments.
    """

    def __init__(self, entry: Any, spec: PairSpec, name: str = "data.augmentation") -> None:
        albumentations = _import_albumentations()
        sides = "both"
        if isinstance(entry, Mapping):
            sides = entry.get("sides", sides)
            entry = _build_transform({key: value for key, value in entry.items() if key != "sides"}, name)
        check_choice(f"{name}.sides", sides, _SIDES)
        if not isinstance(entry, albumentations.BasicTransform | albumentations.BaseCompose):
            raise UserError(
                f"{name}={entry!r} is no transform of albumentations: give {{_target_: albumentations.<Class>, ...}}"
            )
        self.name = f"{name} ({type(entry).__name__})"
        self.kept = "height and width" if spec.is_whole else f"{spec.size_key}={format_size(spec.size)}"
        self.sides = _SIDES[sides]
        kinds = {side: "mask" if getattr(spec, side).kind == "label" else "image" for side in self.sides}
        # albumentations needs one array named "image"; with two label sides, it is the first
        self._main = next((side for side in self.sides if kinds[side] == "image"), None)
        self._pipeline = albumentations.Compose(
            [entry],
            additional_targets={side: kind for side, kind in kinds.items() if side != self._main},
            mask_interpolation=cv2.INTER_NEAREST,
        )
        resizing: Any = _list_resizing_classes()
        for transform in _iterate_transforms(self._pipeline):
            if isinstance(transform, resizing):
                transform.mask_interpolation = cv2.INTER_NEAREST_EXACT  # plain nearest shifts masks against images

    def __call__(self, source: Image, target: Image, seed: np.random.SeedSequence) -> tuple[Image, Image]:
        """Transform a pair.

        Args:
            source: (size, size, C) uint8.
            target: (size, size, C) uint8.
            seed: All random numbers are a function of this seed.

        Returns:
            Source and target with unchanged shapes, uint8.

        Raises:
            UserError: The transform fails, or changes the size or the type of an image.
        """
        pair = {"source": source, "target": target}
        words = seed.generate_state(2)
        self._pipeline.set_random_state(np.random.default_rng(words[0]), random.Random(int(words[1])))
        arrays = {side: pair[side] for side in self.sides if side != self._main}
        try:
            result = self._pipeline(image=pair[self._main or self.sides[0]], **arrays)
        except Exception as error:  # any package's transform
            if is_out_of_memory(error):
                raise
            raise UserError(f"{self.name} fails: {_join_lines(error)}") from error
        for side in self.sides:
            pair[side] = self._check(result["image" if side == self._main else side], side, pair[side].shape)
        return pair["source"], pair["target"]

    def _check(self, image: npt.NDArray[Any], side: str, shape: tuple[int, ...]) -> Image:
        image = image[..., None] if image.ndim == 2 else image
        if image.shape != shape or image.dtype != np.uint8:
            raise UserError(
                f"{self.name} makes the {side} {image.shape} {image.dtype}, but {shape} uint8 is expected: choose "
                f"arguments that keep {self.kept}, or remove the transform"
            )
        return image


def _import_albumentations() -> Any:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import asks the internet for a newer version
    import albumentations

    return albumentations


def _list_resizing_classes() -> tuple[type, ...]:
    import albumentations as A

    return (
        A.CropAndPad,
        A.LongestMaxSize,
        A.RandomResizedCrop,
        A.RandomScale,
        A.RandomSizedCrop,
        A.Resize,
        A.SmallestMaxSize,
    )


def _iterate_transforms(transform: Any) -> Iterator[Any]:
    """Yield the transforms inside of a composition, at any depth."""
    for part in getattr(transform, "transforms", ()):
        yield part
        yield from _iterate_transforms(part)


def _build_transform(description: Mapping[str, Any], name: str) -> Any:
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    if not isinstance(description.get("_target_"), str):
        raise UserError(f"{name}={dict(description)} names no transform: give _target_: albumentations.<Class>")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", r"Argument\(s\) ")  # else albumentations ignores unknown arguments
        try:
            return instantiate(dict(description), _convert_="all")
        except InstantiationException as error:
            raise UserError(f"{name}._target_={description['_target_']}: {_join_lines(error)}") from None


def _join_lines(error: BaseException) -> str:
    return " ".join(str(error.__cause__ or error).split())
