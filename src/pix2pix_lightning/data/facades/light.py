"""Light of a drawn photo: weather, sky, shadows, and the camera."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pix2pix_lightning.data.facades.layout import Facade, Part, Shape
from pix2pix_lightning.data.facades.materials import Bytes, Colour, Floats, blur, draw_noise, fill, merge


class Weather(NamedTuple):
    """Describe the light of a photo; colours are RGB, 0 to 255."""

    zenith: Colour
    horizon: Colour
    clouds: float  # share of the sky that they cover
    light: Colour  # colour of a white wall
    shadow: float  # brightness within a cast shadow
    lit: float  # share of windows with a light


WEATHER = (
    Weather((66, 124, 206), (178, 208, 232), 0.35, (255, 247, 230), 0.5, 0.03),
    Weather((110, 152, 204), (200, 214, 226), 0.7, (250, 244, 232), 0.6, 0.06),
    Weather((186, 192, 200), (222, 224, 226), 0.2, (226, 228, 232), 0.8, 0.15),
    Weather((58, 70, 122), (240, 172, 120), 0.4, (196, 164, 156), 0.74, 0.4),
)


def draw_sky(weather: Weather, look: np.random.Generator, size: int) -> Floats:
    """Draw the gradient of the sky and clouds.

    Args:
        weather: Colours of the sky and share of the clouds.
        look: Source of the clouds.
        size: Side of the photo in pixels.

    Returns:
        (size, size, 3) float32, 0 to 255.
    """
    height = np.linspace(0, 1, size, dtype=np.float32)[:, None]
    clouds = draw_noise(look, size, (3, 6, 12, 25))
    cover = np.clip(clouds * 0.9 + 2 * weather.clouds - 1.0, 0, 0.85)
    channels = []
    for zenith, horizon, light in zip(weather.zenith, weather.horizon, weather.light, strict=True):
        clear = zenith + height**0.7 * (horizon - zenith)
        channels.append(clear + cover * (122 + 0.5 * light - clear))
    return merge(channels)


def compute_shading(facade: Facade, parts: Bytes, weather: Weather, is_lit_from_left: bool) -> Floats:
    """Compute the brightness: cast shadows, edges, dirt and the slant of the light.

    Args:
        facade: The building.
        parts: (size, size) ``Part`` numbers.
        weather: The light, with the brightness within a shadow.
        is_lit_from_left: Whether the sun is on the left; else it is on the right.

    Returns:
        (size, size) float32, factors above 0.
    """
    size = len(parts)
    shadow, relief = np.ones((2, size, size), np.float32)
    dark = (weather.shadow,)
    fine = max(1, round(size / 256))
    lean = round(0.012 * size) if is_lit_from_left else -round(0.012 * size)
    sides = (facade.right, facade.right + 0.035) if is_lit_from_left else (facade.left - 0.035, facade.left)
    fill(shadow, Shape(Part.NEIGHBOUR, sides[0], facade.eave, sides[1], facade.ground).to_pixels(size), dark)
    for shape in facade.shapes:
        left, top, right, bottom = shape.to_pixels(size)
        if shape.part in (Part.CORNICE, Part.SILL, Part.BALCONY):
            reach = {Part.CORNICE: 0.008 + 0.5 * (shape.bottom - shape.top), Part.SILL: 0.01}.get(shape.part, 0.05)
            fill(shadow, (left + lean, bottom, right + lean, bottom + max(1, round(reach * size))), dark)
            fill(relief, (left, bottom - fine, right, bottom), (0.74,))
            if shape.part != Part.BALCONY:
                fill(relief, (left, top, right, top + fine), (1.14,))
                if bottom - top > 5 * fine:
                    fill(relief, (left, (top + bottom) // 2, right, (top + bottom) // 2 + fine), (0.84,))
        elif shape.part in (Part.WINDOW, Part.DOOR, Part.SHOP):
            depth = max(1, round(0.009 * size))
            fill(shadow, (left, top, right, top + depth), dark)
            fill(
                shadow,
                (left, top, left + depth, bottom) if is_lit_from_left else (right - depth, top, right, bottom),
                dark,
            )
        elif shape.part == Part.SHUTTER:
            fill(shadow, (left + lean // 2, top + fine, right + lean // 2, bottom + fine), dark)
            fill(shadow, (left, top, right, bottom), (1,))
            relief[max(top, 0) : bottom : 3 * fine, left:right] = 0.78
    shade = blur(shadow, 0.0035 * size)
    shade *= relief
    rows = (np.arange(size, dtype=np.float32) + 0.5) / size
    below, above = np.maximum(rows - facade.eave, 0), np.maximum(facade.ground - rows, 0)
    occlusion = 1 - 0.22 * np.exp(-below / 0.05) * (rows > facade.eave) - 0.25 * np.exp(-above / 0.03)
    shade *= (occlusion * (1.06 - 0.1 * rows))[:, None]
    shade *= 1 + (0.09 if is_lit_from_left else -0.09) * (0.5 - rows)
    return shade


def expose(photo: Floats, softness: float, grit: float, exposure: float, grain: np.random.Generator) -> Bytes:
    """Apply the blur of the lens, the exposure, and the noise of the sensor.

    Args:
        photo: (size, size, 3) float32, 0 to 255.
        softness: Blur of the lens in pixels of a photo of 256.
        grit: Strength of the noise: its largest deviation as a share of 127.5.
        exposure: Factor of the brightness.
        grain: Source of the noise.

    Returns:
        (size, size, 3) uint8.
    """
    photo = blur(photo, softness * max(0.6, len(photo) / 256))
    noise = grain.integers(0, 256, photo.shape, np.uint8).astype(np.float32)
    noise -= 127.5
    noise *= grit
    photo *= exposure
    photo += noise
    return np.clip(photo, 0, 255, out=photo).astype(np.uint8)
