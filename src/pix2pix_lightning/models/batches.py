"""Batches of any loader as the module's own: images by the names source and target, floats in [-1, 1]."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.models.components import Batch, Parts
from pix2pix_lightning.utils.errors import UserError

_log = logging.getLogger(__name__)
BATCH_KEYS = ("source", "target", "name")
"""Keys of the batches of ``PairedDataModule``."""
_SIDES = ("source", "target")
_MAX_FLOAT = 1.5  # resizing may go a little beyond 1


class BatchReader:
    """Read the batches that loaders yield.

    Args:
        keys: Keys of the source, of the target and, if there are names, of the names: of a dict, or positions in a
            tuple or list.
        pair_spec: What the images mean.
        parts: The module's parts. Networks that are objects may take floats of other channels than the pairs'.

    Raises:
        UserError: There are not two or three different keys, or they are not all strings or all numbers.

    Attributes:
        keys: The keys as a list, plain data.
    """

    def __init__(self, keys: Sequence[str | int], pair_spec: PairSpec, parts: Parts) -> None:
        is_list = isinstance(keys, Sequence) and not isinstance(keys, str) and len(keys) in (2, 3)
        if not is_list or not (_are_all(keys, str) or _are_all(keys, int)) or len(set(keys)) < len(keys):
            raise UserError(
                f"batch_keys={keys!r}: the keys of source and target, and of the names if there are any, are expected, "
                'such as ("A", "B") for dicts or (0, 1) for tuples'
            )
        self.keys = list(keys)
        self._pair_spec = pair_spec
        self._has_own_networks = any(isinstance(parts[name], nn.Module) for name in ("generator", "discriminator"))
        self._needs_target = True
        self._has_checked_values = False

    def start(self, stage: str) -> None:
        """Prepare for the loaders of a trainer's stage, ``predict`` among them, whose batches need no target."""
        self._needs_target = stage != "predict"
        self._has_checked_values = False

    def read(self, batch: Any, dtype: torch.dtype) -> Batch:
        """Return a batch in the module's form.

        Args:
            batch: What a loader yielded: a dict, tuple or list.
            dtype: Type of the images.

        Returns:
            ``source`` and ``target``, floats (B, C, H, W) in [-1, 1], made of the files' values by the PairSpec and
            filled where there is no value; ``mask``, (B, 1, H, W) booleans, where some pixels may not count (in
            prediction: have no value in the source); ``name``, if there are names; and the other values of a dict.

        Raises:
            UserError: The batch or an image in it has another form than expected, or floats far from [-1, 1].
        """
        own = _rename(batch, self.keys, needs_target=self._needs_target)
        if not self._needs_target:  # the pairs' own says where a target counts
            own.pop("mask", None)
        images = {side: own[side] for side in _SIDES if side in own}
        for side, image in images.items():
            self._check_image(side, image)
        if len(images) == 2:
            (batch_s, _, *size_s), (batch_t, _, *size_t) = (image.shape for image in images.values())
            if (batch_s, size_s) != (batch_t, size_t):
                shapes = " and ".join(f"{side} {_describe(image)}" for side, image in images.items())
                raise UserError(f"a batch has {shapes}: equal numbers and sizes of images are expected")
        if not self._has_checked_values:  # of the first batch alone, since the device is waited for
            self._has_checked_values = True
            are_floats = {side: getattr(self._pair_spec, side).dtype.startswith("float") for side in images}
            _check_values({side: image for side, image in images.items() if not are_floats[side]})
            _check_classes(images, self._pair_spec)
        images = {side: self._pair_spec.encode(image, side, dtype) for side, image in images.items()}
        mask = self._pair_spec.find_counted(images["source"], images["target"] if self._needs_target else None)
        if self._needs_target and "mask" in own:
            mask = _check_mask(own["mask"], images["target"]) & (True if mask is None else mask)
        images = {side: getattr(self._pair_spec, side).fill_missing(image) for side, image in images.items()}
        return {**own, **images, **({} if mask is None else {"mask": mask})}

    def _check_image(self, side: str, image: Any) -> None:
        spec = getattr(self._pair_spec, side)
        is_float = isinstance(image, Tensor) and image.is_floating_point()
        channels = spec.channels if is_float else spec.batch_channels
        is_image = isinstance(image, Tensor) and image.ndim == 4
        if not is_image or (image.shape[1] != channels and not (is_float and self._has_own_networks)):
            raise UserError(
                f"the {side} of a batch is {_describe(image)}: a tensor (B, {channels}, H, W) is expected by "
                f"pair_spec.{side}.kind={spec.kind}; Pix2PixModule(pair_spec=...) says what the images are"
            )


def _are_all(values: Sequence[Any], kind: type) -> bool:
    return all(isinstance(value, kind) and not isinstance(value, bool) for value in values)


def _rename(batch: Any, keys: Sequence[str | int], *, needs_target: bool) -> Batch:
    """Return the values of a batch by the names of `BATCH_KEYS`, and the other ones of a dict by their own."""
    needed = keys[:2] if needs_target else keys[:1]
    if isinstance(batch, Mapping):
        values, has_needed = dict(batch), all(key in batch for key in needed)
    else:
        is_sequence = isinstance(batch, Sequence) and not isinstance(batch, str)
        values = dict(enumerate(batch)) if is_sequence and not isinstance(keys[0], str) else {}
        has_needed = all(key in values for key in needed)
    if not has_needed:
        raise UserError(
            f"a batch is {_describe(batch)}: {' and '.join(map(repr, needed))} are expected in it; for dicts of other "
            'keys give their names, Pix2PixModule(batch_keys=("A", "B")), for tuples the positions, batch_keys=(0, 1)'
        )
    named = {name: values.pop(key) for name, key in zip(BATCH_KEYS, keys, strict=False) if key in values}
    if "name" in named:
        names = named["name"].tolist() if isinstance(named["name"], Tensor) else named["name"]
        named["name"] = [str(name) for name in names]
    return {**{key: value for key, value in values.items() if isinstance(key, str)}, **named}


def _check_mask(mask: Any, target: Tensor) -> Tensor:
    shape = (len(target), 1, *target.shape[2:])
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != shape:
        raise UserError(
            f"the mask of a batch is {_describe(mask)}: booleans of shape {shape} are expected, True where the target "
            "counts; give another key to what is no such mask"
        )
    return mask


def _check_classes(images: Mapping[str, Tensor], pair_spec: PairSpec) -> None:
    """Check that class numbers are those of a class: others would be no class to a network, and nothing would fail."""
    for name, image in images.items():
        side = getattr(pair_spec, name)
        if side.kind != "label" or image.is_floating_point():
            continue
        wrong = image[(image < 0) | (image >= side.channels)]
        if side.ignore_index is not None:
            wrong = wrong[wrong != side.ignore_index]
        if len(wrong):
            number = wrong[0].item()
            raise UserError(
                f"the {name} of the first batch has class number {number}, and pair_spec.{name} has {side.channels} "
                f"classes: raise num_classes, or set ignore_index={number} if it marks pixels without a class"
            )


def _check_values(images: Mapping[str, Tensor]) -> None:
    positive = []
    for side, image in images.items():
        if not image.is_floating_point() or not image.numel():
            continue
        low, high = (bound.item() for bound in torch.aminmax(image))
        if not -_MAX_FLOAT <= low <= high <= _MAX_FLOAT:  # nor NaN
            raise UserError(
                f"the {side} of the first batch has floats from {low:g} to {high:g}: -1 to 1 is expected; give bytes "
                "as uint8, or as x / 127.5 - 1"
            )
        positive += [side] if low >= 0 and high > 0 else []
    if positive:
        _log.warning(
            "no float in the %s of the first batch is negative: -1 to 1 is expected; for 0 to 1, as of torchvision's "
            "ToTensor, give 2 * x - 1, or uint8",
            " and ".join(positive),
        )


def _describe(value: Any) -> str:
    """Describe a value by type and shape, and what is in it."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"a dict of {', '.join(map(repr, value)) or 'nothing'}"
    if isinstance(value, tuple | list):
        kind = type(value).__name__
        first = f", the first {_describe(value[0])}" if value else ""
        return f"a {kind} of {len(value)}{first}"
    return f"of type {type(value).__name__}"
