"""What a GeoTIFF adds to a TIFF: where its pixels lie on the ground, and GDAL's missing values, scale and offset."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pix2pix_lightning.utils.errors import UserError

PIXEL_SCALE, TIE_POINTS, TRANSFORMATION = 33550, 33922, 34264
_GEO_KEYS, _GEO_DOUBLES, _GEO_TEXT = 34735, 34736, 34737
GDAL_METADATA, GDAL_NODATA = 42112, 42113
DOUBLE_TAGS = frozenset({PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, _GEO_DOUBLES})
_TAGS = (PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, _GEO_KEYS, _GEO_DOUBLES, _GEO_TEXT)
_RASTER_TYPE, _PIXEL_IS_POINT = 1025, 2  # a key, and its value for coordinates of the pixels' centres
_ITEM = re.compile(r"<Item\b([^>]*)>([^<]*)</Item>")
_SAMPLE = re.compile(r'\bsample="(\d{1,5})"')


@dataclass(frozen=True, kw_only=True)
class Georeference:
    """Where the pixels of an image lie on the ground: the fields of a GeoTIFF, with its own coordinate system.

    Args:
        width: Width in pixels of the image that it describes.
        height: Height in pixels.
        fields: The values of the TIFF tags that GeoTIFF defines, by number.
    """

    width: int
    height: int
    fields: Mapping[int, tuple[Any, ...]]

    def cut(self, top: int, left: int, height: int, width: int) -> Georeference:
        """Return the georeference of a window of the image.

        Args:
            top: First row.
            left: First column.
            height: Rows.
            width: Columns.

        Returns:
            That of the window.
        """
        return self._move(top, left, 1.0, 1.0, height, width)

    def resize(self, height: int, width: int) -> Georeference:
        """Return the georeference of the image in another size in pixels."""
        return self._move(0, 0, self.height / height, self.width / width, height, width)

    def _move(self, top: float, left: float, step_y: float, step_x: float, height: int, width: int) -> Georeference:
        """Return the georeference of an image whose pixel (x, y) is (left + step_x x, top + step_y y) of this one.

        These are coordinates of the pixels' corners; a file may count from their centres.
        """
        fields = dict(self.fields)
        centre = 0.5 if self._counts_from_centres() else 0.0
        left, top = left + centre * (step_x - 1), top + centre * (step_y - 1)
        if TRANSFORMATION in fields:  # a matrix of 4 x 4, row by row
            matrix = list(fields[TRANSFORMATION])
            for row in range(0, len(matrix) - 3, 4):
                matrix[row + 3] += left * matrix[row] + top * matrix[row + 1]
                matrix[row], matrix[row + 1] = matrix[row] * step_x, matrix[row + 1] * step_y
            fields[TRANSFORMATION] = tuple(matrix)
        if PIXEL_SCALE in fields:
            x, y, *rest = fields[PIXEL_SCALE]
            fields[PIXEL_SCALE] = (x * step_x, y * step_y, *rest)
        if TIE_POINTS in fields:  # column, row and level of a pixel, and its three coordinates
            points = list(fields[TIE_POINTS])
            for start in range(0, len(points) - 5, 6):
                points[start] = (points[start] - left) / step_x
                points[start + 1] = (points[start + 1] - top) / step_y
            fields[TIE_POINTS] = tuple(points)
        return replace(self, width=width, height=height, fields=fields)

    def _counts_from_centres(self) -> bool:
        keys = self.fields.get(_GEO_KEYS, ())
        entries = [keys[start : start + 4] for start in range(4, len(keys) - 3, 4)]
        return any(entry[0] == _RASTER_TYPE and entry[3] == _PIXEL_IS_POINT for entry in entries)

    def list_tags(self) -> list[tuple[int, str, int, Any, bool]]:
        """Return the fields as ``extratags`` of ``tifffile.imwrite``."""
        tags: list[tuple[int, str, int, Any, bool]] = []
        for tag, values in sorted(self.fields.items()):
            if tag == _GEO_TEXT:
                tags.append((tag, "s", 0, bytes(values).rstrip(b"\0").decode("latin-1"), True))
            else:
                tags.append((tag, "d" if tag in DOUBLE_TAGS else "H", len(values), values, True))
        return tags


def find_georeference(fields: Mapping[int, Sequence[Any]], width: int, height: int) -> Georeference | None:
    """Find the georeference among a page's fields.

    Args:
        fields: The fields' values by tag.
        width: Width of the page in pixels.
        height: Height of the page in pixels.

    Returns:
        The georeference, or None where the file has none, or a damaged one.
    """
    found = {tag: tuple(fields[tag]) for tag in _TAGS if tag in fields}
    is_sound = len(found.get(PIXEL_SCALE, (0, 0, 0))) == 3 and len(found.get(TRANSFORMATION, range(16))) == 16
    is_placed = TRANSFORMATION in found or len(found.get(TIE_POINTS, ())) >= 6
    return Georeference(width=width, height=height, fields=found) if is_sound and is_placed else None


def parse_nodata(fields: Mapping[int, Sequence[Any]]) -> float | None:
    """Return GDAL's value of pixels without a value; None where there is none, or it is NaN.

    Raises:
        ValueError: It is no number.
    """
    if GDAL_NODATA not in fields:
        return None
    text = bytes(fields[GDAL_NODATA]).partition(b"\0")[0].strip()
    value = float(text) if text else float("nan")
    return None if value != value else value


def parse_scale(fields: Mapping[int, Sequence[Any]], samples: int) -> tuple[float, float]:
    """Return scale and offset from GDAL's description of the bands.

    Args:
        fields: The fields' values by tag.
        samples: Number of bands.

    Returns:
        Scale and offset, 1 and 0 where there are none.

    Raises:
        UserError: They differ between bands.
        ValueError: They are no numbers.
    """
    text = bytes(fields.get(GDAL_METADATA, b"")).decode("utf-8", "replace")
    scales: dict[int, float] = {}
    offsets: dict[int, float] = {}
    for attributes, value in _ITEM.findall(text):
        sample = _SAMPLE.search(attributes)
        for role, found in (("scale", scales), ("offset", offsets)):
            if f'role="{role}"' in attributes and sample and int(sample[1]) < samples:
                found[int(sample[1])] = float(value)
    return _find_common(scales, samples, 1.0, "scale"), _find_common(offsets, samples, 0.0, "offset")


def format_scale(scale: float, offset: float, samples: int) -> str:
    """Return GDAL's description of the bands, which ``parse_scale`` reads.

    Args:
        scale: Factor from a stored value to a physical one.
        offset: Physical value of a stored 0.
        samples: Number of bands.

    Returns:
        The text of the field ``GDAL_METADATA``.
    """
    items = "".join(
        f'  <Item name="{role.upper()}" sample="{sample}" role="{role}">{value:.17g}</Item>\n'
        for sample in range(samples)
        for role, value in (("offset", offset), ("scale", scale))
    )
    return f"<GDALMetadata>\n{items}</GDALMetadata>\n"


def _find_common(found: Mapping[int, float], samples: int, default: float, name: str) -> float:
    values = {*found.values()} | ({default} if len(found) < max(1, samples) else set())
    if not all(map(math.isfinite, values)):
        raise ValueError(f"a {name} that is no number")
    if len(values) > 1:
        given = ", ".join(f"{value:g}" for value in sorted(values)[:4])
        raise UserError(
            f"its bands differ in their {name} ({given}), and one is expected for a file: apply it and save the bands "
            "as float32"
        )
    return values.pop()
