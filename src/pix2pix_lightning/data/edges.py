"""Detect the edges of photos and draw them as edges2shoes has them: black lines of one pixel on white."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.edge_network import EdgeNetwork
from pix2pix_lightning.data.line_drawing import draw_lines, remove_short_lines, thin_lines
from pix2pix_lightning.utils.checks import check_choice, check_counts, check_numbers
from pix2pix_lightning.utils.errors import UserError

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Canny:
    """Detect edges by Canny's method on the colours: of the three gradients the greatest counts.

    Args:
        sigma: Standard deviation of the blur before, in pixels; 0 for none.
        low: Least gradient of a pixel of a line, in levels of 0 to 255 by Sobel's kernel.
        high: Least gradient that a line has in one of its pixels.
        min_pixels: Shorter lines are removed.

    Raises:
        UserError: A value is out of range.
    """

    sigma: float = 2.0
    low: float = 50.0
    high: float = 120.0
    min_pixels: int = 10

    def __post_init__(self) -> None:
        check_numbers(prefix="canny.", at_least=0, sigma=self.sigma, low=self.low, high=self.high)
        check_counts(prefix="canny.", at_least=0, min_pixels=self.min_pixels)
        if self.high < self.low:
            raise UserError(f"canny.high={self.high} is less than canny.low={self.low}: set a greater one")

    def __call__(self, image: Image) -> Image:
        """Return the edges (H, W, 1), uint8, 0 on a line and 255 elsewhere, of a photo (H, W, 3), uint8 RGB."""
        blurred = cv2.GaussianBlur(image, (0, 0), self.sigma) if self.sigma else image
        found = cv2.Canny(blurred, self.low, self.high, L2gradient=True) > 0
        return draw_lines(remove_short_lines(found, self.min_pixels))


@dataclass(frozen=True, kw_only=True)
class XDoG:
    """Draw dark lines by an extended difference of Gaussians (Winnemöller, XDoG, 2011) of the luminance.

    With the luminance from 0 to 1 blurred by ``sigma`` and by ``ratio * sigma``, their difference is
    ``D = narrow - tau * wide``. The tone is 1 where ``D >= epsilon``, else ``1 + tanh(phi * (D - epsilon))``.

    Args:
        sigma: Standard deviation of the narrow blur, in pixels.
        ratio: Of the wide blur to the narrow one.
        tau: Weight of the wide blur. Below 1, dark areas are filled where ``epsilon`` is above 0.
        epsilon: Difference from which on the tone is white.
        phi: Steepness of the way from white to black.
        threshold: Tones below it become lines of one pixel; None keeps the tones.
        min_pixels: Shorter lines are removed, where there is a threshold.

    Raises:
        UserError: A value is out of range.
    """

    sigma: float = 0.7
    ratio: float = 1.6
    tau: float = 1.0
    epsilon: float = -0.01
    phi: float = 200.0
    threshold: float | None = 0.5
    min_pixels: int = 10

    def __post_init__(self) -> None:
        check_numbers(prefix="xdog.", above=0, sigma=self.sigma, phi=self.phi)
        check_numbers(prefix="xdog.", above=1, ratio=self.ratio)
        check_numbers(prefix="xdog.", at_least=0, tau=self.tau)
        check_numbers(prefix="xdog.", epsilon=self.epsilon)
        check_counts(prefix="xdog.", at_least=0, min_pixels=self.min_pixels)
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise UserError(f"xdog.threshold={self.threshold}: a number above 0 and up to 1 is expected, or null")

    def __call__(self, image: Image) -> Image:
        """Return the drawing (H, W, 1), uint8, dark lines on white, of a photo (H, W, 3), uint8 RGB."""
        luminance = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
        narrow, wide = (cv2.GaussianBlur(luminance, (0, 0), sigma) for sigma in (self.sigma, self.ratio * self.sigma))
        difference = narrow - self.tau * wide
        below = np.minimum(difference - self.epsilon, 0)
        tone = 1 + np.tanh(self.phi * below)
        if self.threshold is None:
            drawing: Image = np.rint(255 * tone).astype(np.uint8)[..., None]
            return drawing
        return draw_lines(remove_short_lines(thin_lines(tone < self.threshold), self.min_pixels))


METHODS: dict[str, Callable[..., Callable[[Image], Image]]] = {"canny": Canny, "xdog": XDoG, "onnx": EdgeNetwork}
"""Detectors by name: classes whose instances are functions from a photo to its edges."""


def build_edge_detector(method: str = "canny", **parameters: Any) -> Callable[[Image], Image]:
    """Build a detector, which can be handed to other processes.

    Args:
        method: ``canny``, ``xdog`` or ``onnx``, an edge network of the user's.
        **parameters: Arguments of ``Canny``, ``XDoG`` or ``EdgeNetwork``; by default their own.

    Returns:
        A function from a photo (H, W, 3), uint8 RGB, to its edges (H, W, 1), uint8, dark on white.

    Raises:
        UserError: The method is unknown, or a parameter is out of range.
    """
    check_choice("method", method, METHODS)
    return METHODS[method](**parameters)


def detect_edges(image: Image, method: str = "canny", **parameters: Any) -> Image:
    """Detect the edges of a photo.

    Args:
        image: (H, W, 3) RGB or (H, W, 1) levels, uint8.
        method: As in ``build_edge_detector``.
        **parameters: As in ``build_edge_detector``.

    Returns:
        (H, W, 1) uint8, dark lines on white.

    Raises:
        UserError: The method is unknown, a parameter is out of range, or an edge network cannot be used.
    """
    return build_edge_detector(method, **parameters)(np.repeat(image, 3, 2) if image.shape[2] == 1 else image)
