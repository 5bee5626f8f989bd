"""What each kind of file gives a side, against values computed with NumPy."""

import io
import logging
import lzma
import resource
import struct
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest
import tifffile
from PIL import Image

from pix2pix_lightning.data.files import decoding, file_image
from pix2pix_lightning.data.files.file_image import composite, from_pil
from pix2pix_lightning.data.files.image_files import read_image
from pix2pix_lightning.data.sides import build_side
from pix2pix_lightning.utils.errors import UserError


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def mix(colours, alpha, background=(255, 255, 255)):
    """Lay colours over a background with exact fractions, halves rounded up."""
    mixed = np.empty((*alpha.shape, 3), np.uint8)
    for y, x, c in np.ndindex(mixed.shape):
        opacity = Fraction(int(alpha[y, x]), 255)
        value = int(colours[y, x, c % colours.shape[2]]) * opacity + background[c] * (1 - opacity)
        mixed[y, x, c] = int(value + Fraction(1, 2))
    return mixed


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def pack(values, bits):
    """Return each row of values in bytes, the first value in the highest bits."""
    for row in values:
        digits = "".join(format(value, f"0{bits}b") for value in row)
        digits += "0" * (-len(digits) % 8)
        yield int(digits, 2).to_bytes(len(digits) // 8, "big")


def write_png(path, values, bits, kind=0, before=b""):
    """Write a PNG of gray levels or palette numbers of 1, 2, 4 or 8 bits."""
    rows = b"".join(b"\0" + row for row in pack(values, bits))
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, kind, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + before + pixels + chunk(b"IEND", b""))


NUMBERS = build_side(kind="label", num_classes=256)
RGBA = noise(5, 7, 4)
RGBA[0, :3, 3] = 0, 255, 128


def write_tiff(path, content, *, width, height, bits, compression=1, photometric=1):
    """Write a TIFF of gray levels in one strip."""
    tags = {256: width, 257: height, 258: bits, 259: compression, 262: photometric, 273: 8, 277: 1, 278: height}
    tags[279] = len(content)
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    place = 8 + len(content)
    path.write_bytes(b"II*\0" + struct.pack("<I", place) + content + struct.pack("<H", len(tags)) + fields + bytes(4))


def save_bmp_v5(path):
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    head = struct.pack("<IiiHHIIiiII", 124, 7, 5, 1, 32, 3, RGBA.size, 0, 0, 0, 0) + masks
    pixels = RGBA[::-1, :, [2, 1, 0, 3]].tobytes()
    path.write_bytes(b"BM" + struct.pack("<IHHI", 138 + len(pixels), 0, 0, 138) + head.ljust(124, b"\0") + pixels)


SAVERS = {
    "png": lambda path: Image.fromarray(RGBA).save(path),
    "webp": lambda path: Image.fromarray(RGBA).save(path, lossless=True, exact=True),
    "bmp": lambda path: Image.fromarray(RGBA).save(path),
    "v5.bmp": save_bmp_v5,
    "tif": lambda path: tifffile.imwrite(path, RGBA, photometric="rgb", extrasamples=["unassalpha"]),
    "planes.tif": lambda path: tifffile.imwrite(
        path, RGBA.transpose(2, 0, 1), photometric="rgb", planarconfig="separate", extrasamples=["unassalpha"]
    ),
    "lzw.tif": lambda path: Image.fromarray(RGBA).save(path, compression="tiff_lzw"),
    "deflate.tif": lambda path: tifffile.imwrite(
        path, RGBA, photometric="rgb", extrasamples=["unassalpha"], compression="zlib", predictor=True
    ),
}


@pytest.mark.parametrize("name", SAVERS)
def test_transparent_pixels_lie_over_the_background_in_every_format(tmp_path, name):
    path = tmp_path / f"clear.{name}"
    SAVERS[name](path)
    np.testing.assert_array_equal(read_image(path), mix(RGBA[..., :3], RGBA[..., 3]))
    side = build_side(background=(10, 200, 30))
    np.testing.assert_array_equal(read_image(path, side=side), mix(RGBA[..., :3], RGBA[..., 3], (10, 200, 30)))
    with pytest.raises(UserError, match=f"clear.{name}.*alpha=composite"):
        read_image(path, side=build_side(alpha="error"))
    with pytest.raises(UserError, match="class numbers"):
        read_image(path, side=NUMBERS)


def test_an_alpha_that_is_opaque_is_dropped_for_every_side(tmp_path, caplog):
    opaque = np.dstack([RGBA[..., :3], np.full((5, 7), 255, np.uint8)])
    Image.fromarray(opaque).save(tmp_path / "opaque.png")
    for side in (None, build_side(alpha="error"), build_side(kind="label", palette=[[0, 0, 0], [255, 255, 255]])):
        np.testing.assert_array_equal(read_image(tmp_path / "opaque.png", side=side), opaque[..., :3])
    assert not caplog.records


def test_gray_alpha_transparent_colours_and_palettes(tmp_path):
    gray, alpha = RGBA[..., :1], RGBA[..., 3]
    Image.fromarray(RGBA[..., [0, 3]], "LA").save(tmp_path / "la.png")
    tifffile.imwrite(tmp_path / "la.tif", RGBA[..., [0, 3]], photometric="minisblack", planarconfig="contig",
                     extrasamples=["unassalpha"])  # fmt: skip
    for name in ("la.png", "la.tif"):
        image = read_image(tmp_path / name)
        np.testing.assert_array_equal(np.broadcast_to(image, (5, 7, 3)), mix(gray, alpha))

    key = RGBA[2, 3, :3]
    Image.fromarray(RGBA[..., :3]).save(tmp_path / "key.png", transparency=tuple(map(int, key)))
    is_key = (RGBA[..., :3] == key).all(-1)
    expected = np.where(is_key[..., None], 255, RGBA[..., :3])
    np.testing.assert_array_equal(read_image(tmp_path / "key.png"), expected)

    values = np.arange(35).reshape(5, 7) % 16
    write_png(tmp_path / "key4.png", values, 4, before=chunk(b"tRNS", struct.pack(">H", 5)))
    expected = np.where(values == 5, 255, values * 17)[..., None]
    np.testing.assert_array_equal(read_image(tmp_path / "key4.png")[..., :1], expected)

    colours = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90]], np.uint8)
    palette = chunk(b"PLTE", colours.tobytes()) + chunk(b"tRNS", bytes([0, 128]))
    write_png(tmp_path / "palette.png", values % 3, 2, kind=3, before=palette)
    alpha = np.array([0, 128, 255], np.uint8)[values % 3]
    np.testing.assert_array_equal(read_image(tmp_path / "palette.png"), mix(colours[values % 3], alpha))


def test_premultiplied_colours_are_not_multiplied_again(tmp_path):
    stored = (RGBA[..., :3].astype(int) * RGBA[..., 3:] // 255).astype(np.uint8)
    tifffile.imwrite(tmp_path / "p.tif", np.dstack([stored, RGBA[..., 3]]), photometric="rgb",
                     extrasamples=["assocalpha"])  # fmt: skip
    expected = stored.astype(int) + 255 - RGBA[..., 3:]
    np.testing.assert_array_equal(read_image(tmp_path / "p.tif"), expected)
    opaque = np.dstack([RGBA[..., :3], np.full((5, 7), 255, np.uint8)])
    assert (composite(opaque[..., :3], opaque[..., 3], (0, 0, 0)) == opaque[..., :3]).all()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("name", ["png", "tif", "inverted.tif", "ppm", "palette.png"])
def test_class_numbers_are_those_of_the_file_and_pictures_use_all_levels(tmp_path, bits, name):
    top = 2**bits - 1
    values = (np.arange(35).reshape(5, 7) * 3 % (top + 1)).astype(np.uint8)
    path = tmp_path / f"few.{name}"
    expected = values * (255 // top)
    if name == "png":
        write_png(path, values, bits)
    elif name == "palette.png":
        colours = noise(2**bits, 3)
        write_png(path, values, bits, kind=3, before=chunk(b"PLTE", colours.tobytes()))
        np.testing.assert_array_equal(read_image(path), colours[values])
        np.testing.assert_array_equal(read_image(path, side=NUMBERS), values[..., None])
        return
    elif name == "ppm":
        path.write_bytes(b"P5 7 5 %d\n" % top + values.tobytes() if bits > 1 else b"P1 7 5\n" + b"\n".join(
            b" ".join(b"%d" % (1 - v) for v in row) for row in values
        ))  # fmt: skip
    else:
        is_inverted = "inverted" in name
        content = b"".join(pack(values, bits))
        write_tiff(path, content, width=7, height=5, bits=bits, photometric=0 if is_inverted else 1)
        if is_inverted:
            expected, values = 255 - expected, top - values
    np.testing.assert_array_equal(read_image(path)[..., 0], expected)
    np.testing.assert_array_equal(NUMBERS.prepare(read_image(path, side=NUMBERS))[..., 0], values)


@pytest.mark.parametrize("layout", [{}, {"rowsperstrip": 3}, {"tile": (16, 16)}, {"bigtiff": True, "byteorder": ">"}])
@pytest.mark.parametrize("compression", [None, "zlib", "lzma"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_tiff_in_strips_tiles_and_planes(tmp_path, layout, compression, planar):
    image = noise(21, 18, 3)
    stored = image if planar == "contig" else image.transpose(2, 0, 1)
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, stored, photometric="rgb", planarconfig=planar, compression=compression, **layout)
    np.testing.assert_array_equal(read_image(path), image)


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1"])
@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "jpeg", "group4"])
def test_tiff_that_pillow_compressed(tmp_path, mode, compression):
    if (compression == "group4") != (mode == "1") or (compression == "jpeg" and mode == "P"):
        return
    image = Image.fromarray(noise(21, 18, 3)).convert(mode)
    image.save(tmp_path / "image.tif", compression=compression)
    with Image.open(tmp_path / "image.tif") as file:
        expected = np.asarray(file.convert("RGB"))
    np.testing.assert_array_equal(np.broadcast_to(read_image(tmp_path / "image.tif"), (21, 18, 3)), expected)


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "rgb.png", "a.tif", "lzw.tif", "a.webp"])
def test_every_orientation_is_turned(tmp_path, number, name):
    exif = Image.Exif()
    exif[0x112] = number
    image = Image.fromarray(RGBA if name[0] == "a" else RGBA[..., :3])
    options = {"lossless": True, "exact": True} if name.endswith("webp") else {}
    options |= {"compression": "tiff_lzw"} if name == "lzw.tif" else {}
    image.save(tmp_path / name, exif=exif, **options)
    moves = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # numbers of Pillow's transpositions
    turned = np.asarray(image if number == 1 else image.transpose(Image.Transpose(moves[number])))
    expected = mix(turned[..., :3], turned[..., 3]) if name[0] == "a" else turned
    np.testing.assert_array_equal(read_image(tmp_path / name), expected)


def write_pages(path):
    tifffile.imwrite(path, noise(2, 5, 7, 3), photometric="rgb")


def write_frames(path):
    frames = [Image.fromarray(np.full((5, 7, 3), 90 * k, np.uint8)) for k in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


REFUSED = {
    "deep.png": (lambda path: Image.fromarray(noise(5, 7).astype(np.uint16)).save(path), "uint16"),
    "deep.ppm": (lambda path: path.write_bytes(b"P6 1 1 65535\n" + bytes(6)), "uint16"),
    "deep.tif": (
        lambda path: tifffile.imwrite(path, noise(5, 7, 2).astype(np.uint16), planarconfig="contig"),
        "2 channels of uint16",
    ),
    "float.tif": (lambda path: tifffile.imwrite(path, noise(5, 7).astype(np.float32)), "float32"),
    "signed.tif": (lambda path: tifffile.imwrite(path, noise(5, 7).astype(np.int8)), "int16"),
    "bands.tif": (
        lambda path: tifffile.imwrite(path, noise(5, 7, 13), photometric="minisblack", planarconfig="contig"),
        "13 channels .bands",
    ),
    "infrared.tif": (lambda path: tifffile.imwrite(path, RGBA, photometric="rgb", extrasamples=[0]), "4 channels"),
    "inks.jpg": (lambda path: Image.fromarray(RGBA, "CMYK").save(path), "cmyk"),
    "inks.tif": (lambda path: Image.fromarray(RGBA, "CMYK").save(path), "cmyk"),
    "lab.tif": (lambda path: Image.fromarray(RGBA[..., :3], "LAB").save(path), "lab"),
    "pages.tif": (write_pages, "2 pages"),
    "frames.png": (write_frames, "3 frames"),
    "frames.webp": (write_frames, "3 frames"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_used_is_refused_with_the_true_reason(tmp_path, name):
    write, word = REFUSED[name]
    write(tmp_path / name)
    with pytest.raises(UserError, match=word) as raised:
        read_image(tmp_path / name)
    assert name in str(raised.value)
    assert "damaged" not in str(raised.value)


def test_composite_is_said_once(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(file_image, "_has_logged", bytearray(1))
    for name in ("first.png", "second.png"):
        Image.fromarray(RGBA).save(tmp_path / name)
        with caplog.at_level(logging.WARNING):
            read_image(tmp_path / name)
    (record,) = caplog.records
    assert "first.png" in record.getMessage()
    assert "white" in record.getMessage()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PA", "1", "RGBX"])
def test_pil_images_are_taken_as_their_files(tmp_path, mode):
    if mode in ("P", "PA"):
        image = Image.fromarray(RGBA[..., 0] % 4).convert("P")
        image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 1, 2, 3])
        if mode == "P":
            image.info["transparency"] = bytes([255, 0, 100])
    else:
        image = Image.fromarray(RGBA).convert("RGB" if mode in ("1", "RGBX") else mode)
        image = image.convert(mode)
    expected = np.asarray(Image.alpha_composite(Image.new("RGBA", (7, 5), "white"), image.convert("RGBA")))[..., :3]
    actual = from_pil(image.convert("PA") if mode == "PA" else image).to_colours()
    assert abs(np.broadcast_to(actual, (5, 7, 3)).astype(int) - expected).max() <= 1
    if mode in ("P", "1") and "transparency" not in image.info:
        np.testing.assert_array_equal(NUMBERS.read(from_pil(image))[..., 0], np.asarray(image))


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16"])
def test_other_pil_modes_are_refused(mode):
    with pytest.raises(UserError, match=mode):
        from_pil(Image.new(mode, (3, 2)))


def test_a_pil_image_with_damaged_exif_data_or_without_a_pixel():
    image = Image.fromarray(RGBA[..., :3])
    image.info["exif"] = b"Exif\0\0no data"
    np.testing.assert_array_equal(from_pil(image).pixels, RGBA[..., :3])
    with pytest.raises(UserError, match="0 x 3"):
        from_pil(Image.new("RGB", (0, 3)))


def test_reading_in_threads_leaves_the_log_of_opencv_on(tmp_path):
    Image.fromarray(RGBA[..., :3]).save(tmp_path / "x.png")
    level = decoding._opencv_logging.getLogLevel()
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda _: read_image(tmp_path / "x.png"), range(300)):
            pass
    assert decoding._opencv_logging.getLogLevel() == level > 0


@pytest.mark.parametrize("kind", [8, 34925])
def test_a_strip_that_unpacks_to_more_than_its_place_is_refused_in_little_memory(tmp_path, kind):
    content = zlib.compress(bytes(2**23)) if kind == 8 else lzma.compress(bytes(2**23), preset=0)
    write_tiff(tmp_path / "bomb.tif", content, width=8, height=8, bits=8, compression=kind)
    tracemalloc.start()
    with pytest.raises(UserError, match=r"bomb\.tif"):
        read_image(tmp_path / "bomb.tif", max_pixels=64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22


@pytest.mark.parametrize(
    ("tag", "value", "word"),
    [
        (256, 2**20, "max_pixels"),  # the width
        (322, 2**26, "damaged"),  # the width of a tile
        (324, 2**30, "damaged"),  # the place of the pixels
        (325, 0, "no pixels"),  # their count
        (257, 7, "strips or tiles"),  # the height
    ],
)
def test_fields_of_a_tiff_that_contradict_each_other(tmp_path, tag, value, word):
    path = tmp_path / "odd.tif"
    tifffile.imwrite(path, noise(16, 16), tile=(16, 16))
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        entry = file.pages.first.tags[tag]
        struct.pack_into("<HHII", content, entry.offset, tag, 4, 1, value if tag != 257 else 40)
    path.write_bytes(content)
    with pytest.raises(UserError, match=word) as raised:
        read_image(path, max_pixels=1000)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("fraction", [0.2, 0.6, 0.9])
def test_a_cut_tiff_is_damaged_whatever_its_compression(tmp_path, fraction):
    for compression in (None, "zlib", "lzma"):
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, noise(40, 40, 3), compression=compression, photometric="rgb")
        path = tmp_path / "cut.tif"
        path.write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * fraction)])
        with pytest.raises(UserError, match=r"cut\.tif"):
            read_image(path)


def test_a_png_chunk_that_claims_more_than_the_file_has_is_refused_in_little_memory(tmp_path):
    path = tmp_path / "claim.png"
    Image.fromarray(RGBA).save(path)
    content = bytearray(path.read_bytes())
    struct.pack_into(">I", content, content.index(b"IDAT") - 4, 2**29)
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"claim\.png.*truncated"):
        read_image(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**16  # kilobytes; the chunk claims 2**19
