"""Turn edge strengths into thin lines, as the paper does with the outputs of HED for edges2shoes and edges2handbags."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Strength = npt.NDArray[np.float32]

_EPS = float(np.finfo(np.float32).eps)
_ORIENTATION_RADIUS = 4  # of the triangle that smooths strengths before their orientation is taken
_TOLERANCE = 1.01  # a pixel is kept that is so much weaker than its neighbours across the line
_FADED_BORDER = 5  # pixels in which strengths fall to zero
# the neighbours of a pixel, counterclockwise from the right one, as bits: Guo and Hall call them x1 to x8
_NEIGHBOUR_BITS = np.array([[8, 4, 2], [16, 0, 1], [32, 64, 128]], np.float32)


def find_lines(strength: Strength, threshold: float, min_pixels: int) -> Mask:
    """Find lines of one pixel where strengths are greatest across them, in the steps of the paper's script for HED.

    These are suppression of what is no maximum across the line, a threshold, thinning, and the removal of short lines.

    Args:
        strength: (H, W) edge strengths from 0 to 1.
        threshold: Least strength of a line.
        min_pixels: Least number of connected pixels of a line.

    Returns:
        (H, W), true on a line.
    """
    maxima = suppress_non_maxima(strength, threshold)
    return remove_short_lines(thin_lines(maxima >= max(threshold, _EPS)), min_pixels)


def draw_lines(lines: Mask) -> npt.NDArray[np.uint8]:
    """Draw lines (H, W), true on a line, in black on white: (H, W, 1), uint8."""
    return np.where(lines, 0, 255).astype(np.uint8)[..., None]


def suppress_non_maxima(strength: Strength, least: float = 0.0) -> Strength:
    """Set strengths to zero that are less than a neighbour's across the line, and let those at the border fade.

    Args:
        strength: (H, W) edge strengths.
        least: Lower strengths are set to zero without a look at their neighbours.

    Returns:
        (H, W) strengths.
    """
    height, width = strength.shape
    rows, columns = np.nonzero(strength >= max(least, _EPS))
    angle = _compute_normals(strength)[rows, columns]
    own = strength[rows, columns]
    is_kept = np.ones(len(own), np.bool_)
    for step in (-1.0, 1.0):
        across = _interpolate(strength, rows + step * np.sin(angle), columns + step * np.cos(angle))
        is_kept &= own * _TOLERANCE >= across
    result = np.zeros_like(strength)
    result[rows[is_kept], columns[is_kept]] = own[is_kept]
    return result * _compute_fade(height)[:, None] * _compute_fade(width)


def thin_lines(mask: Mask) -> Mask:
    """Thin lines to one pixel and keep what is connected: Guo and Hall's algorithm, as MATLAB's ``bwmorph``.

    Args:
        mask: (H, W), true on a line.

    Returns:
        (H, W), true on a thinned line.
    """
    thinned = mask.astype(np.uint8)
    count = -1
    while count != (count := int(np.count_nonzero(thinned))):
        for may_remove in _REMOVABLE:
            neighbours = cv2.filter2D(thinned, cv2.CV_8U, _NEIGHBOUR_BITS, borderType=cv2.BORDER_CONSTANT)
            thinned[may_remove[neighbours]] = 0
    return thinned.astype(np.bool_)


def remove_short_lines(mask: Mask, min_pixels: int) -> Mask:
    """Remove groups of connected pixels that are smaller than ``min_pixels``; pixels that touch at a corner connect.

    Args:
        mask: (H, W), true on a line.
        min_pixels: Least number of pixels of a line.

    Returns:
        (H, W), true on a line that is left.
    """
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    is_kept = statistics[:, cv2.CC_STAT_AREA] >= min_pixels
    is_kept[0] = False  # what is no line
    kept: Mask = is_kept[labels]
    return kept


def _compute_normals(strength: Strength) -> npt.NDArray[np.float64]:
    """Return for each pixel the angle of the direction across a line through it."""
    if min(strength.shape) < 2:
        return np.zeros(strength.shape)
    triangle = np.convolve(np.ones(_ORIENTATION_RADIUS + 1), np.ones(_ORIENTATION_RADIUS + 1))
    triangle /= triangle.sum()
    smooth = cv2.sepFilter2D(strength.astype(np.float64), -1, triangle, triangle, borderType=cv2.BORDER_REFLECT)
    along_y, along_x = np.gradient(smooth)
    along_xx = np.gradient(along_x, axis=1)
    along_yy, along_xy = np.gradient(along_y)
    angle: npt.NDArray[np.float64] = np.mod(np.arctan(along_yy * np.sign(-along_xy) / (along_xx + 1e-5)), np.pi)
    return angle


def _interpolate(image: Strength, y: npt.NDArray[np.float64], x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return values between pixels, at the border those of the border."""
    y, x = (np.clip(place, 0, length - 1) for place, length in zip((y, x), image.shape, strict=True))
    top, left = y.astype(int), x.astype(int)
    bottom, right = np.minimum(top + 1, image.shape[0] - 1), np.minimum(left + 1, image.shape[1] - 1)
    down, over = y - top, x - left
    value: npt.NDArray[np.float64] = (1 - down) * ((1 - over) * image[top, left] + over * image[top, right])
    value += down * ((1 - over) * image[bottom, left] + over * image[bottom, right])
    return value


def _compute_fade(length: int) -> Strength:
    border = min(length // 2, _FADED_BORDER)
    from_edge = np.minimum(np.arange(length), np.arange(length)[::-1])
    return np.minimum(from_edge / max(border, 1), 1.0).astype(np.float32)


def _find_removable() -> tuple[Mask, Mask]:
    """Return for each pattern of neighbours whether a step of the first and of the second kind removes the pixel."""
    x = (np.arange(256)[:, None] >> np.arange(8) & 1).astype(np.bool_).T  # x[0] is Guo and Hall's x1
    crossings = sum((~x[i] & (x[i + 1] | x[(i + 2) % 8])).astype(int) for i in range(0, 8, 2))
    first = sum((x[i] | x[i + 1]).astype(int) for i in range(0, 8, 2))
    second = sum((x[i + 1] | x[(i + 2) % 8]).astype(int) for i in range(0, 8, 2))
    fewest = np.minimum(first, second)
    is_end_or_inner = (fewest < 2) | (fewest > 3)
    common = (crossings == 1) & ~is_end_or_inner
    return common & ~((x[1] | x[2] | ~x[7]) & x[0]), common & ~((x[5] | x[6] | ~x[3]) & x[4])


_REMOVABLE = _find_removable()
