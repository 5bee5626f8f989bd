"""Read the fields of TIFF directories; EXIF data is one, too."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

from pix2pix_lightning.data.files.formats.geotiff import (
    DOUBLE_TAGS,
    Georeference,
    find_georeference,
    parse_nodata,
    parse_scale,
)

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_MAX_FIELDS, _MAX_VALUES, _MAX_PAGES = 4096, 2**16, 10_000
_DOUBLE = 12
_TYPES = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_ORIENTATION, _SAMPLES, _PLANAR, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT = 274, 277, 284, 317, 322, 323
_STRIP_PLACES, _STRIP_COUNTS, _TILE_PLACES, _TILE_COUNTS = 273, 279, 324, 325
_SUBFILE, _OLD_SUBFILE, _FILL_ORDER, _EXTRA, _FORMAT, _DEPTH = 254, 255, 266, 338, 339, 32997
_COLOURS = {2: ("rgb", 3), 5: ("cmyk", 4), 6: ("ycbcr", 3), 8: ("lab", 3), 9: ("lab", 3), 10: ("lab", 3)}
_GRAYSCALE = (0, 1)
_KINDS = {1: "uint", 2: "int", 3: "float", 4: "uint", 5: "complex", 6: "complex"}


@dataclass(frozen=True, kw_only=True)
class TiffDirectory:
    """What a page of a TIFF says about its pixels.

    Attributes:
        width: Width in pixels as stored.
        height: Height in pixels as stored.
        samples: Samples of a pixel, alpha included.
        bits: Bits of a sample.
        dtype: NumPy's name of a sample's type; ``mixed`` where samples differ.
        photometric: As in ``ImageHeader``.
        alpha: Number of the sample that is alpha, or None.
        is_premultiplied: Whether colours are stored multiplied by alpha.
        is_inverted: Whether 0 is white.
        orientation: EXIF's number, 1 to 8.
        compression: The TIFF number of the compression, 1 for none.
        predictor: The TIFF number of how values are predicted from their neighbours, 1 for not at all.
        is_planar: Whether each sample has a plane of its own.
        tile: Width and height of a tile in pixels, or None where the page is stored in strips.
        start: Where the pixels begin in the file, in bytes, if they lie in it as one array; else None.
        order: Order of the bytes of a value, as NumPy names it.
        end: Where its last strip or tile ends in the file, in bytes.
        nodata: Value of pixels without a value, or None.
        scale: Factor from a stored value to a physical one.
        offset: Physical value of a stored 0.
        georeference: Where the pixels lie on the ground, or None.
    """

    width: int
    height: int
    samples: int
    bits: int
    dtype: str
    photometric: str
    alpha: int | None
    is_premultiplied: bool
    is_inverted: bool
    orientation: int
    compression: int
    predictor: int
    is_planar: bool
    tile: tuple[int, int] | None
    start: int | None
    order: Literal["<", ">"]
    end: int
    nodata: float | None
    scale: float
    offset: float
    georeference: Georeference | None


def read_directories(file: BinaryIO) -> tuple[TiffDirectory, int]:
    """Read the first page's fields, and count the pages; reduced copies of a page are not counted.

    Args:
        file: A TIFF, which can be sought in. Of damaged or endless fields a bounded number of bytes is read.

    Returns:
        The first page, and the number of pages.

    Raises:
        ValueError: The file is no TIFF, or its fields are damaged.
        UserError: Its bands differ in their scale.
    """
    reader = _Reader(file)
    first: TiffDirectory | None = None
    pages, seen, place = 0, set[int](), reader.first
    while place and place not in seen and len(seen) < _MAX_PAGES:
        seen.add(place)
        fields, place = reader.read_fields(place)
        is_reduced = fields.get(_SUBFILE, [0])[0] & 1 or fields.get(_OLD_SUBFILE, [1])[0] == 2
        if first is None:
            first = _describe(fields, reader.order)
            pages = max(1, int(fields.get(_DEPTH, (1,))[0]))
        elif not is_reduced:
            pages += 1
    if first is None:
        raise ValueError("no directory")
    return first, pages


def find_orientation(file: BinaryIO) -> int:
    """Return the orientation that EXIF data names, 1 to 8; 1 where there is none or the data is damaged."""
    with suppress(ValueError, struct.error, OverflowError):
        reader = _Reader(file)
        number = reader.read_fields(reader.first)[0].get(_ORIENTATION, [1])[0]
        return number if 1 <= number <= 8 else 1
    return 1


class _Reader:
    """Read directories of a TIFF or a BigTIFF.

    Args:
        file: The content.

    Raises:
        ValueError: It is no TIFF.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.size = self.file.seek(0, io.SEEK_END)
        self.file.seek(0)
        begin = self.file.read(16)
        if begin[:4] not in TIFF_MAGIC:
            raise ValueError("no TIFF")
        self.order: Literal["<", ">"] = "<" if begin.startswith(b"I") else ">"
        self.is_big = begin[:4] in TIFF_MAGIC[2:]
        self.first = int(struct.unpack_from(self.order + ("8xQ" if self.is_big else "4xI"), begin)[0])

    def read_fields(self, place: int) -> tuple[dict[int, Sequence[Any]], int]:
        """Return numbers by tag, fractions of GeoTIFF's fields alone; and the next directory's place, 0 for none."""
        count_format, entry_format, next_format = ("Q", "HHQ8s", "Q") if self.is_big else ("H", "HHI4s", "I")
        (count,) = self._unpack(place, count_format)
        if not 0 < count <= _MAX_FIELDS:
            raise ValueError(f"{count} fields")
        start = place + struct.calcsize(self.order + count_format)
        size = struct.calcsize(self.order + entry_format)
        self.file.seek(start)
        content = self.file.read(count * size)
        fields: dict[int, Sequence[Any]] = {}
        whole = content[: len(content) // size * size]
        for tag, kind, number, value in struct.iter_unpack(self.order + entry_format, whole):
            if (kind in _TYPES or (kind == _DOUBLE and tag in DOUBLE_TAGS)) and tag not in fields:
                values = self._read_values(_TYPES.get(kind, "d"), min(number, _MAX_VALUES), value)
                if values:
                    fields[tag] = values
                elif tag in (_SAMPLES, _BITS, _FORMAT, _PHOTOMETRIC, _EXTRA):  # the default would be wrong pixels
                    raise ValueError(f"the value of field {tag} lies outside of the file")
        if len(content) < count * size:
            raise ValueError("it ends early")
        self.file.seek(start + count * size)
        following = self.file.read(struct.calcsize(self.order + next_format))
        try:
            return fields, int(struct.unpack(self.order + next_format, following)[0])
        except struct.error:  # some EXIF data ends here
            return fields, 0

    def _read_values(self, kind: str, number: int, value: bytes) -> Sequence[Any]:
        size = number * struct.calcsize(self.order + kind)
        if size > len(value):
            (place,) = struct.unpack(self.order + ("Q" if self.is_big else "I"), value)
            if place > self.size:
                return ()
            self.file.seek(place)
            value = self.file.read(size)
        if len(value) < size:
            return ()
        return struct.unpack_from(f"{self.order}{number}{kind}", value)

    def _unpack(self, place: int, kind: str) -> tuple[int, ...]:
        if place > self.size:
            raise ValueError("a place outside of the file")
        self.file.seek(place)
        return struct.unpack(self.order + kind, self.file.read(struct.calcsize(self.order + kind)))


def _are_one(places: Sequence[int], counts: Sequence[int], size: int) -> bool:
    """Return whether strips follow each other without a gap, ``size`` bytes in all."""
    if not places or len(places) != len(counts) or sum(counts) != size:
        return False
    return all(map(int.__eq__, map(int.__add__, places, counts), places[1:]))


def _describe(fields: dict[int, Sequence[Any]], order: Literal["<", ">"]) -> TiffDirectory:
    def first(tag: int, default: int) -> int:
        return int(fields.get(tag, (default,))[0])

    samples = first(_SAMPLES, 1)
    bits = list(fields.get(_BITS, (1,)))
    formats = list(fields.get(_FORMAT, (1,)))
    photometric = first(_PHOTOMETRIC, 1)
    colours = {3: ("palette", 1)}.get(photometric) or _COLOURS.get(photometric)
    if photometric in _GRAYSCALE:
        colours = "grayscale", 1
    name, number = colours or ("bands", 0)
    extra = list(fields.get(_EXTRA, ()))
    alpha = next((number + index for index, kind in enumerate(extra) if kind in (1, 2)), None)
    alpha = alpha if alpha is not None and alpha < samples else None
    if samples - (alpha is not None) != number:  # more than a colour has: their meaning is not known
        name = "bands"
    tile = (first(_TILE_WIDTH, 0), first(_TILE_HEIGHT, 0))
    orientation = first(_ORIENTATION, 1)
    tags = (_TILE_PLACES, _TILE_COUNTS) if _TILE_PLACES in fields else (_STRIP_PLACES, _STRIP_COUNTS)
    places, counts = (fields.get(tag, ()) for tag in tags)
    width, height = first(_WIDTH, 0), first(_HEIGHT, 0)
    is_array = first(_COMPRESSION, 1) == first(_FILL_ORDER, 1) == 1 and _TILE_WIDTH not in fields and max(bits) % 8 == 0
    size = width * height * samples * max(bits) // 8
    scale, offset = parse_scale(fields, samples)
    return TiffDirectory(
        width=width,
        height=height,
        samples=samples,
        bits=max(bits),
        dtype="mixed" if len({*bits}) > 1 or len({*formats}) > 1 else _name_dtype(bits[0], _KINDS.get(formats[0])),
        photometric=name,
        alpha=alpha,
        is_premultiplied=1 in extra,
        is_inverted=photometric == 0,
        orientation=orientation if 1 <= orientation <= 8 else 1,
        compression=first(_COMPRESSION, 1),
        predictor=first(_PREDICTOR, 1) if first(_COMPRESSION, 1) != 1 else 1,
        is_planar=first(_PLANAR, 1) == 2 and samples > 1,
        tile=tile if _TILE_WIDTH in fields else None,
        start=places[0] if is_array and _are_one(places, counts, size) else None,
        order=order,
        end=max(map(sum, zip(places, counts, strict=False)), default=0),
        nodata=parse_nodata(fields),
        scale=scale,
        offset=offset,
        georeference=find_georeference(fields, width, height),
    )


def _name_dtype(bits: int, kind: str | None) -> str:
    """Return the name of the smallest type of NumPy that holds values of so many bits."""
    sizes = [size for size in (8, 16, 32, 64, 128) if size >= bits]
    if kind is None or not sizes or bits < 1:
        raise ValueError(f"samples of {bits} bits")
    return f"{kind}{sizes[0]}"
