"""Windows, doors, shops and balconies of a drawn photo."""

from __future__ import annotations

import cv2
import numpy as np

from pix2pix_lightning.data.facades.layout import Facade, Part, Shape
from pix2pix_lightning.data.facades.light import Weather
from pix2pix_lightning.data.facades.materials import CURTAINS, PAINTS, Colour, Floats, fill, merge, pick_colour


def draw_windows(facade: Facade, sky: Floats, frame: Colour, weather: Weather, look: np.random.Generator) -> Floats:
    """Draw glass, what is behind it and the frames in front of it, wherever there are windows.

    Args:
        facade: The building.
        sky: (size, size, 3) float32, which the glass reflects.
        frame: Colour of the frames, RGB, 0 to 255.
        weather: The light, which decides how many windows are lit.
        look: Source of what differs between the photos of two buildings.

    Returns:
        (size, size, 3) float32, right at the windows alone.
    """
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


def draw_doors(photo: Floats, facade: Facade, look: np.random.Generator) -> None:
    """Draw panelled doors, with glass above or in an arch.

    Args:
        photo: (size, size, 3) float32, 0 to 255; changed in place.
        facade: The building.
        look: Source of what differs between the photos of two buildings.
    """
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


def draw_shops(photo: Floats, facade: Facade, look: np.random.Generator) -> None:
    """Draw shop windows with a sign, goods and sometimes an awning.

    Args:
        photo: (size, size, 3) float32, 0 to 255; changed in place.
        facade: The building.
        look: Source of what differs between the photos of two buildings.
    """
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


def draw_balconies(photo: Floats, facade: Facade, rail: Colour, trim: Colour, look: np.random.Generator) -> None:
    """Draw balconies with bars or a solid front, some of them with flowers.

    Args:
        photo: (size, size, 3) float32, 0 to 255; changed in place.
        facade: The building.
        rail: Colour of bars, RGB, 0 to 255.
        trim: Colour of slabs and solid fronts, RGB, 0 to 255.
        look: Source of what differs between the photos of two buildings.
    """
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
