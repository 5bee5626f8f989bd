"""Brushes for drawing the source of a model: colours with names."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.archives.archive import find_url
from pix2pix_lightning.data.procedural import PALETTE
from pix2pix_lightning.data.sides import Side, build_side
from pix2pix_lightning.data.sides.palette import find_nearest_colours
from pix2pix_lightning.data.sides.picture import PictureSide
from pix2pix_lightning.data.sizes import Size, get_sides
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.saved_config import read_saved_values

Colour = tuple[int, int, int]
Image = npt.NDArray[np.uint8]

FACADES: dict[str, Colour] = {
    "background": (0, 0, 170),
    "wall": (0, 0, 255),
    "window": (0, 85, 255),
    "door": (0, 170, 255),
    "cornice": (0, 255, 255),
    "sill": (85, 255, 170),
    "balcony": (170, 255, 85),
    "blind": (255, 255, 0),
    "deco": (255, 170, 0),
    "molding": (255, 85, 0),
    "pillar": (255, 0, 0),
    "shop": (170, 0, 0),
}
"""Classes of the CMP facades, in the colours of their label maps. CMP's "facade" is called wall here."""
KNOWN: dict[str, dict[str, Colour]] = {"facades": FACADES, "procedural": PALETTE}
_PEN: dict[str, Colour] = {"pen": (0, 0, 0), "eraser": (255, 255, 255)}
_MAX_DISTANCE = 32  # of the colours of a palette that was read from JPEG files


@dataclass(frozen=True)
class Brushes:
    """The brushes for a source.

    Attributes:
        colours: RGB by name, in the order of the palette or of the class numbers.
        free: Whether any other colour may be used.
        paints: Whether areas are painted; else lines are drawn.
    """

    colours: Mapping[str, Colour]
    free: bool = False
    paints: bool = True

    def describe(self, *, size: Size, max_bytes: int) -> dict[str, Any]:
        """Describe the brushes for ``canvas.js``, as plain data.

        Args:
            size: Size of the canvas: the side of a square, or (height, width), in pixels.
            max_bytes: Limit of an uploaded file.

        Returns:
            ``brushes`` with name and colour each, ``free``, ``paints``, ``width``, ``height`` and ``maxBytes``.
        """
        named = [{"name": name, "colour": "#{:02x}{:02x}{:02x}".format(*c)} for name, c in self.colours.items()]
        height, width = get_sides(size)
        canvas = {"width": width, "height": height, "maxBytes": max_bytes}
        return {"brushes": named, "free": self.free, "paints": self.paints, **canvas}

    def to_file(self, drawing: Image, side: Side) -> Image:
        """Convert a drawing to the content of an image file of a side.

        Args:
            drawing: (H, W, 3) in the colours of the brushes.
            side: What the images of the side mean.

        Returns:
            The drawing itself, or class numbers (H, W, 1) for labels without a palette.
        """
        if side.file_channels == 3 or side.kind != "label":
            return drawing
        return find_nearest_colours(drawing, list(self.colours.values())).astype(np.uint8)[..., None]

    def to_drawing(self, image: Image, side: Side) -> Image:
        """Convert the content of an image file to a drawing, the inverse of `to_file`.

        Args:
            image: (H, W, 1 or 3).
            side: What the images of the side mean.

        Returns:
            (H, W, 3) in the colours of the brushes.

        Raises:
            UserError: The image does not belong to the side.
        """
        snapped = side.prepare(image)
        if side.kind != "label":
            return snapped if snapped.shape[2] == 3 else np.repeat(snapped, 3, 2)
        colours = side.palette or tuple(self.colours.values())
        drawing: Image = np.asarray(colours, np.uint8)[snapped[..., 0]]
        return drawing


def build_brushes(side: Side, known: Mapping[str, Colour] | None = None) -> Brushes:
    """Build the brushes for a side.

    Args:
        side: What is drawn. If it has a palette, the brushes have its colours.
        known: Colours by name. They give names to the colours of a palette, and are the brushes without a palette.

    Returns:
        The brushes. With neither palette nor `known`: hues for class numbers, else a black pen and an eraser.

    Raises:
        UserError: The side is no 8-bit picture, which alone can be drawn.
    """
    if not isinstance(side, PictureSide):
        channels = f"{side.file_channels} channel{'s' if side.file_channels > 1 else ''}"
        raise UserError(
            f"this model translates {channels} of {side.dtype}, which cannot be drawn: use predict, or Translator"
        )
    if side.palette:
        return Brushes(_name_colours(side.palette, [known] if known else list(KNOWN.values())))
    if side.kind == "label":
        hues = {f"class {number}": _compute_hue(number, side.channels) for number in range(side.channels)}
        return Brushes(hues)
    if known:
        return Brushes(known)
    return Brushes(_PEN, free=side.kind == "rgb", paints=False)


def parse_colours(setting: Any) -> dict[str, Colour] | None:
    """Parse the configuration key ``brushes``.

    Args:
        setting: A name of ``KNOWN``, a mapping of names to RGB, or None.

    Returns:
        RGB by name, or None.

    Raises:
        UserError: The name is unknown, or a colour is malformed.
    """
    if setting is None:
        return None
    if isinstance(setting, str):
        if setting not in KNOWN:
            raise UserError(f"brushes={setting} is unknown: {', '.join(KNOWN)}, or {{name: [r,g,b], ...}} is expected")
        return KNOWN[setting]
    colours = {str(name): tuple(colour) for name, colour in setting.items()}
    build_side(palette=tuple(colours.values()), snap_palette=True)  # raises if a colour is malformed
    return cast(dict[str, Colour], colours)


def find_run_colours(checkpoint: Path) -> dict[str, Colour] | None:
    """Find the colours of the labels that a run was trained on, from its configuration.

    Args:
        checkpoint: A file in the folder of a run, or elsewhere.

    Returns:
        RGB by name; None if the data is unknown or its labels are not the source.
    """
    config = checkpoint.parent.parent / "config.yaml"
    if checkpoint.parent.name != "checkpoints" or not config.is_file():
        return None
    data = read_saved_values(config).get("data")
    if not isinstance(data, dict) or data.get("direction") != "b_to_a":  # in both data sets B are the labels
        return None
    if str(data.get("_target_")).endswith(".ProceduralDataModule"):
        return PALETTE
    return FACADES if str(find_url(data.get("archive"))).endswith("/facades.tar.gz") else None


def _name_colours(palette: tuple[Colour, ...], known: Sequence[Mapping[str, Colour]]) -> dict[str, Colour]:
    for names in known:
        numbers = find_nearest_colours(np.asarray([palette], np.uint8), list(names.values()))[0]
        near = [list(names)[number] for number in numbers]
        difference = np.asarray(palette, int) - np.asarray([names[name] for name in near], int)
        if len(set(near)) == len(palette) and (difference**2).sum(1).max() <= _MAX_DISTANCE**2:
            return dict(zip(near, palette, strict=True))
    return {f"class {number}": colour for number, colour in enumerate(palette)}


def _compute_hue(number: int, count: int) -> Colour:
    """Return a colour per class. They differ in lightness too, for up to 256 classes."""
    red, green, blue = colorsys.hls_to_rgb(number / count, (0.5, 0.3, 0.7)[number % 3], 0.9)
    return round(red * 255), round(green * 255), round(blue * 255)
