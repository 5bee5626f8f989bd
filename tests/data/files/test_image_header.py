"""Headers of image files against what Pillow and tifffile wrote, and headers that mislead."""

import io
import os
import random
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from pix2pix_lightning.data.files.image_files import read_image
from pix2pix_lightning.data.files.image_header import parse_header, read_header
from pix2pix_lightning.utils.errors import UserError


def save(kind, mode, **options):
    buffer = io.BytesIO()
    levels = np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4)
    Image.fromarray(levels, "RGBA").convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(shape, dtype=np.uint8, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.zeros(shape, dtype), **options)
    return buffer.getvalue()


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def parse(content):
    return parse_header(io.BytesIO(content), Path("x.img"))


FORMATS = {"PNG": "png", "JPEG": "jpeg", "WEBP": "webp", "TIFF": "tiff", "BMP": "bmp", "PPM": "ppm"}
STORED = {  # channels, photometric, alpha
    "L": (1, "grayscale", False),
    "LA": (2, "grayscale", True),
    "RGB": (3, "rgb", False),
    "RGBA": (4, "rgb", True),
    "CMYK": (4, "cmyk", False),
}


WRITTEN = {
    "PNG": ("L", "LA", "RGB", "RGBA"),
    "JPEG": ("L", "RGB", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "TIFF": tuple(STORED),
    "BMP": ("RGB", "RGBA"),
    "PPM": ("L", "RGB"),
}


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, modes in WRITTEN.items() for mode in modes])
def test_channels_and_size(kind, mode):
    header = parse(save(kind, mode))
    assert (header.format, header.width, header.height, header.pages) == (FORMATS[kind], 4, 6, 1)
    assert (header.channels, header.photometric, header.has_alpha) == STORED[mode]
    assert (header.dtype, header.max_level) == ("uint8", 255)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("number", [1, 3, 6, 8])
def test_orientation(tmp_path, kind, number):
    exif = Image.Exif()
    exif[0x112] = number
    path = tmp_path / "image"
    path.write_bytes(save(kind, "RGB", exif=exif))
    header = read_header(path)
    assert header.orientation == number
    assert header.upright_size == ((6, 4) if number > 4 else (4, 6))


def test_an_orientation_behind_the_pixels_counts():
    exif = Image.Exif()
    exif[0x112] = 6
    content = save("PNG", "RGB")
    late = content[:-12] + chunk(b"eXIf", exif.tobytes()[6:]) + content[-12:]
    assert parse(late).orientation == 6
    assert parse(late.replace(b"eXIf", b"eXIF")).orientation == 1


def build_exif(orientation, order="<", kind="H"):
    number = {"H": 3, "I": 4}[kind]
    field = struct.pack(f"{order}HHHI", 1, 0x112, number, 1) + struct.pack(order + kind, orientation).ljust(4, b"\0")
    return {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8) + field + bytes(4)


def insert_exif(kind, exif):
    """Return an image with EXIF data where decoders differ in whether they look for it."""
    if kind == "WEBP":
        content = save(kind, "RGB", lossless=True, exif=bytes(len(exif)))
        return content.replace(struct.pack("<I", len(exif)) + bytes(len(exif)), struct.pack("<I", len(exif)) + exif)
    content = save(kind, "RGB", quality=95)
    place = content.index(b"\xff\xda")  # behind the size
    return content[:place] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[place:]


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
@pytest.mark.parametrize("exif", [("<", "H"), (">", "I"), (">", "H")])
@pytest.mark.parametrize("number", [3, 6])
def test_the_pixels_are_turned_as_the_header_says(tmp_path, kind, exif, number):
    path = tmp_path / "image"
    path.write_bytes(save(kind, "RGB", **({"lossless": True} if kind == "WEBP" else {"quality": 95})))
    stored = read_image(path)
    path.write_bytes(insert_exif(kind, b"Exif\0\0" + build_exif(number, *exif)))
    assert read_header(path).orientation == number
    np.testing.assert_array_equal(read_image(path), np.rot90(stored, {3: 2, 6: -1}[number]))


def test_of_several_orientations_the_first_counts():
    content = save("JPEG", "RGB")
    for number in (6, 1):
        exif = b"Exif\0\0" + build_exif(number)
        content = content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:]
    assert parse(content).orientation == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (tiff((6, 4, 13), planarconfig="contig", photometric="minisblack"), (13, "bands", "uint8")),
        (tiff((4, 6, 4), planarconfig="separate", photometric="minisblack"), (4, "bands", "uint8")),
        (tiff((6, 4, 4), photometric="rgb", extrasamples=[0]), (4, "bands", "uint8")),
        (tiff((6, 4, 2), planarconfig="contig", photometric="minisblack", extrasamples=[2]), (2, "grayscale", "uint8")),
        (tiff((6, 4), np.uint16, bigtiff=True, photometric="miniswhite"), (1, "grayscale", "uint16")),
        (tiff((6, 4), np.float32, byteorder=">"), (1, "grayscale", "float32")),
        (tiff((6, 4), np.int8), (1, "grayscale", "int8")),
        (save("PNG", "P"), (1, "palette", "uint8")),
        (b"P5 4 6\n# a comment 9\n1000 " + bytes(48), (1, "grayscale", "uint16")),
    ],
)
def test_channels_types_and_meaning(content, expected):
    header = parse(content)
    assert (header.channels, header.photometric, header.dtype) == expected
    assert (header.width, header.height) == (4, 6)


def test_pages_and_frames_are_counted_and_reduced_copies_are_not():
    frames = [Image.new("RGB", (4, 6), colour) for colour in ("red", "blue", "green")]
    for kind in ("PNG", "WEBP", "TIFF"):
        buffer = io.BytesIO()
        frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
        assert parse(buffer.getvalue()).pages == 3
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(np.zeros((6, 4, 3), np.uint8))
        writer.write(np.zeros((3, 2, 3), np.uint8), subfiletype=1)
    assert parse(buffer.getvalue()).pages == 1


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"GIF89a" + bytes(40), "GIF"),
        (b"<!DOCTYPE html><p>404", "server"),
        (b"version https://git-lfs.github.com/spec/v1", "LFS"),
        (b"P7\nWIDTH 1\n", "PAM"),
        (b"nothing of the kind", "another kind"),
        (save("PNG", "RGB")[:20], "truncated"),
        (b"P6 0 4 255\n", "0 x 4"),
        (b"P6 4 -4 255\n", "damaged"),
    ],
)
def test_what_is_no_image_is_named(content, word):
    with pytest.raises(UserError, match=word) as raised:
        parse(content)
    assert "x.img" in str(raised.value)


@pytest.mark.parametrize(
    ("head", "size"),
    [(b"P6 3 2\n# P5\n255\n", 18), (b"P5 3 2 1000\n", 12), (b"P4\n# a comment\n9 2\n", 4), (b"P5\n3 2\n200\n", 6)],
)
def test_pictures_of_one_anymap_are_counted(head, size):
    one = head + b"P" * size
    assert [parse(one * count).pages for count in (1, 2, 5)] == [1, 2, 5]
    assert parse(one + b"\n").pages == 1


def test_a_loop_of_pages_ends():
    content = bytearray(tiff((6, 4)))
    (first,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, first)
    struct.pack_into("<I", content, first + 2 + 12 * count, first)
    assert parse(bytes(content)).pages == 1


def test_damaged_headers_give_a_header_or_a_line_in_little_memory():
    sound = [save(kind, "RGB") for kind in FORMATS] + [tiff((6, 4), np.float32, bigtiff=True), save("PNG", "P")]
    generator = random.Random(0)
    tracemalloc.start()
    for _ in range(600):
        content = bytearray(generator.choice(sound))
        for _ in range(generator.randint(1, 8)):
            content[generator.randrange(len(content))] = generator.choice((0, 1, 0x7F, 0xFF, generator.randrange(256)))
        try:
            header = parse(bytes(content[: generator.randint(1, len(content))]))
        except UserError:
            continue
        assert min(header.width, header.height, header.channels, header.pages) >= 1
        assert header.orientation in range(1, 9)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23


def test_a_file_is_opened_again_only_once_it_may_have_changed(tmp_path, monkeypatch):
    path, other, opened = tmp_path / "x.png", tmp_path / "y.png", []
    path.write_bytes(b"no image")
    os.utime(path, (0, 0))
    with pytest.raises(UserError):
        read_header(path)
    content = save("PNG", "RGB")
    path.write_bytes(content)
    monkeypatch.setattr(
        Path, "open", lambda *args, plain=Path.open, **options: opened.append(1) or plain(*args, **options)
    )
    assert [read_header(path).channels for _ in range(3)] == [3, 3, 3]
    assert len(opened) == 3  # a file that has just been written may change without a sign
    os.utime(path, (0, 0))
    assert [read_header(path).channels for _ in range(3)] == [3, 3, 3]
    assert len(opened) == 4
    other.write_bytes(save("PNG", "L").ljust(len(content), b"\0"))
    os.utime(other, (0, 0))
    other.replace(path)  # another file of the same name, size and time
    assert read_header(path).channels == 1
