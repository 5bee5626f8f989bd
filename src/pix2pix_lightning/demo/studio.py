"""What the page asks for: a canvas for a model, an upload on it, and its translation."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pix2pix_lightning.data.image_files import read_image, write_image
from pix2pix_lightning.data.resize import resize
from pix2pix_lightning.data.sides import SideSpec
from pix2pix_lightning.demo.brushes import Brushes
from pix2pix_lightning.demo.models import Models
from pix2pix_lightning.demo.start import start_picture
from pix2pix_lightning.utils.errors import UserError

Image = npt.NDArray[np.uint8]

_PNG = "data:image/png;base64,"
_DATA = re.compile(r"bytes:(\d{1,15})|data:[^,]{0,100};base64,(.*)")


@dataclass(frozen=True)
class Studio:
    """Answers the page's requests.

    Args:
        models: That are offered.
        max_pixels: Of a picture, and of all samples of it together.
        max_bytes: Of a file.
        max_waiting: So many requests wait; further ones are told so.

    Raises:
        ValueError: The limits leave no room for a picture.
    """

    models: Models
    max_pixels: int
    max_bytes: int
    max_waiting: int = 32

    def __post_init__(self) -> None:
        if self.max_pixels < 2**10:
            raise UserError(f"max_pixels={self.max_pixels}: {2**10} or more are expected")
        if self.max_bytes < 2**12:
            raise UserError(f"max_megabytes={self.max_bytes / 2**20:g}: {2**12 / 2**20:g} or more are expected")
        if self.max_waiting < 1:
            raise UserError(f"max_waiting={self.max_waiting} requests: 1 or more are expected")

    def canvas(self, name: str) -> dict[str, Any]:
        """What the canvas is to show for a model: its brushes, and a start picture of the training's size.

        Raises:
            ValueError: The model cannot be opened.
            OSError: Its file cannot be read.
        """
        spec, brushes = self.models.source(name)
        return {
            "start": _url(start_picture(brushes, spec.size)),
            "picture": None,
            **self._described(brushes, spec.size),
        }

    def uploaded(self, name: str, file: str, *, to_training_size: bool) -> dict[str, Any]:
        """The canvas with a picture from a file.

        Args:
            name: Of the model.
            file: Its content, a data URL; or ``bytes:`` and how many it has, of one that is too large to be sent.
            to_training_size: Whether it is resized, by the source's rule.

        Raises:
            ValueError: It is no image, too large, or none of the model's source.
        """
        image = self._decoded(file, "the file")
        spec, brushes = self.models.source(name)
        if to_training_size:
            image = resize(image, spec.size, spec.size, str(spec.source.interpolation))
        return {**self.canvas(name), "picture": _url(brushes.shown(image, spec.source))}

    def translated(self, name: str, mode: str, drawing: str, *, seed: int, samples: int) -> list[dict[str, str | None]]:
        """The translations of a drawing.

        Args:
            name: Of the model.
            mode: ``deterministic`` or ``paper``.
            drawing: What is on the canvas, a data URL of a PNG.
            seed: Of the noise.
            samples: So many translations.

        Returns:
            Each with the ``name`` and the content of its ``file``, as ``predict`` would write it, a picture of it to
            be ``shown`` where it is none itself, and a ``caption``.

        Raises:
            ValueError: The drawing is none, is too large, or does not fit the model.
        """
        image = self._decoded(drawing, "the drawing")
        if image.size // 3 * samples > self.max_pixels:
            size = f"{image.shape[1]} x {image.shape[0]}"
            raise UserError(
                f"{samples} samples of {size} pixels are more than max_pixels={self.max_pixels}: ask for fewer, or "
                "resize the picture"
            )
        spec, brushes = self.models.source(name)
        file = brushes.drawn(image, spec.source)
        results = self.models.translate(name, mode, file, seed=seed, samples=samples)
        endings = [f".sample_{number}" for number in range(samples)] if samples > 1 else [""]
        is_numbers = spec.target.kind == "label" and not spec.target.palette
        return [
            {
                "name": f"drawing{ending}.png",
                "file": _url(result),
                "shown": _url(_picture(result, spec.target)) if is_numbers else None,
                "caption": ending.strip(".").replace("_", " "),
            }
            for ending, result in zip(endings, results, strict=True)
        ]

    def _described(self, brushes: Brushes, size: int) -> dict[str, Any]:
        """The brushes as the canvas's script takes them."""
        return {
            "brushes": [
                {"name": name, "colour": "#{:02x}{:02x}{:02x}".format(*c)} for name, c in brushes.colours.items()
            ],
            "free": brushes.free,
            "paints": brushes.paints,
            "size": size,
            "maxBytes": self.max_bytes,
        }

    def _decoded(self, sent: object, what: str) -> Image:
        """What was sent, as (H, W, 3)."""
        found = _DATA.fullmatch(sent) if isinstance(sent, str) else None
        if found is None:
            raise UserError(f"{what} is empty or did not arrive: draw something, or upload a picture")
        count, encoded = found.groups()
        self._check_bytes(int(count) if count else len(encoded) * 3 // 4, what)
        try:
            content = base64.b64decode(encoded or "", validate=True)
        except binascii.Error:
            raise UserError(f"{what} did not arrive whole: send it again") from None
        with TemporaryDirectory() as folder:
            path = Path(folder) / "picture"
            path.write_bytes(content)
            try:
                return read_image(path, max_pixels=self.max_pixels)
            except ValueError as error:
                raise UserError(str(error).replace(str(path), what)) from None

    def _check_bytes(self, count: int, what: str) -> None:
        if count > self.max_bytes:
            raise UserError(
                f"{what} has {count / 2**20:.1f} MB, more than max_megabytes={self.max_bytes / 2**20:g}: reduce it"
            )


def _url(image: Image) -> str:
    """A PNG of the bytes that ``predict`` writes."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "image.png"
        write_image(path, image)
        return _PNG + base64.b64encode(path.read_bytes()).decode()


def _picture(image: Image, side: SideSpec) -> Image:
    return side.picture(torch.from_numpy(image).permute(2, 0, 1))
