"""Put the channels of several image files together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pix2pix_lightning.data.files.file_image import FileImage
from pix2pix_lightning.data.files.image_header import ImageHeader
from pix2pix_lightning.utils.errors import UserError


def stack_images(images: Sequence[FileImage]) -> FileImage:
    """Put the channels of images together, in their order. Palettes become colours.

    Args:
        images: The images; a single one is returned as it is.

    Returns:
        An image of all channels, with the georeference of the first image that has one.

    Raises:
        UserError: Two differ in size, type or meaning, or one has transparent pixels.
    """
    first = images[0]
    if len(images) == 1:
        return first
    planes = []
    for image in images:
        if image.has_clear_pixels:
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
        meanings = [[repr(one.nodata), one.scale, one.offset] for one in (first, image)]
        if meanings[0] != meanings[1]:
            raise UserError(
                f"channels of files are stacked, but nodata, scale and offset of {first.name} and {image.name} differ: "
                f"{meanings[0]} and {meanings[1]}: make them alike"
            )
        planes.append(pixels)
    stacked = np.concatenate(planes, 2)
    return replace(
        first,
        pixels=stacked,
        alpha=None,
        palette=None,
        max_level=max(image.max_level if image.palette is None else 255 for image in images),
        is_colour=stacked.shape[2] == 3 and all(image.is_colour for image in images),
        georeference=next((image.georeference for image in images if image.georeference is not None), None),
    )


def stack_headers(headers: Sequence[ImageHeader]) -> ImageHeader:
    """Return the header that a file of all channels would have, as ``stack_images`` puts them together.

    Args:
        headers: Headers of files of one size and type; a single one is returned as it is.

    Returns:
        The header of the stack.
    """
    if len(headers) == 1:
        return headers[0]
    channels = sum(header.pixel_channels for header in headers)
    is_colour = channels == 3 and all(header.is_colour for header in headers)
    photometric, levels = "rgb" if is_colour else "bands", max(header.max_level for header in headers)
    return replace(headers[0], channels=channels, photometric=photometric, max_level=levels, has_alpha=False)
