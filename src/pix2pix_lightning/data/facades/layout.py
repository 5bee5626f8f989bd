"""The buildings of the drawn pairs: the place of each part, as fractions of the image's side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt


class Part(IntEnum):
    """Class of a pixel of the label map."""

    SKY = 0
    NEIGHBOUR = 1
    STREET = 2
    ROOF = 3
    WALL = 4
    CORNICE = 5
    WINDOW = 6
    SHUTTER = 7
    SILL = 8
    DOOR = 9
    SHOP = 10
    BALCONY = 11


@dataclass(frozen=True, slots=True)
class Shape:
    """Describe one part of a building: a box, or a polygon within that box.

    All coordinates are fractions of the image's side, x to the right and y downwards.

    Attributes:
        part: Class of its pixels.
        left: Left side.
        top: Upper side.
        right: Right side.
        bottom: Lower side.
        outline: Corners (x, y) of the polygon, empty for a box.
    """

    part: Part
    left: float
    top: float
    right: float
    bottom: float
    outline: tuple[tuple[float, float], ...] = ()

    def to_pixels(self, size: int) -> tuple[int, int, int, int]:
        """Return left, top, right, bottom in an image of ``size`` pixels, the last two exclusive; never empty."""
        left, top = round(self.left * size), round(self.top * size)
        return left, top, max(left + 1, round(self.right * size)), max(top + 1, round(self.bottom * size))


@dataclass(frozen=True, slots=True)
class Facade:
    """Describe a building seen from the street, in fractions of the image's side.

    Attributes:
        shapes: Parts and surroundings in the order of painting, balconies last.
        left: Left edge of the wall.
        right: Right edge of the wall.
        eave: Upper edge of the wall; below 0 where the image cuts the building.
        first_floor: Base of the first floor, which is the upper end of the ground floor.
        ground: Upper edge of the street.
    """

    shapes: tuple[Shape, ...]
    left: float
    right: float
    eave: float
    first_floor: float
    ground: float


def paint_parts(facade: Facade, size: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Rasterise a facade without anti-aliasing.

    Args:
        facade: The building.
        size: Side of the image in pixels.

    Returns:
        Two maps (size, size) of ``Part`` numbers, uint8: as seen, and without the balconies.
    """
    parts = np.zeros((size, size), np.uint8)
    behind = None
    for shape in facade.shapes:
        if shape.part == Part.BALCONY and behind is None:
            behind = parts.copy()
        if shape.outline:
            corners = np.array([[round(x * size), round(y * size)] for x, y in shape.outline], np.int32)
            cv2.fillPoly(parts, [corners], (int(shape.part),))
        else:
            left, top, right, bottom = shape.to_pixels(size)
            cv2.rectangle(parts, (left, top), (right - 1, bottom - 1), (int(shape.part),), cv2.FILLED)
    return parts, parts if behind is None else behind


def draw_facade(rng: np.random.Generator) -> Facade:
    """Draw a random building; the same state of ``rng`` gives the same building."""
    num_floors = int(rng.integers(2, 7))
    left = -0.02 if rng.random() < 0.2 else float(rng.uniform(0.03, 0.11))
    right = 1.02 if rng.random() < 0.2 else float(rng.uniform(0.89, 0.97))
    ground = float(rng.uniform(0.92, 0.96))
    roof = ("flat", "pitched", "mansard", "gable", "cut")[int(rng.choice(5, p=(0.22, 0.26, 0.26, 0.14, 0.12)))]
    if roof == "gable" and num_floors > 4:
        roof = "mansard"
    eave = float(rng.uniform(0.07, 0.12)) + 0.02 * (6 - num_floors)
    eave = -0.05 if roof == "cut" else eave + {"flat": 0.0, "pitched": 0.08, "mansard": 0.1, "gable": 0.2}[roof]

    weights = np.ones(num_floors)
    weights[0], weights[-1] = rng.uniform(0.82, 1.0), rng.uniform(1.05, 1.3)
    floors = [float(y) for y in eave + (ground - eave) * np.cumsum([0, *weights]) / weights.sum()]
    storey = (ground - eave) / num_floors
    bays = _place_bays(rng, max(left, 0.0), min(right, 1.0), storey)

    shapes = _place_neighbours(rng, left, right, eave, ground)
    shapes += _place_roof(rng, roof, left, right, eave, bays)
    shapes.append(Shape(Part.WALL, left, eave, right, ground))
    if roof == "gable":
        shapes += _place_gable(rng, left, right, eave)
    shapes.append(Shape(Part.STREET, 0, ground, 1, 1))
    shapes += _place_cornices(rng, left, right, floors, roof)
    windows, balconies = _place_upper_floors(rng, bays, floors)
    shapes += windows + _place_ground_floor(rng, bays, floors[-2], ground)
    return Facade((*shapes, *balconies), left, right, eave, floors[-2], ground)


def _place_bays(rng: np.random.Generator, left: float, right: float, storey: float) -> list[tuple[float, float]]:
    """Return centre and width of each vertical row of windows."""
    margin = rng.uniform(0.01, 0.04)
    width = right - left - 2 * margin
    num = int(np.clip(round(width / (max(storey, 0.13) * rng.uniform(0.65, 1.0))), 2, 7))
    weights = np.ones(num)
    rhythm = rng.integers(4)
    if rhythm == 1:
        weights[num // 2 if num % 2 else slice(num // 2 - 1, num // 2 + 1)] = rng.uniform(1.2, 1.5)
    elif rhythm == 2:
        weights[[0, -1]] = rng.uniform(1.2, 1.4)
    elif rhythm == 3:
        weights[1 : num - 1 : 2] = rng.uniform(0.7, 0.85)
    widths = width * weights / weights.sum()
    centres = left + margin + np.cumsum(widths) - widths / 2
    if num % 2 == 0 and rng.random() < 0.25:  # in pairs
        centres += np.where(np.arange(num) % 2, -1, 1) * 0.06 * width / num
    return [(float(c), float(w)) for c, w in zip(centres, widths, strict=True)]


def _place_neighbours(rng: np.random.Generator, left: float, right: float, eave: float, ground: float) -> list[Shape]:
    """Place buildings on both sides; without one there is sky."""
    shapes = []
    for near, far in ((left, 0.0), (right, 1.0)):
        top = max(eave, 0.1) + rng.uniform(-0.06, 0.3)
        if 0 < near < 1 and rng.random() < 0.75:
            shapes.append(Shape(Part.NEIGHBOUR, min(near, far), top, max(near, far), ground))
    return shapes


def _place_roof(
    rng: np.random.Generator,
    kind: str,
    left: float,
    right: float,
    eave: float,
    bays: list[tuple[float, float]],
) -> list[Shape]:
    """Place chimneys, the roof and its dormers; nothing for flat and cut buildings."""
    if kind in ("flat", "cut"):
        return []
    shapes = []
    overhang = rng.uniform(0.008, 0.02)
    height = {"pitched": rng.uniform(0.09, 0.15), "mansard": rng.uniform(0.12, 0.16), "gable": 0.2}[kind]
    slope = {"pitched": rng.uniform(0.0, 0.16), "mansard": rng.uniform(0.02, 0.05), "gable": 0.5}[kind]
    low, high = left - overhang, right + overhang
    inset, ridge = slope * (high - low), eave - height
    for start in (0.2, 0.62)[: int(rng.integers(0, 3))]:
        x, width = left + (right - left) * (start + rng.uniform(0, 0.15)), rng.uniform(0.03, 0.055)
        top = ridge - rng.uniform(0.02, 0.05)
        shapes.append(Shape(Part.WALL, x, top, x + width, eave))
        shapes.append(Shape(Part.CORNICE, x - 0.006, top - 0.012, x + width + 0.006, top))
    corners = ((low, eave), (low + inset, ridge), (high - inset, ridge), (high, eave))
    shapes.append(Shape(Part.ROOF, low, ridge, high, eave, corners))
    if kind == "mansard" or (kind == "pitched" and slope < 0.1 and rng.random() < 0.4):
        step = int(rng.integers(1, 3))
        for centre, bay in bays[(len(bays) - 1) % step :: step]:
            half = min(0.22 * bay, 0.3 * height)
            top, bottom = eave - 0.78 * height, eave - 0.14 * height
            shapes.append(Shape(Part.WALL, centre - half - 0.01, top, centre + half + 0.01, eave))
            shapes.append(Shape(Part.CORNICE, centre - half - 0.018, top - 0.014, centre + half + 0.018, top))
            shapes.append(Shape(Part.WINDOW, centre - half, top + 0.008, centre + half, bottom))
    return shapes


def _place_gable(rng: np.random.Generator, left: float, right: float, eave: float) -> list[Shape]:
    """Place the wall under a roof whose end faces the street, with a small window."""
    middle, rise, half = (left + right) / 2, 0.17, (right - left) / 2 - 0.02
    triangle = ((middle - half, eave), (middle, eave - rise), (middle + half, eave))
    width = rng.uniform(0.025, 0.04)
    top = eave - rng.uniform(0.08, 0.095)
    return [
        Shape(Part.WALL, middle - half, eave - rise, middle + half, eave, triangle),
        _build_arch(Part.WINDOW, middle - width, top, middle + width, top + 0.065, width * rng.integers(2)),
    ]


def _place_cornices(rng: np.random.Generator, left: float, right: float, floors: list[float], roof: str) -> list[Shape]:
    """Place the cornice at the eaves and the bands between floors."""
    height = rng.uniform(0.014, 0.022)
    shapes = []
    if roof != "gable":
        shapes.append(Shape(Part.CORNICE, left - 0.015, floors[0] - 0.006, right + 0.015, floors[0] + 1.5 * height))
    every = rng.random() < 0.3
    for number, y in enumerate(floors[1:-1], start=2):
        above_shops = number == len(floors) - 1
        if every or (above_shops and rng.random() < 0.8):
            shapes.append(Shape(Part.CORNICE, left - 0.006, y - height / 2, right + 0.006, y + height / 2))
    return shapes


def _place_upper_floors(
    rng: np.random.Generator, bays: list[tuple[float, float]], floors: list[float]
) -> tuple[list[Shape], list[Shape]]:
    """Place windows with sills, hoods and shutters; return them, and the balconies in front of them."""
    shapes: list[Shape] = []
    balconies: list[Shape] = []
    narrow, tall = rng.uniform(0.42, 0.6), rng.uniform(0.54, 0.68)
    has_sills, has_hoods, has_shutters = rng.random() < 0.75, rng.random() < 0.35, rng.random() < 0.25
    arched_floor = int(rng.integers(-3, len(floors)))
    # bays with balconies: none, the middle, every other one, all, or one balcony along the whole floor
    plan = int(rng.choice(5, p=(0.4, 0.18, 0.16, 0.14, 0.12)))
    middle = (len(bays) - 1) / 2
    for number, (top, bottom) in enumerate(pairwise(floors[:-1])):
        storey = bottom - top
        height = tall * storey * (0.88 if number == 0 else 1.0)
        base = bottom - (0.82 - tall) * 0.62 * storey
        has_balconies = plan > 0 and (plan < 4 or rng.random() < 0.5) and rng.random() < 0.85
        for bay, (centre, width) in enumerate(bays):
            half = min(narrow * width, 0.85 * height) / 2
            if has_shutters:
                half = min(half, 0.2 * width)
            x = centre + rng.uniform(-0.003, 0.003)
            has_balcony = (False, abs(bay - middle) < 1, bay % 2 == 0, True, True)[plan] and has_balconies
            window_bottom = bottom - 0.04 * storey if has_balcony else base
            window_top = base - height
            rise = 0.7 * half if number == arched_floor else 0.0
            shapes.append(_build_arch(Part.WINDOW, x - half, window_top, x + half, window_bottom, rise))
            if has_shutters and not rise:
                for side in (x - 1.95 * half, x + 1.05 * half):
                    shapes.append(Shape(Part.SHUTTER, side, window_top, side + 0.9 * half, window_bottom))
            if has_hoods and not rise:
                shapes.append(
                    Shape(
                        Part.CORNICE,
                        x - 1.2 * half,
                        window_top - 0.05 * storey - 0.006,
                        x + 1.2 * half,
                        window_top - 0.05 * storey + 0.004,
                    )
                )
            if has_balcony and plan < 4:
                reach = min(1.45 * half + 0.008, 0.49 * width)
                balconies.append(Shape(Part.BALCONY, x - reach, bottom - 0.36 * storey, x + reach, bottom + 0.01))
            elif has_sills and not has_balcony:
                shapes.append(Shape(Part.SILL, x - 1.15 * half, base, x + 1.15 * half, base + 0.012))
        if has_balconies and plan == 4:
            start, end = bays[0][0] - 0.45 * bays[0][1], bays[-1][0] + 0.45 * bays[-1][1]
            balconies.append(Shape(Part.BALCONY, start, bottom - 0.34 * storey, end, bottom + 0.01))
    return shapes, balconies


def _place_ground_floor(
    rng: np.random.Generator, bays: list[tuple[float, float]], top: float, ground: float
) -> list[Shape]:
    """Place one or two doors, and shops or windows in the other bays."""
    shapes: list[Shape] = []
    storey = ground - top
    doors = {int(rng.integers(len(bays))) if rng.random() < 0.5 else len(bays) // 2}
    if len(bays) > 5:
        doors.add(int(rng.integers(len(bays))))
    has_shops, is_arched = rng.random() < 0.5, rng.random() < 0.35
    door_height, door_width = rng.uniform(0.7, 0.8), rng.uniform(0.4, 0.6)
    for bay, (centre, width) in enumerate(bays):
        if bay in doors:
            half = min(door_width * width, 0.62 * storey) / 2
            rise = half * 0.9 if is_arched else 0.0
            shapes.append(
                _build_arch(Part.DOOR, centre - half, ground - door_height * storey, centre + half, ground, rise)
            )
        elif has_shops:
            half = 0.44 * width
            shapes.append(Shape(Part.SHOP, centre - half, top + 0.17 * storey, centre + half, ground - 0.04 * storey))
        else:
            half = min(0.55 * width, 0.6 * storey) / 2
            high, low = ground - 0.8 * storey, ground - 0.26 * storey
            shapes.append(_build_arch(Part.WINDOW, centre - half, high, centre + half, low, half * 0.8 * is_arched))
            shapes.append(Shape(Part.SILL, centre - 1.12 * half, low, centre + 1.12 * half, low + 0.013))
    return shapes


def _build_arch(part: Part, left: float, top: float, right: float, bottom: float, rise: float) -> Shape:
    """Build a box whose upper side is half an ellipse of height ``rise``, a plain box for 0."""
    if rise <= 0:
        return Shape(part, left, top, right, bottom)
    middle, half = (left + right) / 2, (right - left) / 2
    angles = [math.pi * step / 10 for step in range(11)]
    arch = [(middle - half * math.cos(a), top + rise * (1 - math.sin(a))) for a in angles]
    return Shape(part, left, top, right, bottom, ((left, bottom), *arch, (right, bottom)))
