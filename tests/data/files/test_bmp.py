"""BMP files of all kinds, against values computed from their bits."""

import struct

import numpy as np
import pytest
from PIL import Image

from pix2pix_lightning.data.files.image_files import open_image, read_image
from pix2pix_lightning.data.sides import build_side
from pix2pix_lightning.utils.errors import UserError

BLACK_WHITE, WHITE_BLACK = [(0, 0, 0), (255, 255, 255)], [(255, 255, 255), (0, 0, 0)]
GRAYS = [(level, level, level) for level in range(16)]
NUMBERS = build_side(kind="label", num_classes=256)


def draw(*shape, high=256):
    return np.random.default_rng(0).integers(0, high, shape)


def pack(values, bits):
    """Return each row of values in bytes, the first value in the highest bits, up to a multiple of four bytes."""
    rows = ["".join(format(value, f"0{bits}b") for value in row) for row in values.tolist()]
    return b"".join(
        int(row, 2).to_bytes(len(row) // 8, "big") for row in (r.ljust(-(-len(r) // 32) * 32, "0") for r in rows)
    )


def build(size, bits, pixels, *, compression=0, colours=(), masks=(), length=40):
    """Return a BMP with its highest row first in `pixels` if the height in `size` is negative."""
    width, height = size
    if length == 12:
        head = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        fields = (width, height, 1, bits, compression, len(pixels), 0, 0, len(colours), 0)
        head = struct.pack("<IiiHHIIiiII", length, *fields) + struct.pack(f"<{len(masks)}I", *masks)
        head = head.ljust(length, b"\0")
    palette = b"".join(bytes([blue, green, red, 0][: 3 if length == 12 else 4]) for red, green, blue in colours)
    start = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + head + palette + pixels


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.bmp"


@pytest.mark.parametrize(
    ("bits", "colours", "length"),
    [
        (8, BLACK_WHITE, 40),  # Pillow takes these two kinds for one bit a pixel
        (4, BLACK_WHITE, 40),
        (1, BLACK_WHITE, 40),
        (8, WHITE_BLACK, 40),
        (4, GRAYS, 40),  # which Pillow refuses
        (2, GRAYS[:4], 40),
        (8, [(1, 2, 3), (90, 80, 70), (5, 250, 6)], 124),
        (8, [*BLACK_WHITE, *[(9, 9, 9)] * 254], 12),
    ],
)
def test_a_palette_gives_its_colours_or_its_numbers(path, bits, colours, length):
    numbers = draw(3, 5, high=min(len(colours), 2**bits))
    path.write_bytes(build((5, 3), bits, pack(numbers[::-1], bits), colours=colours, length=length))
    np.testing.assert_array_equal(read_image(path), np.array(colours)[numbers])
    np.testing.assert_array_equal(read_image(path, side=NUMBERS)[..., 0], numbers)


@pytest.mark.parametrize("bits", [4, 8])
def test_runs_stored_pixels_and_jumps(path, bits):
    colours = [(number, 2 * number, 255 - number) for number in range(16)]
    stored = bytes([0, 5, 0x12, 0x34, 0x50, 0]) if bits == 4 else bytes([0, 5, 1, 2, 3, 4, 5, 0])
    runs = bytes([4, 0x77 if bits == 4 else 7, 0, 0]) + stored + bytes([0, 2, 1, 1, 2, 0x21 if bits == 4 else 2, 0, 1])
    path.write_bytes(build((9, 3), bits, runs, compression=3 - bits // 4, colours=colours))
    expected = np.zeros((3, 9), int)
    expected[2, :4], expected[1, :5], expected[0, 6:8] = 7, [1, 2, 3, 4, 5], [2, 1] if bits == 4 else [2, 2]
    np.testing.assert_array_equal(read_image(path, side=NUMBERS)[..., 0], expected)


@pytest.mark.parametrize("length", [40, 52, 56, 124])
@pytest.mark.parametrize(
    ("bits", "masks"),
    [
        (32, (0xFF0000, 0xFF00, 0xFF, 0)),
        (32, (0xFF, 0xFF00, 0xFF0000, 0)),
        (32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000)),
        (32, (0xFF000000, 0xFF0000, 0xFF00, 0)),
        (16, (0xF800, 0x7E0, 0x1F, 0)),
        (16, (0xF00, 0xF0, 0xF, 0xF000)),
    ],
)
def test_masks_say_where_the_colours_are(path, length, bits, masks):
    values = draw(4, 6, high=2**bits)
    body = np.pad(values, ((0, 0), (0, 6 % (32 // bits)))).astype(f"<u{bits // 8}").tobytes()
    path.write_bytes(build((6, -4), bits, body, compression=3, masks=masks[: 4 if length >= 56 else 3], length=length))
    image = open_image(path)
    channels = [image.pixels[..., channel] for channel in range(3)]
    assert (image.alpha is not None) == (masks[3] > 0 and length >= 56)
    for channel, mask in zip([*channels, image.alpha], masks, strict=True):
        if channel is not None:
            levels = np.array([bin(value & mask)[2:].zfill(bits) for value in values.ravel().tolist()])
            first, size = f"{mask:0{bits}b}".index("1"), mask.bit_count()
            exact = np.array([int(text[first : first + size], 2) for text in levels]) * 255 / (2**size - 1)
            assert np.abs(channel.ravel() - exact).max() <= 0.5


def test_without_masks(path):
    values = draw(3, 4, high=2**16)
    path.write_bytes(build((4, 3), 16, values[::-1].astype("<u2").tobytes()))
    exact = np.stack([values >> shift & 31 for shift in (10, 5, 0)], -1) * 255 / 31
    assert np.abs(read_image(path) - exact).max() <= 0.5
    rgb = draw(3, 5, 3).astype(np.uint8)
    Image.fromarray(rgb).save(path)
    np.testing.assert_array_equal(read_image(path), rgb)
    path.write_bytes(path.read_bytes()[:-1])  # some programs leave out the zeros at the end of the last row
    np.testing.assert_array_equal(read_image(path), rgb)


TEN_BITS = {"compression": 3, "masks": (0x3FF00000, 0xFFC00, 0x3FF)}


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (build((2, 1), 32, bytes(8), **TEN_BITS), "10 bits"),
        (build((2, 1), 32, bytes(8), compression=3, masks=(0xFF00FF, 0xFF00, 0xFF)), "masks"),
        (build((2, 1), 32, bytes(8), compression=3), "damaged"),
        (build((2, 2), 24, bytes(13)), "end early"),
        (build((2, 1), 8, b"\0\3\0\0", colours=BLACK_WHITE), "number 3 in a palette of 2"),
        (build((2, 1), 8, b"\2", compression=1, colours=BLACK_WHITE), "end early"),
        (build((2, 1), 24, b"\xff\xd8\xff\xe0", compression=4), "compression 4"),
        (build((2, 1), 7, bytes(8)), "7 bits"),
    ],
)
def test_what_cannot_be_read_is_named(path, content, word):
    path.write_bytes(content)
    with pytest.raises(UserError, match=word):
        read_image(path)
