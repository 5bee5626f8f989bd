"""Answer the requests of the page: a canvas for a model, an upload, a translation."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy.typing as npt
import torch

from pix2pix_lightning.data.files.image_files import choose_suffix, write_image
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.resize import resize
from pix2pix_lightning.data.sides import Side
from pix2pix_lightning.data.sides.picture import PictureSide
from pix2pix_lightning.demo.model_pool import ModelPool
from pix2pix_lightning.demo.start_picture import draw_start_picture
from pix2pix_lightning.inference.source_files import HALVES, SourceReader
from pix2pix_lightning.utils.checks import check_choice
from pix2pix_lightning.utils.errors import UserError

Image = npt.NDArray[Any]

_MEDIA_TYPES = {".png": "image/png", ".tif": "image/tiff"}
_DATA = re.compile(r"bytes:(\d{1,15})|data:[^,]{0,100};base64,(.*)")


@dataclass(frozen=True)
class DemoSession:
    """Answer the requests of the page, within limits.

    Args:
        models: The models that are offered.
        max_pixels: Limit of a picture, and of all its samples together; 1024 or more.
        max_bytes: Limit of an uploaded file; 4096 or more.
        max_waiting: Number of requests that may wait. Further ones are refused.
        half: Which half of an uploaded file is taken, as for ``SourceReader``.

    Raises:
        UserError: A limit is too small, or ``half`` is unknown.
    """

    models: ModelPool
    max_pixels: int
    max_bytes: int
    max_waiting: int = 32
    half: str = "auto"

    def __post_init__(self) -> None:
        if self.max_pixels < 2**10:
            raise UserError(f"max_pixels={self.max_pixels}: {2**10} or more are expected")
        if self.max_bytes < 2**12:
            raise UserError(f"max_megabytes={self.max_bytes / 2**20:g}: {2**12 / 2**20:g} or more are expected")
        if self.max_waiting < 1:
            raise UserError(f"max_waiting={self.max_waiting} requests: 1 or more are expected")
        check_choice("half", self.half, HALVES)

    def describe_canvas(self, name: str) -> dict[str, Any]:
        """Describe the canvas of a model: its brushes, and a start picture of the training size.

        Args:
            name: Name of the model.

        Returns:
            What the script of the canvas reads: ``start``, the start picture as a data URL; ``picture``, which is None;
            ``model``, the name; the brushes and the limits of the canvas.

        Raises:
            UserError: The model cannot be loaded.
            OSError: Its file cannot be read.
        """
        spec, brushes = self.models.get_source(name)
        return {
            "start": _to_data_url(draw_start_picture(brushes, spec.size)),
            "picture": None,
            "model": name,
            **brushes.describe(size=spec.size, max_bytes=self.max_bytes),
        }

    def load_upload(self, name: str, file: str, *, to_training_size: bool) -> dict[str, Any]:
        """Describe the canvas with an uploaded picture on it.

        Args:
            name: Name of the model.
            file: The content of the file as a data URL; or ``bytes:<size>`` of a file that is too large to be sent.
            to_training_size: Whether the picture is resized as in the training, with the interpolation of the source.

        Returns:
            What `describe_canvas` returns, with the picture, and with a ``note`` of what was done with a file that
            could be a strip of A and B, or None.

        Raises:
            UserError: The file is no image, is too large, or does not belong to the source.
        """
        spec, brushes = self.models.get_source(name)
        image, note = self._decode(file, "the file", spec, self.half)
        if to_training_size:
            image = resize(image, *spec.compute_resized(*image.shape[:2]), str(spec.source.interpolation))
        picture = _to_data_url(brushes.to_drawing(image, spec.source))
        return {**self.describe_canvas(name), "picture": picture, "note": note}

    def translate(self, name: str, mode: str, drawing: str, *, seed: int, samples: int) -> list[dict[str, str | None]]:
        """Translate a drawing.

        Args:
            name: Name of the model.
            mode: ``deterministic`` or ``paper``.
            drawing: The content of the canvas, a data URL of a PNG.
            seed: Seed of the noise in mode ``paper``.
            samples: Number of translations.

        Returns:
            For each sample the ``name`` and the content of the ``file`` that ``predict`` would write, both shown with
            a ``caption``. What is no picture, such as class numbers and values of other types, has one in ``shown``.

        Raises:
            UserError: The drawing is no image, is too large, or does not fit the model.
        """
        image, _ = self._decode(drawing, "the drawing", PairSpec(), "off")
        if image.size // 3 * samples > self.max_pixels:
            size = f"{image.shape[1]} x {image.shape[0]}"
            raise UserError(
                f"{samples} samples of {size} pixels are more than max_pixels={self.max_pixels}: ask for fewer, or "
                "resize the picture"
            )
        spec, brushes = self.models.get_source(name)
        file = brushes.to_file(image, spec.source)
        results = self.models.translate(name, mode, file, seed=seed, samples=samples)
        endings = [f".sample_{number}" for number in range(samples)] if samples > 1 else [""]
        target = spec.target
        suffix = choose_suffix(target.dtype, target.file_channels, needs_tags=target.needs_tags)
        is_shown_itself = isinstance(target, PictureSide) and not target.has_class_numbers
        return [
            {
                "name": f"drawing{ending}{suffix}",
                "file": _to_data_url(result, suffix, target),
                "shown": None if is_shown_itself else _to_data_url(_render(result, target)),
                "caption": ending.strip(".").replace("_", " "),
            }
            for ending, result in zip(endings, results, strict=True)
        ]

    def _decode(self, sent: object, what: str, spec: PairSpec, half: str) -> tuple[Image, str | None]:
        """Decode a data URL as the source takes it, and return it with a note of what was done with a strip."""
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
            reader = SourceReader(spec, half=half, max_pixels=self.max_pixels, is_logged=False)
            try:
                image = reader.read(path)
            except ValueError as error:
                raise UserError(str(error).replace(str(path), what)) from None
            return image, reader.note and f"{what} {reader.note}"

    def _check_bytes(self, count: int, what: str) -> None:
        if count > self.max_bytes:
            raise UserError(
                f"{what} has {count / 2**20:.1f} MB, more than max_megabytes={self.max_bytes / 2**20:g}: reduce it"
            )


def _to_data_url(image: Image, suffix: str = ".png", target: Side | None = None) -> str:
    """Encode with the same bytes as the files of ``predict``."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"image{suffix}"
        if target is None:
            write_image(path, image)
        else:
            write_image(path, image, nodata=target.nodata, scale=target.scale, offset=target.offset)
        return f"data:{_MEDIA_TYPES[suffix]};base64," + base64.b64encode(path.read_bytes()).decode()


def _render(image: Image, side: Side) -> Image:
    return side.preview(torch.from_numpy(image).permute(2, 0, 1))
