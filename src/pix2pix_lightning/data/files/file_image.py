"""What an image file or a picture in memory holds, and what a side makes of it."""

from __future__ import annotations

import logging
import mmap
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.files.formats.geotiff import Georeference
from pix2pix_lightning.data.files.window import Window
from pix2pix_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

Bytes = npt.NDArray[np.uint8]
Pixels = npt.NDArray[Any]

WHITE = (255, 255, 255)
_log = logging.getLogger(__name__)
_has_logged = mmap.mmap(-1, 1)  # shared with the loader's processes, so that each training logs it once
_lock = Lock()
_CHUNK = 2**20  # pixels that are mixed at once
_PIL_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX")
_DEEP_PIL_MODES = {"I;16": 65535, "I;16L": 65535, "I;16B": 65535, "F": 0}  # with their greatest levels


@dataclass(frozen=True, kw_only=True)
class FileImage:
    """Hold the upright pixels of an image before a side gives them a meaning.

    Args:
        pixels: (H, W, C), uint8, uint16, int16, float16 or float32: gray levels, RGB or bands as they are stored; with
            a palette (H, W, 1) numbers of its colours. Levels of fewer than 8 bits are scaled to 255.
        alpha: (H, W) in the type of ``pixels``, 0 where nothing is to be seen; None where all is opaque.
        max_level: Greatest level that the file can hold: 15 for 4 bits, of which ``pixels`` are scaled to 255, and 4095
            for 12 bits, of which they are as stored; 0 for signed numbers and fractions.
        palette: (N, 3) RGB, uint8.
        is_premultiplied: Whether ``pixels`` are multiplied by alpha.
        name: Where the image is from, for messages.
        nodata: Value of pixels without a value, as stored; NaN always means that there is none.
        scale: Factor from a stored value to a physical one.
        offset: Physical value of a stored 0.
        georeference: Where the pixels lie on the ground, which ``write_image`` takes.
        is_colour: Whether ``pixels`` are gray levels or colours, and not bands of unknown meaning.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    max_level: int = 255
    palette: Bytes | None = None
    is_premultiplied: bool = False
    name: str = "image"
    nodata: float | None = None
    scale: float = 1.0
    offset: float = 0.0
    georeference: Georeference | None = None
    is_colour: bool = True

    def crop(self, left: int, right: int) -> FileImage:
        """Return the columns from ``left`` to before ``right``."""
        return self.cut(Window(0, left, self.pixels.shape[0], right - left))

    def cut(self, window: Window) -> FileImage:
        """Return a window of the image."""
        return replace(
            self,
            pixels=self.pixels[window.slices],
            alpha=None if self.alpha is None else self.alpha[window.slices],
            georeference=None if self.georeference is None else self.georeference.cut(*window),
        )

    @property
    def has_clear_pixels(self) -> bool:
        """Whether a pixel is transparent, if only a little."""
        if self.alpha is None or not self.alpha.size:
            return False
        opaque = np.iinfo(self.alpha.dtype).max if self.alpha.dtype.kind == "u" else 1
        return bool(self.alpha.min() < opaque)

    def to_colours(self, background: Sequence[int] = WHITE) -> Bytes:
        """Return colours or gray levels, over a background where they are transparent.

        Args:
            background: RGB, 0 to 255.

        Returns:
            (H, W, 1) or (H, W, 3) RGB, uint8.

        Raises:
            UserError: There are other values than 8-bit gray levels or colours.
        """
        self._check_fits(has_numbers=False)
        pixels: Bytes = self.pixels if self.palette is None else self.palette[self.pixels[..., 0]]
        if not self.has_clear_pixels:
            return pixels
        _log_composite(self.name, background)
        return composite(pixels, self.alpha, background, is_premultiplied=self.is_premultiplied)

    def to_numbers(self) -> Bytes:
        """Return the numbers that the file stores, as of classes: of its palette's colours, or of its levels.

        Returns:
            (H, W, 1) or (H, W, 3) uint8.

        Raises:
            UserError: There are bands, or values that are no whole numbers from 0 to 255.
        """
        self._check_fits(has_numbers=True)
        if self.pixels.dtype != np.uint8:
            with np.errstate(invalid="ignore"):
                numbers = self.pixels.astype(np.uint8)
            if (numbers != self.pixels).any():
                values = f"{self.pixels.dtype.name} values from {self.pixels.min()!s} to {self.pixels.max()!s}"
                raise UserError(f"{values}, class numbers from 0 to 255 are expected")
            return numbers
        if self.palette is not None or self.max_level == 255:
            return self.pixels
        levels: Bytes = ((np.arange(256) * self.max_level + 127) // 255).astype(np.uint8)[self.pixels]
        return levels

    def _check_fits(self, *, has_numbers: bool) -> None:
        reason = describe_misfit(self.pixels.dtype.name, self.pixels.shape[2], self.is_colour, has_numbers=has_numbers)
        if reason is not None:
            raise UserError(f"{reason}: set kind=raw for this side, or convert the file to 8 bits")


def describe_misfit(dtype: str, channels: int, is_colour: bool, *, has_numbers: bool = False) -> str | None:
    """Say why pixels do not fit an rgb, grayscale or label side.

    Args:
        dtype: NumPy's name of their type.
        channels: Number of their channels, without alpha.
        is_colour: Whether they are gray levels or colours.
        has_numbers: Whether the side takes class numbers, which any type may hold.

    Returns:
        What they are and what is expected, or None where they fit.
    """
    if is_colour and (dtype == "uint8" or (has_numbers and channels == 1)):
        return None
    count = f"{channels} channel{'s' if channels > 1 else ''}"
    found = f"{count} of {dtype} values" if dtype != "uint8" else f"{count} (bands of unknown meaning)"
    return f"{found}, and an rgb, grayscale or label side takes 8-bit gray levels or RGB"


def composite(pixels: Bytes, alpha: Any, background: Sequence[int], *, is_premultiplied: bool = False) -> Bytes:
    """Lay an image over a colour.

    Args:
        pixels: (H, W, 1) or (H, W, 3) uint8.
        alpha: (H, W) uint8.
        background: RGB, 0 to 255.
        is_premultiplied: Whether ``pixels`` are multiplied by alpha.

    Returns:
        (H, W, 3) uint8, or (H, W, 1) for levels over a gray.
    """
    if pixels.shape[2] == 1 and len(set(background)) > 1:
        pixels = np.repeat(pixels, 3, 2)
    colour = np.asarray(background[: pixels.shape[2]], np.uint16)
    mixed: Bytes = np.empty_like(pixels)
    rows = max(1, _CHUNK // pixels.shape[1])
    for top in range(0, len(pixels), rows):  # so that a large image needs little more memory
        front = pixels[top : top + rows].astype(np.uint16)
        opacity = alpha[top : top + rows, :, None].astype(np.uint16)
        if is_premultiplied:
            part = np.minimum(front + (colour * (255 - opacity) + 127) // 255, 255)
        else:
            part = (front * opacity + colour * (255 - opacity) + 127) // 255
        mixed[top : top + rows] = part
    return mixed


def from_pil(image: PILImage, *, can_be_deep: bool = False) -> FileImage:
    """Take a PIL image as its file would be taken: turned upright, with its alpha.

    Args:
        image: An image of mode 1, L, LA, P, PA, RGB or RGBA; or with premultiplied alpha.
        can_be_deep: Whether mode I;16 (uint16) and mode F (float32) are taken too.

    Returns:
        The image.

    Raises:
        UserError: It has no pixel, or another mode, of more than 8 bits or of other colours than RGB.
    """
    if not (image.width and image.height):
        raise UserError(f"a PIL image of {image.width} x {image.height} pixels: it has no pixel")
    if can_be_deep and image.mode in _DEEP_PIL_MODES:
        levels = np.asarray(_turn_upright(image))[..., None]
        native = levels.astype(levels.dtype.newbyteorder("="), copy=False)
        return FileImage(pixels=native, max_level=_DEEP_PIL_MODES[image.mode], name="the PIL image")
    if image.mode not in _PIL_MODES:
        raise UserError(
            f"a PIL image of mode {image.mode}: 8-bit gray levels or RGB are expected (L, LA, P, RGB, RGBA), and a "
            "conversion would change its values: convert it first"
        )
    image = _turn_upright(image)
    if image.mode in ("P", "PA"):
        numbers = np.asarray(image).reshape(image.height, image.width, -1)
        palette = _read_palette(image)
        numbers = np.ascontiguousarray(numbers[..., :1])
        return FileImage(pixels=numbers, alpha=_get_alpha(image), palette=palette, name="the PIL image")
    has_alpha = image.mode in ("LA", "La", "RGBA", "RGBa")
    premultiplied = image.mode in ("La", "RGBa")
    array = np.asarray(image.convert("L") if image.mode == "1" else image)
    array = array.reshape(*array.shape[:2], -1)
    colours = {1: 1, 2: 1, 3: 3, 4: 3}[array.shape[2]]
    return FileImage(
        pixels=np.ascontiguousarray(array[..., :colours]),
        alpha=array[..., -1] if has_alpha else _get_alpha(image),
        max_level=1 if image.mode == "1" else 255,
        is_premultiplied=premultiplied,
        name="the PIL image",
    )


def _turn_upright(image: PILImage) -> PILImage:
    """Turn an image by its EXIF data; damaged data counts as none, as in files."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except (SyntaxError, ValueError, TypeError, LookupError, struct.error):
        return image


def _read_palette(image: PILImage) -> Bytes:
    """Return the palette's colours, black for numbers beyond its end."""
    palette = np.zeros((256, 3), np.uint8)
    colours = np.asarray(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    palette[: len(colours)] = colours
    return palette


def _get_alpha(image: PILImage) -> Bytes | None:
    """Return the alpha of a transparent colour or of a palette."""
    if image.mode != "PA" and "transparency" not in image.info:
        return None
    return np.asarray(image.convert("RGBA"))[..., 3]


def _log_composite(name: str, background: Sequence[int]) -> None:
    with _lock:
        if _has_logged[0]:
            return
        _has_logged[0] = 1
    _log.warning(
        "%s has transparent pixels (alpha): it, and others like it, are laid over %s; background= and alpha=error of "
        "a side change that",
        name,
        "white" if tuple(background) == WHITE else f"the colour {list(background)}",
    )
