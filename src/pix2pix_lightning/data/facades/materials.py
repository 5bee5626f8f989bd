"""Colours, noise, plaster and masonry, and the functions to paint with them; images are float32, 0 to 255."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.facades.layout import Part

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Colour = tuple[float, float, float]

BRICKS = ((152, 74, 56), (128, 62, 52), (176, 104, 76), (186, 146, 98), (120, 92, 80), (206, 192, 176))
PLASTERS = (
    (234, 220, 186), (222, 184, 120), (224, 188, 180), (186, 204, 178), (180, 196, 212), (238, 234, 226),
    (196, 194, 190), (204, 138, 104), (240, 206, 140), (170, 120, 100),
)  # fmt: skip
STONES = ((206, 188, 152), (190, 186, 178), (168, 156, 140), (222, 212, 192))
TILES = ((164, 82, 58), (134, 70, 54), (92, 96, 106), (74, 76, 82), (122, 104, 90))
TRIMS = ((240, 236, 226), (214, 202, 180), (188, 180, 168), (228, 222, 214))
FRAMES = ((242, 240, 234), (242, 240, 234), (92, 62, 44), (52, 54, 58), (56, 84, 66))
PAINTS = (
    (104, 66, 42),
    (52, 84, 62),
    (44, 60, 96),
    (130, 36, 36),
    (44, 44, 48),
    (92, 120, 136),
    (196, 190, 176),
)
CURTAINS = ((236, 230, 218), (214, 196, 170), (180, 90, 78), (150, 170, 178), (226, 206, 150))
RAILS = ((38, 40, 44), (38, 40, 44), (58, 74, 66), (228, 226, 220))


def draw_noise(rng: np.random.Generator, size: int, cells: tuple[int, ...]) -> Floats:
    """Draw smooth noise with mean 0 and a spread of about 1.

    Args:
        rng: Source of the noise; it is used alike for every size.
        size: Side of the image in pixels.
        cells: Number of cells across the image for each octave, at most 64; each octave is weaker than the last.

    Returns:
        (size, size) float32.
    """
    total = np.zeros((64, 64), np.float32)
    for octave, num in enumerate(cells):
        coarse = rng.standard_normal((num, num), np.float32) * np.float32(0.62**octave)
        total += resize(coarse, (64, 64), cv2.INTER_LINEAR)
    return resize(total, (size, size), cv2.INTER_LINEAR)


def draw_plaster(shape: tuple[int, int], colour: Colour, grain: np.random.Generator) -> Floats:
    """Draw plaster.

    Args:
        shape: Height and width in pixels.
        colour: Mean colour, RGB, 0 to 255.
        grain: Source of the roughness.

    Returns:
        (height, width, 3) float32.
    """
    height, width = shape
    rough = 1 + 0.03 * grain.standard_normal((height // 2 + 1, width // 2), np.float32)
    rough = resize(rough, (width, height), cv2.INTER_LINEAR)
    return merge([channel * rough for channel in colour])


def draw_masonry(
    shape: tuple[int, int],
    course: float,
    block: float,
    colour: Colour,
    spread: float,
    joint: Sequence[float],
    grain: np.random.Generator,
) -> Floats:
    """Draw blocks in running bond.

    Args:
        shape: Height and width in pixels; the width is that of the image.
        course: Height of a course as a fraction of the width; it is at least 2 pixels.
        block: Length of a block as a fraction of the width.
        colour: Mean colour of the blocks, RGB, 0 to 255.
        spread: Standard deviation of the blocks' brightness, as a fraction.
        joint: Colour of the joints, RGB, 0 to 255.
        grain: Source of each block's brightness.

    Returns:
        (height, width, 3) float32.
    """
    height, width = shape
    rows, half = max(2, round(course * width)), max(2, round(block * width / 2))
    num_rows, num = 2 * -(-height // (2 * rows)), -(-width // (2 * half))
    level = 1 + spread * grain.standard_normal((num_rows, num, 1), np.float32)
    level = level + 0.3 * spread * grain.standard_normal((num_rows, num, 3), np.float32)
    blocks = np.repeat(level * np.array(colour, np.float32), 2, axis=1)
    blocks[1::2] = np.roll(blocks[1::2], 1, axis=1)
    length = 2 * num * half
    wall = resize(blocks, (length, num_rows * rows), cv2.INTER_NEAREST)
    # joints thinner than a pixel are drawn one pixel wide and fainter
    weight = min(1.0, rows / 5 + 0.1)
    mortar = np.array(joint, np.float32) * weight + np.array(colour, np.float32) * (1 - weight)
    wall.reshape(num_rows, rows, 3 * length)[:, 0] = np.tile(mortar, length)
    courses = wall.reshape(num_rows // 2, 2, rows, length, 3)
    courses[:, 0, :, :: 2 * half] = mortar
    courses[:, 1, :, half :: 2 * half] = mortar
    return wall[:height, :width]


def pick_colour(rng: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    """Draw one of the colours and vary it a little."""
    red, green, blue = colours[int(rng.integers(len(colours)))]
    bright, warm = rng.uniform(0.9, 1.06), rng.uniform(0.97, 1.03)
    return red * bright * warm, green * bright, blue * bright / warm


def paint(photo: Floats, material: Floats, parts: Bytes, part: Part) -> None:
    """Copy a material to the pixels of one part, in place.

    Args:
        photo: (H, W, 3) image to change.
        material: (H, W, 3) image to copy from.
        parts: (H, W) map of ``Part`` numbers.
        part: The part to paint.
    """
    cv2.copyTo(material, (parts == part).view(np.uint8), photo)


def fill(image: Floats, box: tuple[int, int, int, int], colour: Sequence[float]) -> None:
    """Fill a box in place; do nothing if it is empty.

    Args:
        image: (H, W, C) or (H, W) image to change.
        box: Left, top, right and bottom in pixels, the last two exclusive.
        colour: One value for each channel.
    """
    left, top, right, bottom = box
    if left < right and top < bottom:
        cv2.rectangle(image, (left, top), (right - 1, bottom - 1), colour, cv2.FILLED)


def merge(channels: Sequence[Floats]) -> Floats:
    """Merge three planes (height, width) into (height, width, 3)."""
    return np.asarray(cv2.merge(channels), np.float32)


def resize(image: Floats, size: tuple[int, int], interpolation: int) -> Floats:
    """Resize an image.

    Args:
        image: (H, W) or (H, W, C).
        size: (width, height) of the result in pixels.
        interpolation: One of OpenCV's constants, such as ``cv2.INTER_LINEAR``.

    Returns:
        (height, width) or (height, width, C) float32.
    """
    return np.asarray(cv2.resize(image, size, interpolation=interpolation), np.float32)


def blur(image: Floats, sigma: float) -> Floats:
    """Blur an image with a Gaussian of ``sigma`` pixels."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)
