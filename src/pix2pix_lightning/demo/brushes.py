"""What a person draws a model's source with: colours with names."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.palette import nearest_colours
from pix2pix_lightning.data.procedural import PALETTE
from pix2pix_lightning.data.sides import SideSpec
from pix2pix_lightning.utils.errors import UserError

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
"""The CMP facades' classes in the colours of their label maps; CMP's "facade" is the wall."""
KNOWN: dict[str, dict[str, Colour]] = {"facades": FACADES, "procedural": PALETTE}
_PEN: dict[str, Colour] = {"pen": (0, 0, 0), "eraser": (255, 255, 255)}
_NEAR = 32  # of a palette that was read off JPEGs


@dataclass(frozen=True)
class Brushes:
    """The brushes for a source.

    Attributes:
        colours: By name, in the order of the palette, or of class numbers.
        free: Whether any other colour is as good.
        paints: Whether areas are painted, not lines drawn.
    """

    colours: Mapping[str, Colour]
    free: bool = False
    paints: bool = True

    def drawn(self, image: Image, side: SideSpec) -> Image:
        """A drawing in these colours, (H, W, 3), as a file of ``side`` holds it: that, or class numbers."""
        if side.file_channels == 3 or side.kind != "label":
            return image
        return nearest_colours(image, list(self.colours.values())).astype(np.uint8)[..., None]

    def shown(self, image: Image, side: SideSpec) -> Image:
        """The inverse: a file of ``side``, (H, W, 1 or 3), in colours that can be drawn on.

        Raises:
            ValueError: It is none of the side's.
        """
        snapped = side.snap(image)
        if side.kind != "label":
            return snapped if snapped.shape[2] == 3 else np.repeat(snapped, 3, 2)
        colours = side.palette or tuple(self.colours.values())
        shown: Image = np.asarray(colours, np.uint8)[snapped[..., 0]]
        return shown


def brushes_of(side: SideSpec, known: Mapping[str, Colour] | None = None) -> Brushes:
    """The brushes for a side.

    Args:
        side: What is drawn. Its palette is the colours, where it has one.
        known: Names and colours: they name a palette's colours, and are the brushes where there is no palette.

    Returns:
        Without either a black pen and an eraser; hues for class numbers.
    """
    if side.palette:
        return Brushes(_named(side.palette, [known] if known else list(KNOWN.values())))
    if side.kind == "label":
        hues = {f"class {number}": _hue(number, side.channels) for number in range(side.channels)}
        return Brushes(hues)
    if known:
        return Brushes(known)
    return Brushes(_PEN, free=side.kind == "rgb", paints=False)


def known_colours(said: Any) -> dict[str, Colour] | None:
    """Names and colours as a door's ``brushes`` says them: a name of ``KNOWN``, a mapping, or None.

    Raises:
        ValueError: It is none of these.
    """
    if said is None:
        return None
    if isinstance(said, str):
        if said not in KNOWN:
            raise UserError(f"brushes={said} is unknown: {', '.join(KNOWN)}, or {{name: [r,g,b], ...}} is expected")
        return KNOWN[said]
    colours = {str(name): tuple(colour) for name, colour in said.items()}
    SideSpec(palette=tuple(colours.values()), snap_palette=True)  # says what is wrong with a colour
    return cast(dict[str, Colour], colours)


def known_of_run(checkpoint: Path) -> dict[str, Colour] | None:
    """The colours of the data that a run was trained on, where this project knows them and they are the source's.

    Args:
        checkpoint: A file in a run's folder, or elsewhere.
    """
    from omegaconf import OmegaConf

    config = checkpoint.parent.parent / "config.yaml"
    if checkpoint.parent.name != "checkpoints" or not config.is_file():
        return None
    data = OmegaConf.select(OmegaConf.load(config), "data")
    if not OmegaConf.is_dict(data) or data.get("direction") != "b_to_a":  # B are the labels, in both
        return None
    if str(data.get("_target_")).endswith(".ProceduralDataModule"):
        return PALETTE
    return FACADES if str(data.get("archive")).endswith("/facades.tar.gz") else None


def _named(palette: tuple[Colour, ...], named: Sequence[Mapping[str, Colour]]) -> dict[str, Colour]:
    for names in named:
        numbers = nearest_colours(np.asarray([palette], np.uint8), list(names.values()))[0]
        near = [list(names)[number] for number in numbers]
        apart = np.asarray(palette, int) - np.asarray([names[name] for name in near], int)
        if len(set(near)) == len(palette) and (apart**2).sum(1).max() <= _NEAR**2:
            return dict(zip(near, palette, strict=True))
    return {f"class {number}": colour for number, colour in enumerate(palette)}


def _hue(number: int, count: int) -> Colour:
    """Colours that differ, also in lightness, for at most 256 classes."""
    red, green, blue = colorsys.hls_to_rgb(number / count, (0.5, 0.3, 0.7)[number % 3], 0.9)
    return round(red * 255), round(green * 255), round(blue * 255)
