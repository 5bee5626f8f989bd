"""Parse the headers of PNG, JPEG, WebP and portable anymap files."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from pix2pix_lightning.data.files.formats.header import DamagedHeaderError, ImageHeader, TruncatedHeaderError
from pix2pix_lightning.data.files.formats.tiff_header import find_orientation

_MAX_PARTS = 4096
"""Most chunks or segments of a header; the files of cameras and drawing programs have some dozens."""
_MAX_EXIF = 2**20
_MAX_ANYMAP = 4096  # bytes of an anymap's header
_GAP = rb"(?:\s|#[^\n]*\n)+"
_SIZE = _GAP + rb"(?P<width>\d{1,9})" + _GAP + rb"(?P<height>\d{1,9})"
_BITMAP = re.compile(rb"P(?P<kind>4)" + _SIZE + rb"(?P<top>)\s")
_ANYMAP = re.compile(rb"P(?P<kind>[56])" + _SIZE + _GAP + rb"(?P<top>\d{1,5})\s")
_PNG_TAIL = 2**13  # bytes that are searched behind a PNG's pixels
_BARE_MARKERS = frozenset((0x00, 0x01, *range(0xD0, 0xD9), 0xFF))  # of JPEG: without a length
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def _read(file: BinaryIO, count: int) -> bytes:
    content = file.read(count)
    if len(content) < count:
        raise TruncatedHeaderError
    return content


def parse_png(file: BinaryIO) -> ImageHeader:
    """Parse the header of a PNG, and raise the errors of ``header`` where it is damaged."""
    file.seek(8)
    channels_of = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
    colours = {0: "grayscale", 2: "rgb", 3: "palette", 4: "grayscale", 6: "rgb"}
    length, name = struct.unpack(">I4s", _read(file, 8))
    if name != b"IHDR" or length != 13:
        raise DamagedHeaderError("the first chunk is not IHDR")
    width, height, bits, kind = struct.unpack(">IIBB", _read(file, 10))
    file.seek(7, io.SEEK_CUR)
    if kind not in channels_of or bits not in (1, 2, 4, 8, 16):
        raise DamagedHeaderError(f"colour type {kind} of {bits} bits")
    has_alpha, pages, orientation = kind in (4, 6), 1, 1
    for _ in range(_MAX_PARTS):
        length, name = struct.unpack(">I4s", _read(file, 8))
        if name == b"IDAT":
            orientation = _find_late_orientation(file) if orientation == 1 else orientation
            break
        content = _read(file, length) if name in (b"eXIf", b"acTL") and length <= _MAX_EXIF else b""
        file.seek(length - len(content) + 4, io.SEEK_CUR)
        has_alpha = has_alpha or name == b"tRNS"
        if name == b"acTL":
            pages = max(1, struct.unpack(">I", content[:4])[0])
        elif name == b"eXIf":
            orientation = find_orientation(io.BytesIO(content))
    else:
        raise DamagedHeaderError(f"more than {_MAX_PARTS} chunks before the pixels")
    return ImageHeader(
        format="png",
        width=width,
        height=height,
        channels=channels_of[kind],
        dtype="uint16" if bits == 16 else "uint8",
        bits=bits,
        max_level=2**bits - 1,
        photometric=colours[kind],
        has_alpha=has_alpha,
        pages=pages,
        orientation=orientation,
    )


def _find_late_orientation(file: BinaryIO) -> int:
    """Find the orientation in an eXIf chunk behind a PNG's pixels, which decoders apply, too."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - _PNG_TAIL))
    before, name, content = file.read(_PNG_TAIL).rpartition(b"eXIf")
    if not name or len(before) < 4:
        return 1
    length = int.from_bytes(before[-4:], "big")
    is_chunk = content[length : length + 4] == zlib.crc32(name + content[:length]).to_bytes(4, "big")
    return find_orientation(io.BytesIO(content[:length])) if is_chunk else 1


def parse_jpeg(file: BinaryIO) -> ImageHeader:
    """Parse the header of a JPEG, and raise the errors of ``header`` where it is damaged."""
    file.seek(2)
    orientation: int | None = None
    frame: tuple[int, int, int, int] | None = None
    for _ in range(_MAX_PARTS):
        begin = file.read(4)
        if len(begin) < 4 or begin[0] != 0xFF or begin[1] in _BARE_MARKERS:  # padding, or something that is passed over
            file.seek(-len(begin), io.SEEK_CUR)
            marker = _find_jpeg_marker(file)
            if marker in _BARE_MARKERS:
                continue
            length = int.from_bytes(_read(file, 2), "big") - 2
        else:
            marker, length = begin[1], (begin[2] << 8 | begin[3]) - 2
        if marker in (0xD9, 0xDA):
            break
        if marker == 0xE1 and length > 6:
            content = _read(file, length)
            if content.startswith(b"Exif\0\0") and orientation is None:  # of several, the first one counts
                orientation = find_orientation(io.BytesIO(content[6:]))
        elif marker in _FRAME_MARKERS and frame is None:
            frame = struct.unpack(">BHHB", _read(file, 6))
            file.seek(max(0, length - 6), io.SEEK_CUR)
        else:
            file.seek(max(0, length), io.SEEK_CUR)
    else:
        raise DamagedHeaderError(f"more than {_MAX_PARTS} segments before the pixels")
    if frame is None:
        raise DamagedHeaderError("pixels before their size")
    bits, height, width, channels = frame
    return ImageHeader(
        format="jpeg",
        width=width,
        height=height,
        channels=channels,
        dtype="uint8" if bits <= 8 else "uint16",
        bits=bits,
        max_level=2**bits - 1,
        photometric={1: "grayscale", 3: "rgb", 4: "cmyk"}.get(channels, "bands"),
        orientation=orientation or 1,
    )


def _find_jpeg_marker(file: BinaryIO) -> int:
    """Read up to the next marker, as decoders do, which pass over what stands between segments."""
    for _ in range(_MAX_PARTS):
        if _read(file, 1) != b"\xff":
            continue
        code = b"\xff"
        while code == b"\xff":
            code = _read(file, 1)
        if code != b"\0":
            return code[0]
    raise DamagedHeaderError("no marker")


def parse_webp(file: BinaryIO) -> ImageHeader:
    """Parse the header of a WebP, and raise the errors of ``header`` where it is damaged."""
    file.seek(12)
    size = None
    has_alpha, frames, orientation = False, 0, 1
    for name, length in _list_webp_chunks(file):
        if name == b"VP8X":
            flags, *canvas = struct.unpack("<B3x6B", _read(file, 10))
            has_alpha = bool(flags & 0x10)
            size = (1 + _to_number(canvas[:3]), 1 + _to_number(canvas[3:]))
        elif name == b"VP8L":
            signature, word = struct.unpack("<BI", _read(file, 5))
            if signature != 0x2F:
                raise DamagedHeaderError("VP8L")
            size = size or (1 + (word & 0x3FFF), 1 + (word >> 14 & 0x3FFF))
            has_alpha = has_alpha or bool(word >> 28 & 1)
        elif name == b"VP8 " and size is None:
            start, width, height = struct.unpack("<3x3sHH", _read(file, 10))
            if start != b"\x9d\x01\x2a":
                raise DamagedHeaderError("VP8")
            size = (width & 0x3FFF, height & 0x3FFF)
        elif name == b"ANMF":
            frames += 1
        elif name == b"EXIF" and length <= _MAX_EXIF:
            content = _read(file, length)
            orientation = find_orientation(io.BytesIO(content[6:] if content.startswith(b"Exif\0\0") else content))
    if size is None:
        raise DamagedHeaderError("no picture")
    return ImageHeader(
        format="webp",
        width=size[0],
        height=size[1],
        channels=3 + has_alpha,
        photometric="rgb",
        has_alpha=has_alpha,
        pages=max(1, frames),
        orientation=orientation,
    )


def _list_webp_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    place = file.tell()
    for _ in range(_MAX_PARTS):
        file.seek(place)
        head = file.read(8)
        if len(head) < 8:
            return
        name, length = struct.unpack("<4sI", head)
        yield name, length
        place += 8 + length + length % 2
    raise DamagedHeaderError(f"more than {_MAX_PARTS} chunks")


def _to_number(digits: list[int]) -> int:
    return int.from_bytes(bytes(digits), "little")


def parse_anymap(file: BinaryIO) -> ImageHeader:
    """Parse the header of a portable anymap, and raise the errors of ``header`` where it is damaged."""
    file.seek(0)
    words = file.read(_MAX_ANYMAP)
    kind = words[1:2]
    numbers: list[int] = []
    count = 2 if kind in b"14" else 3
    for line in words[2:].split(b"\n"):
        found = line.partition(b"#")[0].split()[: count - len(numbers)]
        if not all(word.isdigit() and len(word) < 10 for word in found):
            raise DamagedHeaderError("a size that is no number")
        numbers += map(int, found)
        if len(numbers) == count:
            break
    else:
        raise TruncatedHeaderError
    width, height, top = (*numbers, 1)[:3]
    if not 0 < top < 2**16 or min(width, height) < 0:
        raise DamagedHeaderError(f"a greatest level of {top}")
    is_rgb = kind in b"36"
    ends = _find_ends_of_anymaps(file) or [0]
    return ImageHeader(
        format="ppm",
        width=width,
        height=height,
        channels=3 if is_rgb else 1,
        dtype="uint8" if top < 256 else "uint16",
        bits=top.bit_length(),
        max_level=top,
        photometric="rgb" if is_rgb else "grayscale",
        pages=len(ends),
        end=ends[0],
    )


def _find_ends_of_anymaps(file: BinaryIO) -> list[int]:
    """Return where each picture of a binary anymap ends; they may follow each other in one file."""
    ends = [0]
    while len(ends) < _MAX_PARTS:
        file.seek(ends[-1])
        begin = file.read(_MAX_ANYMAP)
        head = _BITMAP.match(begin) or _ANYMAP.match(begin)
        if head is None:
            break
        width, height, top = int(head["width"]), int(head["height"]), int(head["top"] or 1)
        bits = {b"4": 1, b"5": 8, b"6": 24}[head["kind"]] * (2 if top > 255 else 1)
        ends.append(ends[-1] + head.end() + height * -(-width * bits // 8))
    return ends[1:]
