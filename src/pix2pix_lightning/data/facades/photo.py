"""The photo of a drawn pair: materials, glass, shadows, weather and noise over a map of parts."""

from __future__ import annotations

import cv2
import numpy as np

from pix2pix_lightning.data.facades.layout import Facade, Part, Shape
from pix2pix_lightning.data.facades.light import WEATHER, compute_shading, draw_sky, expose
from pix2pix_lightning.data.facades.materials import (
    BRICKS,
    FRAMES,
    PAINTS,
    PLASTERS,
    RAILS,
    STONES,
    TILES,
    TRIMS,
    Bytes,
    Colour,
    Floats,
    draw_masonry,
    draw_noise,
    draw_plaster,
    fill,
    merge,
    paint,
    pick_colour,
)
from pix2pix_lightning.data.facades.openings import draw_balconies, draw_doors, draw_shops, draw_windows


def render_photo(
    facade: Facade, parts: Bytes, behind: Bytes, look: np.random.Generator, grain: np.random.Generator
) -> Bytes:
    """Render a photo whose edges are those of the map.

    Args:
        facade: The building of the maps.
        parts: (size, size) ``Part`` numbers as seen.
        behind: (size, size) ``Part`` numbers without the balconies.
        look: Source of materials, weather and what is in the windows; it is used alike for every size.
        grain: Source of single bricks and of the sensor's noise.

    Returns:
        (size, size, 3) RGB uint8.
    """
    size = len(parts)
    lens = look.uniform(0.3, 0.6), look.uniform(0.02, 0.07), look.uniform(0.88, 1.08)
    weather = WEATHER[int(look.choice(4, p=(0.36, 0.26, 0.22, 0.16)))]
    is_lit_from_left = bool(look.integers(2))
    stains = draw_noise(look, size, (3, 9, 27, 64))
    sky = draw_sky(weather, look, size)
    trim, frame, rail = pick_colour(look, TRIMS), pick_colour(look, FRAMES), pick_colour(look, RAILS)

    photo = _draw_surfaces(facade, behind, trim, look, grain)
    paint(photo, draw_windows(facade, sky, frame, weather, look), behind, Part.WINDOW)
    draw_doors(photo, facade, look)
    draw_shops(photo, facade, look)
    draw_balconies(photo, facade, rail, trim, look)
    shade = compute_shading(facade, parts, weather, is_lit_from_left)
    shade *= 1 + 0.05 * stains
    photo *= merge([shade * (channel / 255) for channel in weather.light])
    paint(photo, sky, parts, Part.SKY)
    return expose(photo, *lens, grain)


def _draw_surfaces(
    facade: Facade, behind: Bytes, trim: Colour, look: np.random.Generator, grain: np.random.Generator
) -> Floats:
    """Draw every part that consists of one material, without light and shadow."""
    size = len(behind)
    colours = np.zeros((256, 3), np.float32)
    colours[Part.NEIGHBOUR] = np.multiply(pick_colour(look, PLASTERS + BRICKS), 0.72)
    colours[[Part.CORNICE, Part.SILL]] = trim
    colours[[Part.DOOR, Part.SHUTTER]] = pick_colour(look, PAINTS), pick_colour(look, PAINTS)
    photo = np.asarray(cv2.LUT(cv2.merge((behind, behind, behind)), colours[None]), np.float32)

    whole = (size, size)
    kind = look.random()
    if kind < 0.42:
        wall = draw_masonry(whole, 0.0125, 0.034, pick_colour(look, BRICKS), 0.1, (188, 180, 168), grain)
    elif kind < 0.82:
        wall = draw_plaster(whole, pick_colour(look, PLASTERS), grain)
    else:
        wall = draw_masonry(whole, 0.034, 0.08, pick_colour(look, STONES), 0.05, (128, 120, 108), grain)
    if look.random() < 0.4:
        row = round(facade.first_floor * size)
        stone = pick_colour(look, STONES)
        wall[row:] = draw_masonry((size - row, size), 0.042, 0.11, stone, 0.04, (110, 104, 96), grain)
    paint(photo, wall, behind, Part.WALL)
    tile = pick_colour(look, TILES)
    row = round(facade.eave * size) + 1  # nothing of the roof lies below
    if any(shape.part == Part.ROOF for shape in facade.shapes):
        roof = draw_masonry((row, size), 0.0125, 0.017, tile, 0.08, [0.6 * c for c in tile], grain)
        paint(photo[:row], roof, behind[:row], Part.ROOF)
    _draw_street(photo, facade, grain)
    _draw_neighbours(photo, facade, look)
    return photo


def _draw_street(photo: Floats, facade: Facade, grain: np.random.Generator) -> None:
    """Draw pavement, kerb and asphalt."""
    size = len(photo)
    street = photo[round(facade.ground * size) :]
    street[:] = draw_plaster((len(street), size), (150, 146, 140), grain)
    kerb = round(0.55 * len(street))
    street[kerb:] *= 0.62
    street[kerb : kerb + max(1, size // 128)] = 186


def _draw_neighbours(photo: Floats, facade: Facade, look: np.random.Generator) -> None:
    """Draw dim windows, which the label map does not show."""
    size = len(photo)
    for shape in (s for s in facade.shapes if s.part == Part.NEIGHBOUR):
        left, right = (-0.04, shape.right) if shape.left == 0 else (shape.left, 1.04)
        step, shift = look.uniform(0.13, 0.18), look.uniform(0.03, 0.06)
        y = shape.top + shift
        while y + 0.08 < facade.ground:
            x = (left + right) / 2
            box = Shape(Part.NEIGHBOUR, x - 0.018, y, x + 0.018, y + 0.07)
            if box.left > 0 and box.right < 1:
                fill(photo, box.to_pixels(size), (70, 76, 84))
            y += step
