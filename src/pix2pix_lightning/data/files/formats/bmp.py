"""Read BMP files, of which OpenCV and Pillow decode some kinds to other colours or numbers."""

from __future__ import annotations

import struct
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.files.formats.header import (
    DamagedHeaderError,
    DamagedPixelsError,
    ImageHeader,
    TruncatedHeaderError,
)

Bytes = npt.NDArray[np.uint8]

_NONE, _RUNS_8, _RUNS_4, _MASKS, _ALPHA_MASKS = 0, 1, 2, 3, 6
_BITS_OF = {_NONE: (1, 2, 4, 8, 16, 24, 32), _RUNS_8: (8,), _RUNS_4: (4,), _MASKS: (16, 32), _ALPHA_MASKS: (16, 32)}
_OLD_LENGTH, _OS2_LENGTH = 12, 64  # of headers, in bytes
_MAX_HEADER = 14 + 124 + 16


class _Fields(NamedTuple):
    """Fields of a header; masks are those of red, green, blue and alpha."""

    start: int
    width: int
    height: int
    bits: int
    compression: int
    masks: tuple[int, int, int, int]
    palette: tuple[int, int, int]  # place, number and bytes of its colours


def parse_bmp(file: BinaryIO) -> ImageHeader:
    """Parse the header of a BMP, and raise the errors of ``header`` where it is damaged."""
    file.seek(0)
    fields = _parse(file.read(_MAX_HEADER))
    sizes = [mask.bit_count() for mask in fields.masks]
    depth, has_alpha = max(sizes), fields.masks[3] > 0
    is_palette = fields.bits <= 8
    return ImageHeader(
        format="bmp",
        width=fields.width,
        height=abs(fields.height),
        channels=1 if is_palette else 3 + has_alpha,
        dtype="uint8" if depth <= 8 else "uint16",
        bits=depth if depth > 8 else min(fields.bits, 8),
        max_level=2 ** min(fields.bits, 8) - 1,
        photometric="palette" if is_palette else "rgb",
        has_alpha=has_alpha,
        end=0 if fields.compression in (_RUNS_8, _RUNS_4) else _compute_end(fields),
    )


def _parse(head: bytes) -> _Fields:
    if len(head) < 18:
        raise TruncatedHeaderError
    start, length = struct.unpack_from("<10xII", head)
    if len(head) < min(14 + length, _MAX_HEADER - 16):
        raise TruncatedHeaderError
    compression, num_colours = _NONE, 0
    if length == _OLD_LENGTH:
        width, height, bits = struct.unpack_from("<18xHH2xH", head)
    elif length >= 36:
        width, height, bits, compression, num_colours = struct.unpack_from("<18xii2xHI12xI", head)
    else:
        raise DamagedHeaderError(f"{length} bytes")
    if compression not in _BITS_OF or (length == _OS2_LENGTH and compression == _MASKS):
        raise DamagedHeaderError(f"compression {compression}, which is not read")
    if bits not in _BITS_OF[compression] or width < 0 or start < 14 + length:
        raise DamagedHeaderError(f"{bits} bits a pixel")
    masks = (0, 0, 0, 0)
    if compression in (_MASKS, _ALPHA_MASKS):
        alpha = struct.unpack_from("<66xI", head)[0] if length >= 56 or compression == _ALPHA_MASKS else 0
        masks = (*struct.unpack_from("<54x3I", head), alpha)
        if not all(masks[:3]) or not all(map(_is_contiguous, masks)) or start < 66:
            raise DamagedHeaderError("masks of its colours")
    elif bits == 16:
        masks = (0x7C00, 0x3E0, 0x1F, 0)
    elif bits == 32:
        masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)  # Pillow stores alpha in the unused byte
    size = 3 if length == _OLD_LENGTH else 4
    room = (start - 14 - length) // size
    palette = (14 + length, min(num_colours or 2**bits, 2**bits, room) if bits <= 8 else 0, size)
    return _Fields(start, width, height, bits, compression, masks, palette)


def _is_contiguous(mask: int) -> bool:
    """Return whether the bits of a mask lie side by side."""
    lowest = mask & -mask
    return mask & (mask + lowest) == 0


def decode_bmp(content: bytes) -> tuple[Bytes, Bytes | None, Bytes | None]:
    """Decode the pixels of a BMP.

    Args:
        content: The file, whose header is sound.

    Returns:
        (H, W, 1) numbers of colours or (H, W, 3) RGB; (H, W) alpha or None; (N, 3) RGB, the palette, or None.

    Raises:
        DamagedPixelsError: The pixels end early, or a number is not in the palette.
    """
    fields = _parse(content[:_MAX_HEADER])
    is_packed = fields.compression in (_RUNS_8, _RUNS_4)
    rows = _unpack_runs(content, fields) if is_packed else _get_rows(content, fields)
    rows = rows if fields.height < 0 else rows[::-1]  # the lowest row comes first
    if fields.bits <= 8:
        numbers = np.ascontiguousarray(rows if is_packed else _unpack_bits(rows, fields.bits)[:, : fields.width])
        place, count, size = fields.palette
        palette = np.frombuffer(content, np.uint8, count * size, place).reshape(count, size)[:, 2::-1]
        if numbers.max(initial=0) >= count:
            raise DamagedPixelsError(f"number {numbers.max()} in a palette of {count} colours")
        return numbers[..., None], None, palette
    if fields.bits == 24:
        bgr = np.ascontiguousarray(rows[:, : 3 * fields.width]).reshape(len(rows), -1, 3)
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False), None, None
    used = np.ascontiguousarray(rows[:, : fields.bits // 8 * fields.width])
    values = used.view(f"<u{fields.bits // 8}")
    pixels = np.stack([_extract(values, mask) for mask in fields.masks[:3]], -1)
    alpha = _extract(values, fields.masks[3]) if fields.masks[3] else None
    is_unused = alpha is not None and fields.compression == _NONE and not alpha.any()
    return pixels, None if is_unused else alpha, None


def _compute_stride(fields: _Fields) -> int:
    return (fields.width * fields.bits + 31) // 32 * 4


def _compute_end(fields: _Fields) -> int:
    """Return where the pixels end; some files have no padding behind the last row."""
    used = (fields.width * fields.bits + 7) // 8
    return fields.start + _compute_stride(fields) * (abs(fields.height) - 1) + used


def _get_rows(content: bytes, fields: _Fields) -> Bytes:
    """Return the rows as stored, (H, bytes), each of whole words of 32 bits."""
    height, stride = abs(fields.height), _compute_stride(fields)
    if _compute_end(fields) > len(content):
        raise DamagedPixelsError("its pixels end early")
    stored = content[fields.start : fields.start + stride * height]
    return np.frombuffer(stored.ljust(stride * height, b"\0"), np.uint8).reshape(height, stride)


def _unpack_bits(rows: Bytes, bits: int) -> Bytes:
    """Return the numbers of 1, 2, 4 or 8 bits in each row, the first one in the highest bits."""
    if bits == 8:
        return rows
    shifts = np.arange(8 - bits, -1, -bits).astype(np.uint8)
    numbers: Bytes = ((rows[..., None] >> shifts) & np.uint8(2**bits - 1)).reshape(len(rows), -1)
    return numbers


def _extract(values: npt.NDArray[np.unsignedinteger], mask: int) -> Bytes:
    """Return the bits of a mask, scaled to 255."""
    top = 2 ** mask.bit_count() - 1
    levels = (values & mask) >> ((mask & -mask).bit_length() - 1)
    scale = ((np.arange(top + 1) * 255 + top // 2) // top).astype(np.uint8)
    return levels.astype(np.uint8) if top == 255 else scale[levels]


def _unpack_runs(content: bytes, fields: _Fields) -> Bytes:
    """Return the numbers of a file of runs; where it jumps over pixels they are 0."""
    width, height = fields.width, abs(fields.height)
    numbers = np.zeros((height, width), np.uint8)
    x, y, place = 0, 0, fields.start
    while y < height:
        if place + 2 > len(content):
            raise DamagedPixelsError("its pixels end early")
        count, value = content[place : place + 2]
        place += 2
        if count:
            run = np.full(count, value, np.uint8)
            if fields.bits == 4:
                run[::2], run[1::2] = value >> 4, value & 15
        elif value == 0:  # the end of a row
            x, y = 0, y + 1
            continue
        elif value == 1:  # the end of all
            break
        elif value == 2:  # a jump
            x, y, place = x + sum(content[place : place + 1]), y + sum(content[place + 1 : place + 2]), place + 2
            continue
        else:
            size = value if fields.bits == 8 else (value + 1) // 2
            stored = np.frombuffer(content[place : place + size], np.uint8)[None]
            run = _unpack_bits(stored, fields.bits)[0, :value]
            place += size + size % 2
        run = run[: max(0, width - x)]
        numbers[y, x : x + len(run)] = run
        x += len(run)
    return numbers
