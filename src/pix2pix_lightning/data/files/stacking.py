"""Put the channels of several image files together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pix2pix_lightning.data.files.file_image import FileImage
from pix2pix_lightning.utils.errors import UserError


def stack_images(images: Sequence[FileImage]) -> FileImage:
    """Put the channels of images together, in their order. Palettes become colours.

    Args:
        images: The images; a single one is returned as it is.

    Returns:
        An image of all channels.

    Raises:
        UserError: Two differ in size or type, or one has transparent pixels.
    """
    first = images[0]
    if len(images) == 1:
        return first
    planes = []
    for image in images:
        if image.alpha is not None:
            raise UserError(
                f"{image.name} has transparent pixels (alpha), and its channels are to be stacked with those of other "
                "files: save it without alpha"
            )
        pixels = image.pixels if image.palette is None else image.palette[image.pixels[..., 0]]
        if pixels.shape[:2] != first.pixels.shape[:2] or pixels.dtype != first.pixels.dtype:
            described = [
                f"{one.name} is {one.pixels.shape[1]} x {one.pixels.shape[0]} pixels of {one.pixels.dtype}"
                for one in (first, image)
            ]
            raise UserError(
                f"channels of files of one size and type are stacked, but {' and '.join(described)}: make them alike"
            )
        planes.append(pixels)
    return replace(first, pixels=np.concatenate(planes, 2), palette=None, max_level=255)
