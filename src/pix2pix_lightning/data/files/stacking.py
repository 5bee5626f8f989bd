"""Put the channels of several image files together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.files.file_image import FileImage
from pix2pix_lightning.data.files.image_header import ImageHeader
from pix2pix_lightning.utils.errors import UserError


def stack_images(images: Sequence[FileImage]) -> FileImage:
    """Put the channels of images together, in their order. Palettes become colours.

    Args:
        images: The images; a single one is returned as it is.

    Returns:
        An image of all channels, with the georeference of the first image that has one: in their type or, where type,
        nodata, scale or offset differ, of float32 physical values, NaN where there is none.

    Raises:
        UserError: Two differ in size, or one has transparent pixels.
    """
    first = images[0]
    if len(images) == 1:
        return first
    for image in images:
        if image.has_clear_pixels:
            raise UserError(
                f"{image.name} has transparent pixels (alpha), and its channels are to be stacked with those of other "
                "files: save it without alpha"
            )
        if image.pixels.shape[:2] != first.pixels.shape[:2]:
            described = [
                f"{one.name} is {one.pixels.shape[1]} x {one.pixels.shape[0]} pixels" for one in (first, image)
            ]
            raise UserError(
                f"channels of files of one size are stacked, but {' and '.join(described)}: make them alike"
            )
    planes = [image.pixels if image.palette is None else image.palette[image.pixels[..., 0]] for image in images]
    meanings = {_describe(image.pixels.dtype.name, image) for image in images}
    if len(meanings) > 1:
        planes = [_to_physical(pixels, image) for pixels, image in zip(planes, images, strict=True)]
    stacked = np.concatenate(planes, 2)
    georeference = next((image.georeference for image in images if image.georeference is not None), None)
    if len(meanings) > 1:
        return FileImage(pixels=stacked, max_level=0, name=first.name, georeference=georeference, is_colour=False)
    return replace(
        first,
        pixels=stacked,
        alpha=None,
        palette=None,
        max_level=max(image.max_level if image.palette is None else 255 for image in images),
        is_colour=stacked.shape[2] == 3 and all(image.is_colour for image in images),
        georeference=georeference,
    )


def stack_headers(headers: Sequence[ImageHeader]) -> ImageHeader:
    """Return the header that a file of all channels would have, as ``stack_images`` puts them together.

    Args:
        headers: Headers of files of one size; a single one is returned as it is.

    Returns:
        The header of the stack.
    """
    if len(headers) == 1:
        return headers[0]
    channels = sum(header.pixel_channels for header in headers)
    levels = max(header.max_level for header in headers)
    is_colour = channels == 3 and all(header.is_colour for header in headers)
    stack = replace(headers[0], channels=channels, photometric="rgb" if is_colour else "bands", has_alpha=False)
    if len({_describe(header.pixel_dtype, header) for header in headers}) == 1:
        return replace(stack, max_level=levels)
    plain: dict[str, Any] = {"nodata": None, "scale": 1.0, "offset": 0.0, "is_inverted": False}
    return replace(stack, photometric="bands", dtype="float32", bits=32, max_level=0, **plain)


def _describe(dtype: str, file: FileImage | ImageHeader) -> tuple[str, str, float, float]:
    """Return what the values of a file mean, so that two can be compared."""
    return dtype, repr(file.nodata), file.scale, file.offset


def _to_physical(pixels: npt.NDArray[Any], image: FileImage) -> npt.NDArray[np.float32]:
    values: npt.NDArray[np.float32] = pixels.astype(np.float32) * np.float32(image.scale) + np.float32(image.offset)
    if image.nodata is not None:
        values[pixels == image.nodata] = np.nan
    return values
