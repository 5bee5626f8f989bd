"""The photo of a drawn pair: materials, glass, shadows, weather and noise over a map of parts."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from pix2pix_lightning.data.facade_layout import Facade, Part, Shape
from pix2pix_lightning.data.facade_materials import (
    Bytes,
    Colour,
    Floats,
    blur,
    draw_masonry,
    draw_noise,
    draw_plaster,
    fill,
    merge,
    paint,
    pick_colour,
)


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
    sky = _draw_sky(weather, look, size)
    trim, frame, rail = pick_colour(look, TRIMS), pick_colour(look, FRAMES), pick_colour(look, RAILS)

    photo = _draw_surfaces(facade, behind, trim, look, grain)
    paint(photo, _draw_windows(facade, sky, frame, weather, look), behind, Part.WINDOW)
    _draw_doors(photo, facade, look)
    _draw_shops(photo, facade, look)
    _draw_balconies(photo, facade, rail, trim, look)
    shade = _compute_shading(facade, parts, weather, is_lit_from_left)
    shade *= 1 + 0.05 * stains
    photo *= merge([shade * (channel / 255) for channel in weather.light])
    paint(photo, sky, parts, Part.SKY)
    return _expose(photo, *lens, grain)


def _expose(photo: Floats, softness: float, grit: float, exposure: float, grain: np.random.Generator) -> Bytes:
    """Apply the blur of the lens, the exposure, and the noise of the sensor."""
    photo = blur(photo, softness * max(0.6, len(photo) / 256))
    noise = grain.integers(0, 256, photo.shape, np.uint8).astype(np.float32)
    noise -= 127.5
    noise *= grit
    photo *= exposure
    photo += noise
    return np.clip(photo, 0, 255, out=photo).astype(np.uint8)


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


def _draw_windows(facade: Facade, sky: Floats, frame: Colour, weather: Weather, look: np.random.Generator) -> Floats:
    """Draw glass, what is behind it and the frames in front of it, wherever there are windows."""
    size = len(sky)
    room = np.zeros((size, size, 3), np.float32)
    gloss = np.full((size, size), 0.3, np.float32)
    habit, curtain = look.random(4), pick_colour(look, CURTAINS)
    num_panes, transom = int(look.integers(1, 4)), (0.0, 0.3, 0.5)[int(look.integers(3))]
    windows = [shape for shape in facade.shapes if shape.part == Part.WINDOW]
    chances = look.random((len(windows), 6))
    for shape, (lamp, drape, amount, glare, tint, lean) in zip(windows, chances, strict=True):
        box = left, top, right, bottom = shape.to_pixels(size)
        width, height = right - left, bottom - top
        is_lit = lamp < weather.lit
        glow = 150 + 90 * tint
        fill(
            room,
            box,
            (glow * 1.25, glow, glow * 0.62) if is_lit else (26 + 24 * tint, 30 + 22 * tint, 36 + 16 * tint),
        )
        level = 1.1 if is_lit else 0.8
        cloth = (curtain[0] * level, curtain[1] * level, curtain[2] * level * (0.75 if is_lit else 1))
        if drape < 0.35 * habit[0] + 0.15:
            hang = round(width * (0.14 + 0.2 * amount))
            fill(room, (left, top, left + hang, bottom), cloth)
            fill(room, (right - hang, top, right, bottom), cloth)
        elif drape < 0.75:
            if drape > 0.55:
                fill(room, (left, top, right, top + round(height * (0.15 + 0.75 * amount * habit[1]))), cloth)
            else:
                fill(room, (left, bottom - round(height * (0.3 + 0.3 * amount)), right, bottom), cloth)
        fill(gloss, box, (0.08 if is_lit else 0.18 + 0.4 * glare,))
        if glare > 0.6 and not is_lit:
            x, slant = left + lean * width * 0.6, 0.35 * width
            streak = np.array([[x, bottom], [x + slant, top], [x + 2 * slant, top], [x + slant, bottom]], np.int32)
            cv2.fillPoly(gloss, [streak], (0.75,))
    folds = 1 + 0.07 * np.sin(np.arange(size, dtype=np.float32) * (420 / size))
    room.reshape(size, 3 * size)[:] *= np.repeat(folds, 3)
    room += sky * merge((gloss, gloss, gloss))
    for shape in windows:
        _draw_frame(room, shape, size, frame, num_panes, transom)
    return room


def _draw_frame(room: Floats, shape: Shape, size: int, colour: Colour, num_panes: int, transom: float) -> None:
    """Draw the frame of one window, its mullions and its transom."""
    left, top, right, bottom = shape.to_pixels(size)
    width, height = right - left, bottom - top
    bar = max(1, round(0.006 * size))
    # a frame thinner than a pixel is drawn one pixel wide and fainter
    weight = min(1.0, 0.25 + 0.006 * size)
    colour = (
        colour[0] * weight + 60 * (1 - weight),
        colour[1] * weight + 64 * (1 - weight),
        colour[2] * weight + 70 * (1 - weight),
    )
    if shape.outline:
        cv2.polylines(
            room,
            [np.array([[x * size, y * size] for x, y in shape.outline], np.int32)],
            True,
            colour,
            2 * bar,
        )
    elif width >= 5:
        cv2.rectangle(room, (left, top), (right - 1, bottom - 1), colour, bar)
    for pane in range(1, min(num_panes, width // (4 * bar)) if width >= 5 else 1):
        x = left + round((width - bar) * pane / num_panes)
        fill(room, (x, top, x + bar, bottom), colour)
    if transom and height >= 8:
        y = top + round(height * transom)
        fill(room, (left, y, right, y + bar), colour)


def _draw_doors(photo: Floats, facade: Facade, look: np.random.Generator) -> None:
    """Draw panelled doors, with glass above or in an arch."""
    size = len(photo)
    line = max(1, size // 160)
    is_glazed, is_double, brass = look.random() < 0.6, look.random() < 0.5, (206, 172, 92)
    for shape in (s for s in facade.shapes if s.part == Part.DOOR):
        left, top, right, bottom = shape.to_pixels(size)
        colour = [float(c) for c in photo[min(bottom, size) - 1, (left + right) // 2]]
        dark, bright = [0.62 * c for c in colour], [1.2 * c + 8 for c in colour]
        head = top + round(0.16 * (bottom - top))
        if shape.outline:
            head = round(shape.outline[1][1] * size)
            radii = ((right - left) // 2 - 2 * line, head - top - 2 * line)
            if min(radii) > 0:
                centre = ((left + right) // 2, head - line)
                cv2.ellipse(photo, centre, radii, 0, 180, 360, (88, 102, 112), cv2.FILLED)
        elif is_glazed:
            fill(photo, (left + line, top + line, right - line, head - line), (88, 102, 112))
        leaves = 2 if is_double and right - left > 14 else 1
        for leaf in range(leaves):
            start = left + (right - left) * leaf // leaves + line
            end = left + (right - left) * (leaf + 1) // leaves - line
            fill(photo, (start - line, head, start, bottom), dark)
            for above, below in ((0.06, 0.4), (0.48, 0.62), (0.7, 0.94)):
                y0, y1 = (round(head + (bottom - head) * part) for part in (above, below))
                fill(photo, (start + line, y0, end - line, y1), bright)
                fill(photo, (start + line, y0, end - 2 * line, y1 - line), dark)
                fill(photo, (start + 2 * line, y0 + line, end - 2 * line, y1 - line), colour)
        knob = left + (right - left) // 2 + 2 * line if leaves == 2 else right - 3 * line
        middle = (head + bottom) // 2
        fill(photo, (knob, middle, knob + line, middle + line), brass)


def _draw_shops(photo: Floats, facade: Facade, look: np.random.Generator) -> None:
    """Draw shop windows with a sign, goods and sometimes an awning."""
    size = len(photo)
    line = max(1, size // 128)
    for shape in (s for s in facade.shapes if s.part == Part.SHOP):
        left, top, right, bottom = shape.to_pixels(size)
        width, height = right - left, bottom - top
        colour, awning, glow = pick_colour(look, PAINTS), pick_colour(look, PAINTS), look.uniform(0.35, 1.0)
        goods, letters = look.random((7, 5)), look.random(9)
        has_awning, has_sign, num_panes = look.random() < 0.45, look.random() < 0.8, int(look.integers(1, 4))
        sill, head = top + round(0.88 * height), top + round(0.2 * height)
        fill(photo, (left, top, right, bottom), colour)
        fill(photo, (left + line, head, right - line, sill), (190 * glow, 168 * glow, 128 * glow))
        fill(
            photo,
            (left + line, head, right - line, head + (sill - head) // 3),
            (110 * glow, 108 * glow, 100 * glow),
        )
        for x, wide, high, *hue in goods:
            start = left + round(width * (0.05 + 0.75 * x))
            box = (
                start,
                sill - round((0.15 + 0.4 * high) * (sill - head)),
                start + round(width * (0.05 + 0.1 * wide)),
                sill,
            )
            fill(photo, box, (60 + 170 * hue[0], 60 + 130 * hue[1], 60 + 120 * x))
        for pane in range(num_panes + 1):
            x = left + round((width - line) * pane / num_panes)
            fill(photo, (x, head, x + line, bottom), colour)
        if has_sign:
            ink = (236, 226, 190) if sum(colour) < 380 else (50, 46, 44)
            x, step = left + 0.2 * width, 0.6 * width / len(letters)
            for number, letter in enumerate(letters):
                start, end = round(x + step * number), round(x + step * (number + 0.3 + 0.4 * letter))
                fill(photo, (start, top + round(0.06 * height), end, top + round(0.14 * height)), ink)
        if has_awning:
            hem, stripe = head + round(0.22 * height), max(2, round(0.022 * size))
            for number, x in enumerate(range(left, right, stripe)):
                fill(photo, (x, head, min(x + stripe, right), hem), awning if number % 2 else (232, 226, 214))
            fill(photo, (left, hem - line, right, hem), [0.6 * c for c in awning])


def _draw_balconies(photo: Floats, facade: Facade, rail: Colour, trim: Colour, look: np.random.Generator) -> None:
    """Draw balconies with bars or a solid front, some of them with flowers."""
    size = len(photo)
    bar, step = max(1, size // 256), max(3, round(0.0145 * size))
    is_solid = look.random() < 0.2
    for shape in (s for s in facade.shapes if s.part == Part.BALCONY):
        left, top, right, bottom = shape.to_pixels(size)
        left, has_flowers = max(left, 0), look.random() < 0.3
        slab = bottom - max(1, round(0.016 * size))
        if is_solid:
            fill(photo, (left, top, right, slab), [0.9 * c for c in trim])
            fill(
                photo,
                (left + 2 * bar, top + 3 * bar, right - 2 * bar, slab - 2 * bar),
                [0.8 * c for c in trim],
            )
        else:
            weight = 0.4 + 0.6 * min(1.0, size / 200)
            for x in range(bar):
                bars = photo[top:slab, left + x : right : step]
                bars += weight * (np.array(rail, np.float32) - bars)
            photo[top:slab, right - bar : right] = rail
            photo[top + (slab - top) // 2, left:right] = rail
        fill(photo, (left, top, right, top + max(1, round(0.008 * size))), trim if is_solid else rail)
        if has_flowers and slab - top > 6:
            fill(photo, (left + bar, top + bar, right - bar, top + round(0.026 * size)), (62, 98, 50))
            photo[top + 1 : top + 2 + size // 128, left + 2 : right - 1 : 4] = (206, 70, 84)
            photo[top + 3 : top + 4 + size // 128, left + 3 : right - 1 : 5] = (40, 70, 38)
        fill(photo, (left, slab, right, bottom), trim)


def _compute_shading(facade: Facade, parts: Bytes, weather: Weather, is_lit_from_left: bool) -> Floats:
    """Return the brightness (size, size): cast shadows, edges, dirt and the slant of the light."""
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


def _draw_sky(weather: Weather, look: np.random.Generator, size: int) -> Floats:
    """Draw the gradient of the sky and clouds, (size, size, 3)."""
    height = np.linspace(0, 1, size, dtype=np.float32)[:, None]
    clouds = draw_noise(look, size, (3, 6, 12, 25))
    cover = np.clip(clouds * 0.9 + 2 * weather.clouds - 1.0, 0, 0.85)
    channels = []
    for zenith, horizon, light in zip(weather.zenith, weather.horizon, weather.light, strict=True):
        clear = zenith + height**0.7 * (horizon - zenith)
        channels.append(clear + cover * (122 + 0.5 * light - clear))
    return merge(channels)
