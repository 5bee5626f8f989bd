"""Images that are resized, cropped and mirrored in their batch, on the device that the batch is moved to."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import default_collate, get_worker_info

from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.resize import has_missing_values, resize_batch
from pix2pix_lightning.utils.errors import UserError

RESIZE_ON = ("cpu", "device")
"""Values of ``data.resize_on``."""
_BLOCKING_DEVICES = ("cpu", "mps")  # to which Lightning copies nothing in the background either


@dataclass(frozen=True, eq=False)
class UnresizedImage:
    """An image that is resized in its batch; as far as a data set goes, it is an array of that size.

    Args:
        pixels: (H, W, C), as ``Side.prepare`` returns it.
        height: Height in pixels to which it is resized.
        width: Width in pixels to which it is resized.
        interpolation: ``bicubic`` or ``bilinear``.
        nodata: Value of pixels without a value.
        part: Rows and columns that are taken of the result.
        is_mirrored: Whether the part is mirrored left to right.
    """

    pixels: npt.NDArray[Any]
    height: int
    width: int
    interpolation: str
    nodata: float | None = None
    part: tuple[slice, slice] = (slice(None), slice(None))
    is_mirrored: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height and width after resizing and crop, and channels."""
        rows, columns = (range(side)[part] for side, part in zip((self.height, self.width), self.part, strict=True))
        return len(rows), len(columns), self.pixels.shape[2]

    def __getitem__(self, part: tuple[slice, slice]) -> UnresizedImage:
        """Return a part, rows and columns of the whole that ``height`` and ``width`` describe."""
        return replace(self, part=part)

    def mirror(self) -> UnresizedImage:
        """Return the image mirrored left to right."""
        return replace(self, is_mirrored=not self.is_mirrored)


class ImageStack(NamedTuple):
    """Images of one size, (B, H, W, C), with the arguments of ``resize_batch``."""

    images: Tensor
    height: int
    width: int
    has_missing: bool


class UnresizedImages:
    """The images of one side of a batch, which are resized when they are moved to a device.

    Loaders copy them to page-locked memory, and Lightning moves them, as they do with all that has ``pin_memory`` and
    ``to``. Neither waits for the device: what depends on the pixels is known before.

    Args:
        images: The images, at least one, of one type and number of channels.

    Attributes:
        stacks: The images in their order: in one stack if they are alike, else each in one of its own.
    """

    def __init__(self, images: Sequence[UnresizedImage]) -> None:
        self._interpolation, self._nodata = images[0].interpolation, images[0].nodata
        self._parts = [(image.part, image.is_mirrored) for image in images]
        single = [
            ImageStack(
                _to_tensor(image.pixels),
                image.height,
                image.width,
                has_missing_values(image.pixels, image.nodata),
            )
            for image in images
        ]
        are_alike = len({(one.images.shape, *one[1:]) for one in single}) == 1
        if are_alike and (len(single) > 1 or get_worker_info() is not None):
            self.stacks = [single[0]._replace(images=default_collate([one.images for one in single]))]
        else:
            self.stacks = [one._replace(images=one.images[None]) for one in single]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._parts)

    def pin_memory(self) -> UnresizedImages:
        """Return the images in page-locked memory, from which a GPU reads faster."""
        pinned = copy.copy(self)
        pinned.stacks = [stack._replace(images=stack.images.pin_memory()) for stack in self.stacks]
        return pinned

    def to(self, device: torch.device | str) -> Tensor:
        """Move the images to a device, and resize, crop and mirror them there; images of one size in one call.

        Args:
            device: The device.

        Returns:
            (B, C, height, width) in their own type, channels last in memory, as a batch holds them otherwise: on a CPU
            the same to the bit, elsewhere as ``resize_batch`` says.
        """
        device = torch.device(device)
        resized: list[Tensor] = []
        for images, height, width, has_missing in self.stacks:
            moved = images.to(device, non_blocking=device.type not in _BLOCKING_DEVICES).permute(0, 3, 1, 2)
            settings: dict[str, Any] = {"nodata": self._nodata, "has_missing": has_missing}
            whole = resize_batch(moved, height, width, self._interpolation, **settings)
            resized += whole.permute(0, 2, 3, 1).unbind()
        dtype = resized[0].dtype
        bits = torch.int16 if dtype == torch.uint16 else dtype  # not every device can mirror uint16
        taken = []
        for image, (part, is_mirrored) in zip(resized, self._parts, strict=True):
            cropped = image.view(bits)[part]
            taken.append(cropped.flip(1) if is_mirrored else cropped)
        return torch.stack(taken).view(dtype).permute(0, 3, 1, 2)


def _to_tensor(image: npt.NDArray[Any]) -> Tensor:
    """Return an image as a tensor, without a copy where torch takes it: not read-only ones, nor negative strides."""
    return torch.from_numpy(image if image.flags.writeable and min(image.strides) >= 0 else image.copy())


def check_resize_on(resize_on: str, spec: PairSpec, **options: object) -> None:
    """Check that what ``data.resize_on=device`` resizes is there, and is not needed before.

    Args:
        resize_on: ``cpu`` or ``device``.
        spec: Kinds and sizes of the pairs.
        **options: Keys of the data module that take resized images.

    Raises:
        UserError: One of them is set, or nothing is resized on the device.
    """
    if resize_on == "cpu":
        return
    for name, value in options.items():
        if value:
            raise UserError(
                f"data.{name} with data.resize_on=device, which resizes images after they are loaded: {name} needs "
                f"them resized before: set data.resize_on=cpu, or leave data.{name} out"
            )
    if spec.resize == "none":
        raise UserError("data.resize_on=device with data.resize=none, which resizes nothing: leave resize_on out")
    if spec.source.interpolation == spec.target.interpolation == "nearest":
        raise UserError(
            "data.resize_on=device with two sides of interpolation=nearest, whose pixels are picked as files are "
            "loaded, since that is faster than to move them all: leave resize_on out"
        )
