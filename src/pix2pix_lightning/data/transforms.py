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
from pix2pix_lightning.data.sides import Side
from pix2pix_lightning.utils.checks import check_choice
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.memory import is_out_of_memory

Image = npt.NDArray[Any]

_COVERED = "covered"
"""Name of an image that is 1 where the pair has pixels, and 0 where a transform adds some."""
_SIDES = {"both": ("source", "target"), "source": ("source",), "target": ("target",)}


class PairTransform:
    """Apply a transform of albumentations, one entry of ``data.augmentation``, to both sides of a pair or to one.

    Images of kind ``label``, and those with a value for none, are albumentations' masks: changes of colour leave them
    alone, and their values are never blended. So are those in the colours of a palette (``snap_palette``). Changes of
    values are for 8-bit sides alone: albumentations takes floats for numbers from 0 to 1, and 16 bits for the full
    range. All randomness comes from the seed of the call.

    Args:
        entry: A transform, or its description ``{"_target_": "albumentations.Rotate", "p": 0.5, ...}``. A description
            may hold ``sides``: ``both`` (default), ``source`` or ``target``. Transforms that change the size in
            between are one entry, ``{"_target_": "albumentations.Compose", "transforms": [...]}``.
        spec: Kinds and size of the pair.
        name: The entry's configuration key, for messages.

    Raises:
        UserError: The entry describes no transform, the transform refuses its arguments, or it changes values of a side
            that has not 8 bits.
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
        self.kept = "height and width" if spec.is_whole else spec.size_setting
        self.sides = _SIDES[sides]
        kinds = {side: "image" if _can_mix(getattr(spec, side)) else "mask" for side in self.sides}
        # albumentations needs one array named "image"; with two label sides, it is the first
        self._main = next((side for side in self.sides if kinds[side] == "image"), None)
        self._nodata = {
            side: spec_side.nodata for side in self.sides if (spec_side := getattr(spec, side)).nodata is not None
        }
        others = {side: kind for side, kind in kinds.items() if side != self._main}
        self._pipeline = albumentations.Compose(
            [entry],
            additional_targets={**others, **({_COVERED: "mask"} if self._nodata else {})},
            mask_interpolation=cv2.INTER_NEAREST,
        )
        resizing: Any = _list_resizing_classes()
        wide = {s: getattr(spec, s).dtype for s in self.sides if kinds[s] == "image"}
        wide = {side: dtype for side, dtype in wide.items() if dtype != "uint8"}
        for transform in _iterate_transforms(self._pipeline):
            is_own = type(transform).__module__.startswith("albumentations.")
            if wide and is_own and isinstance(transform, albumentations.ImageOnlyTransform):
                raise UserError(
                    f"{name} ({type(transform).__name__}) changes values, which are {next(iter(wide.values()))} in the "
                    f"{next(iter(wide))}, and is made for 8 bits: remove it from data.augmentation, or choose "
                    "augmentation=remote_sensing, which changes no values"
                )
            if isinstance(transform, resizing):
                transform.mask_interpolation = cv2.INTER_NEAREST_EXACT  # plain nearest shifts masks against images

    def __call__(self, source: Image, target: Image, seed: np.random.SeedSequence) -> tuple[Image, Image]:
        """Transform a pair.

        Args:
            source: (size, size, C).
            target: (size, size, C).
            seed: All random numbers are a function of this seed.

        Returns:
            Source and target with unchanged shapes and types.

        Raises:
            UserError: The transform fails, or changes the size or the type of an image.
        """
        pair = self.apply({"source": source, "target": target}, seed)
        return pair["source"], pair["target"]

    def apply(self, images: Mapping[str, Image], seed: np.random.SeedSequence) -> dict[str, Image]:
        """Transform a pair with its mask, which goes where both sides go.

        Args:
            images: ``source``, ``target`` and, if there is one, ``mask``, (H, W, 1) uint8.
            seed: As for the call.

        Returns:
            The images with unchanged shapes and types; a mask is 0 where the transform has added pixels.

        Raises:
            UserError: The same as for the call.
        """
        pair = dict(images)
        words = seed.generate_state(2)
        self._pipeline.set_random_state(np.random.default_rng(words[0]), random.Random(int(words[1])))
        changed = self.sides if len(self.sides) == 1 else tuple(pair)
        arrays = {side: _widen_half(pair[side]) for side in changed}
        main = arrays[self._main or self.sides[0]]
        if self._nodata:
            arrays[_COVERED] = np.ones((*main.shape[:2], 1), np.uint8)
        try:
            result = self._pipeline(image=main, **{side: a for side, a in arrays.items() if side != self._main})
        except Exception as error:  # any package's transform
            if is_out_of_memory(error):
                raise
            raise UserError(f"{self.name} fails: {_join_lines(error)}") from error
        for side in changed:
            pair[side] = self._check(result["image" if side == self._main else side], side, pair[side])
        for side, nodata in self._nodata.items():  # pixels that were added have no value
            added = result[_COVERED].reshape(pair[side].shape[:2]) == 0
            pair[side] = np.where(added[..., None], np.asarray(nodata, pair[side].dtype), pair[side])
        return pair

    def _check(self, image: Image, side: str, before: Image) -> Image:
        image = image[..., None] if image.ndim == 2 else image
        if image.shape != before.shape or image.dtype != _widen_half(before[:0]).dtype:
            raise UserError(
                f"{self.name} makes the {side} {image.shape} {image.dtype}, but {before.shape} {before.dtype} is "
                f"expected: choose arguments that keep {self.kept}, or remove the transform"
            )
        return image.astype(before.dtype, copy=False)


def _can_mix(side: Side) -> bool:
    """Return whether values of a side can be mixed and changed: no classes, colours of a palette, or value for none."""
    has_colours = side.palette is not None and side.interpolation == "nearest"
    return side.kind != "label" and not has_colours and side.nodata is None


def _widen_half(image: Image) -> Image:
    """Return an image in a type that OpenCV transforms: float32 for float16, else its own."""
    return image.astype(np.float32) if image.dtype == np.float16 else image


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
