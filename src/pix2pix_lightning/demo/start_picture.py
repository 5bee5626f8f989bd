"""Draw the picture that the canvas shows at first."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from scipy.interpolate import make_interp_spline

from pix2pix_lightning.data.facades.layout import Part, draw_facade, paint_parts
from pix2pix_lightning.data.resize import resize
from pix2pix_lightning.data.sizes import Size, get_sides
from pix2pix_lightning.demo.brushes import Brushes

Image = npt.NDArray[np.uint8]

# A shoe like those of edges2shoes: side view, toe to the right. Curves through points in fractions of the canvas.
_SHOE = (
    ((0.05, 0.20), (0.03, 0.35), (0.035, 0.55), (0.025, 0.76)),  # the heel
    ((0.05, 0.20), (0.13, 0.27), (0.25, 0.29), (0.36, 0.21)),  # the opening
    ((0.36, 0.21), (0.42, 0.18), (0.48, 0.26), (0.60, 0.43), (0.74, 0.56), (0.88, 0.60), (0.96, 0.70), (0.97, 0.83)),
    ((0.025, 0.76), (0.20, 0.81), (0.45, 0.87), (0.75, 0.89), (0.97, 0.83)),  # the sole's upper edge
    ((0.025, 0.76), (0.03, 0.85), (0.20, 0.92), (0.45, 0.97), (0.75, 0.975), (0.93, 0.94), (0.97, 0.83)),
    ((0.78, 0.575), (0.71, 0.68), (0.69, 0.78), (0.71, 0.89)),  # the toe cap
    ((0.36, 0.21), (0.37, 0.34), (0.42, 0.50), (0.52, 0.62), (0.62, 0.68), (0.71, 0.68)),  # edge of the laces
    ((0.13, 0.27), (0.15, 0.45), (0.13, 0.62), (0.15, 0.795)),
    *(((x, y), (x + 0.06, y - 0.05), (x + 0.13, y - 0.07)) for x, y in ((0.38, 0.39), (0.42, 0.48), (0.475, 0.56))),
)
_CMP = {
    Part.SKY: "background",
    Part.NEIGHBOUR: "background",
    Part.STREET: "background",
    Part.ROOF: "background",
    Part.SHUTTER: "blind",
}
"""Names of the CMP facades for the parts of a procedural facade, where they differ."""


def draw_start_picture(brushes: Brushes, size: Size) -> Image:
    """Draw an example: lines, a facade, or an area in each colour.

    Args:
        brushes: Brushes of the source.
        size: The side of a square, or (height, width), in pixels.

    Returns:
        (H, W, 3) uint8. All colours are those of brushes.
    """
    square = _draw_square(brushes, max(get_sides(size)))
    return resize(square, *get_sides(size), "nearest")


def _draw_square(brushes: Brushes, size: int) -> Image:
    if not brushes.paints:
        return _draw_shoe(size)
    names = {part: _name_part(part, brushes) for part in Part}
    if all(name in brushes.colours for name in names.values()):
        parts, _ = paint_parts(draw_facade(np.random.default_rng(10)), size)
        picture: Image = np.asarray([brushes.colours[names[part]] for part in Part], np.uint8)[parts]
        return picture
    return _draw_areas(list(brushes.colours.values()), size)


def _name_part(part: Part, brushes: Brushes) -> str:
    own = part.name.lower()
    return own if own in brushes.colours else _CMP.get(part, own)


def _draw_shoe(size: int) -> Image:
    picture = np.full((size, size, 3), 255, np.uint8)
    for points in _SHOE:
        lengths = np.hypot(*np.diff(points, axis=0).T).cumsum()
        along = make_interp_spline([0, *lengths], points, k=2)
        corners = np.round(along(np.linspace(0, lengths[-1], 60)) * size).astype(np.int32)
        cv2.polylines(picture, [corners], isClosed=False, color=(0, 0, 0), thickness=max(1, size // 256))
    return picture


def _draw_areas(colours: list[tuple[int, int, int]], size: int) -> Image:
    """Fill with the first colour, and draw a rectangle in each other one."""
    picture = np.full((size, size, 3), colours[0], np.uint8)
    others = colours[1:]
    columns = int(np.ceil(np.sqrt(len(others)))) or 1
    for number, colour in enumerate(others):
        top, left = (divmod(number, columns) + np.array([0.2, 0.2])) * size / columns
        side = max(1, round(0.6 * size / columns))
        picture[round(top) : round(top) + side, round(left) : round(left) + side] = colour
    return picture
