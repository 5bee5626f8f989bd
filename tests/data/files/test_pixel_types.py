"""Every pixel type and number of channels, against what NumPy, tifffile, OpenCV and Pillow wrote and read."""

import io
import os
import tracemalloc
import zipfile

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from helpers import draw_values as draw
from pix2pix_lightning.data.files.image_files import choose_suffix, decode_image, open_image, write_image
from pix2pix_lightning.data.files.image_header import read_header
from pix2pix_lightning.utils.errors import UserError

DTYPES = ["uint8", "uint16", "int16", "float16", "float32"]
WINDOW = (5, 7, 20, 11)


def check_read(path, expected):
    """Compare the pixels, their window and the header with (H, W, C)."""
    image, header = open_image(path), read_header(path)
    assert image.pixels.dtype == expected.dtype == header.pixel_dtype
    np.testing.assert_array_equal(image.pixels, expected)
    assert (header.height, header.width, header.pixel_channels) == expected.shape
    top, left, height, width = WINDOW
    os.utime(path, (0, 0))  # old enough for its header to be kept
    for _ in ("parsed", "known"):
        part = open_image(path, window=WINDOW).pixels
        np.testing.assert_array_equal(part, expected[top : top + height, left : left + width])
    np.testing.assert_array_equal(decode_image(path.read_bytes(), path, window=WINDOW).pixels, part)


def read_otherwise(path):
    """(H, W, C) by another library."""
    if path.suffix == ".npy":
        array = np.load(path)
    elif path.suffix == ".tif":
        array = tifffile.imread(path)
    else:
        array = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        array = array[..., ::-1] if array.ndim == 3 else array
    return array.reshape(*array.shape[:2], -1)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_written_holds_the_values_and_is_read_again(tmp_path, dtype, channels):
    image = draw(dtype, 37, 29, channels)
    is_png = dtype in ("uint8", "uint16") and channels in (1, 3)
    assert choose_suffix(dtype, channels) == (".png" if is_png else ".tif")
    for suffix in {".tif", ".npy", choose_suffix(dtype, channels)}:
        path = tmp_path / f"image{suffix}"
        write_image(path, image)
        np.testing.assert_array_equal(read_otherwise(path), image)
        check_read(path, image)
    for suffix in (".jpg", ".bmp", ".png", ".pgm"):
        if (suffix == ".png" and is_png) or (dtype == "uint8" and channels in (1, 3)):
            continue
        if suffix == ".pgm" and dtype == "uint16" and channels == 1:
            continue
        with pytest.raises(UserError, match=rf"{dtype}.*\.tif"):
            write_image(tmp_path / f"other{suffix}", image)
        assert not (tmp_path / f"other{suffix}").exists()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_tiff_of_every_type_in_strips_tiles_and_planes(tmp_path, dtype, planar):
    image = draw(dtype, 37, 29, 4)
    stored = image if planar == "contig" else np.moveaxis(image, -1, 0)
    layouts = [{}, {"rowsperstrip": 5}, {"tile": (16, 16)}, {"bigtiff": True, "byteorder": ">", "rowsperstrip": 36}]
    for layout in layouts:
        for options in ({}, {"compression": "zlib"}, {"compression": "zlib", "predictor": True}):
            if "predictor" in options and dtype.startswith("float"):
                continue
            path = tmp_path / "image.tif"
            tifffile.imwrite(path, stored, photometric="minisblack", planarconfig=planar, **options, **layout)
            check_read(path, image)


def rewrite_strips(path, pixels, *, gap=0, order=1):
    """Write two strips again, with bytes between them that belong to the first, and in the other order of bits."""
    tifffile.imwrite(path, pixels, rowsperstrip=len(pixels) // 2, metadata=None, extratags=[(280, "H", 1, order, True)])
    with tifffile.TiffFile(path) as file:
        tags, halves = file.pages[0].tags, np.split(pixels, 2)
        places = {code: (tags[code].offset, tags[code].valueoffset) for code in (273, 279, 280)}
        kinds = {code: {3: "<u2", 4: "<u4"}[tags[code].dtype] for code in (273, 279)}
    content = bytearray(path.read_bytes())
    parts = [
        np.packbits(np.unpackbits(half.view(np.uint8), bitorder="little" if order == 2 else "big")) for half in halves
    ]
    start, size = len(content), parts[0].size + gap
    content += parts[0].tobytes() + b"\xff" * gap + parts[1].tobytes()
    content[places[280][0] : places[280][0] + 2] = (266).to_bytes(2, "little")  # the order of bits, in place of another
    for code, values in ((273, (start, start + size)), (279, (size, parts[1].size))):
        encoded = np.array(values, kinds[code]).tobytes()
        content[places[code][1] : places[code][1] + len(encoded)] = encoded
    path.write_bytes(content)


@pytest.mark.parametrize("strips", [{}, {"gap": 4}, {"order": 2}, {"gap": 4, "order": 2}])
def test_strips_that_are_no_plain_array_are_read_one_by_one(tmp_path, strips):
    pixels = draw(np.uint8, 8, 6)
    rewrite_strips(tmp_path / "x.tif", pixels, **strips)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "x.tif"), pixels)
    np.testing.assert_array_equal(open_image(tmp_path / "x.tif").pixels[..., 0], pixels)
    np.testing.assert_array_equal(open_image(tmp_path / "x.tif", window=(3, 1, 4, 5)).pixels[..., 0], pixels[3:7, 1:6])


def test_other_types_are_converted_where_nothing_changes(tmp_path):
    whole = np.array([[-(2**24), 2**24, 0], [1, 2, 65537]])
    for dtype in ("int32", "int64", "float64"):
        np.save(tmp_path / "x.npy", whole.astype(dtype))
        tifffile.imwrite(tmp_path / "x.tif", whole.astype(dtype))
        for name in ("x.npy", "x.tif"):
            pixels = open_image(tmp_path / name).pixels
            assert pixels.dtype == np.float32
            assert read_header(tmp_path / name).pixel_dtype == "float32"
            np.testing.assert_array_equal(pixels[..., 0], whole)
    for value in (2**24 + 1, -(2**53) - 1, 2**62):
        np.save(tmp_path / "x.npy", np.array([[0, value]]))
        with pytest.raises(UserError, match=rf"x\.npy.*int64.*{value}.*float32"):
            open_image(tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", np.array([[0.1, np.nan, np.inf]]))
    with pytest.raises(UserError, match=r"float64.*0\.1"):
        open_image(tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", np.array([[0.5, np.nan, np.inf]]))
    np.testing.assert_array_equal(open_image(tmp_path / "x.npy").pixels[0, :, 0], [0.5, np.nan, np.inf])
    tifffile.imwrite(tmp_path / "x.tif", np.array([[-128, 127]], np.int8))
    assert open_image(tmp_path / "x.tif").pixels.ravel().tolist() == [-128, 127]
    np.save(tmp_path / "x.npy", np.array([[True, False]]))
    assert open_image(tmp_path / "x.npy").pixels.ravel().tolist() == [255, 0]
    np.save(tmp_path / "x.npy", np.zeros((2, 2), complex))
    with pytest.raises(UserError, match="complex128"):
        open_image(tmp_path / "x.npy")


def test_png_of_16_bits_keeps_its_low_bytes_and_its_alpha(tmp_path):
    rgba = draw("uint16", 5, 7, 4)
    rgba[0, 0, 3] = 0
    assert cv2.imwrite(str(tmp_path / "rgba.png"), rgba[..., [2, 1, 0, 3]])
    image = open_image(tmp_path / "rgba.png")
    np.testing.assert_array_equal(image.pixels, rgba[..., :3])
    np.testing.assert_array_equal(image.alpha, rgba[..., 3])
    assert image.has_clear_pixels
    rgba[..., 3] = 65535
    assert cv2.imwrite(str(tmp_path / "opaque.png"), rgba[..., [2, 1, 0, 3]])
    assert open_image(tmp_path / "opaque.png").alpha is None

    gray = np.arange(6, dtype=np.uint16).reshape(2, 3) * 1001
    Image.fromarray(gray).save(tmp_path / "key.png", transparency=2002)
    image = open_image(tmp_path / "key.png")
    np.testing.assert_array_equal(image.pixels[..., 0], gray)
    np.testing.assert_array_equal(image.alpha == 0, gray == 2002)


def test_anymaps_of_16_bits_are_as_stored(tmp_path):
    for top in (1023, 65535):
        levels = (np.arange(18).reshape(2, 3, 3) * 101 % (top + 1)).astype(np.uint16)
        (tmp_path / "x.ppm").write_bytes(b"P6 3 2 %d\n" % top + levels.astype(">u2").tobytes())
        (tmp_path / "x.pgm").write_bytes(b"P5 9 2 %d\n" % top + levels.astype(">u2").tobytes())
        image = open_image(tmp_path / "x.ppm")
        np.testing.assert_array_equal(image.pixels, levels)
        assert image.max_level == top
        np.testing.assert_array_equal(open_image(tmp_path / "x.pgm").pixels.ravel(), levels.ravel())


def test_zero_as_white_is_turned_around_in_its_own_range(tmp_path):
    levels = draw("uint16", 4, 5)
    tifffile.imwrite(tmp_path / "x.tif", levels, photometric="miniswhite")
    np.testing.assert_array_equal(open_image(tmp_path / "x.tif").pixels[..., 0], 65535 - levels)


@pytest.mark.parametrize("number", range(1, 9))
def test_a_window_is_one_of_the_upright_image(tmp_path, number):
    image = draw("uint16", 37, 29, 5)
    tags = [(274, "H", 1, number, True)]
    for options in ({}, {"compression": "zlib", "rowsperstrip": 4}):
        tifffile.imwrite(tmp_path / "x.tif", image, photometric="minisblack", planarconfig="contig", extratags=tags,
                         **options)  # fmt: skip
        upright = open_image(tmp_path / "x.tif").pixels
        turned = np.rot90(
            image[:, ::-1] if number in (2, 4, 5, 7) else image, {3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}.get(number, 0)
        )
        np.testing.assert_array_equal(upright, turned)
        part = open_image(tmp_path / "x.tif", window=(3, 2, 21, 25)).pixels
        np.testing.assert_array_equal(part, upright[3:24, 2:27])
    levels = (image[..., :3] >> 8).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = number
    Image.fromarray(levels).save(tmp_path / "x.png", exif=exif)
    part = open_image(tmp_path / "x.png", window=(3, 2, 21, 25)).pixels
    np.testing.assert_array_equal(part, open_image(tmp_path / "x.png").pixels[3:24, 2:27])


@pytest.mark.parametrize("window", [(0, 0, 38, 5), (0, 20, 5, 10), (-1, 0, 5, 5), (0, 0, 0, 5)])
def test_a_window_outside_of_the_image_is_refused(tmp_path, window):
    np.save(tmp_path / "x.npy", draw("int16", 37, 29))
    with pytest.raises(UserError, match=r"x\.npy.*29 x 37"):
        open_image(tmp_path / "x.npy", window=window)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [">u2", "<f4", ">i2"])
def test_arrays_of_any_order(tmp_path, order, dtype):
    image = draw(np.dtype(dtype).newbyteorder("=").name, 37, 29, 3)
    stored = np.asarray(image.astype(dtype), order=order)
    np.save(tmp_path / "x.npy", stored)
    np.savez(tmp_path / "plain.npz", stored)
    np.savez_compressed(tmp_path / "packed.npz", only=stored)
    for name in ("x.npy", "plain.npz", "packed.npz"):
        check_read(tmp_path / name, image)


def save_npy(array, path):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    path.write_bytes(buffer.getvalue())


def write_claim(path, shape):
    """An array of one byte whose header claims more."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    path.write_bytes(buffer.getvalue() + b"\0")


def write_bomb(path):
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "|u1", "fortran_order": False, "shape": (2**14, 2**14)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", content.getvalue() + bytes(2**22))


REFUSED = {
    "objects.npy": (lambda path: save_npy(np.array([[{}]], object), path), "unpickled"),
    "fields.npy": (lambda path: np.save(path, np.zeros((2, 2), [("a", "u1")])), "type"),
    "row.npy": (lambda path: np.save(path, np.zeros(3)), "shape"),
    "first.npy": (lambda path: np.save(path, np.zeros((5, 64, 64), np.float32)), "moveaxis"),
    "empty.npy": (lambda path: np.save(path, np.zeros((0, 4))), "no pixel"),
    "claim.npy": (lambda path: write_claim(path, (2**15, 2**14)), "end early"),
    "huge.npy": (lambda path: write_claim(path, (2**40, 2**40)), "claims"),
    "two.npz": (lambda path: np.savez(path, np.zeros((2, 2)), np.ones((2, 2))), "2 arrays.*arr_1"),
    "bomb.npz": (write_bomb, "damaged"),
    "cut.npy": (lambda path: path.write_bytes(b"\x93NUMPY\1\0v\0{'descr'"), "truncated"),
    "odd.npy": (lambda path: path.write_bytes(b"\x93NUMPY\1\0\4\0{'a}" + bytes(9)), "damaged"),
    "zip.npz": (lambda path: path.write_bytes(b"PK\3\4" + bytes(60)), "damaged"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_arrays_that_are_not_read_are_one_line_in_little_memory(tmp_path, name):
    write, word = REFUSED[name]
    write(tmp_path / name)
    tracemalloc.start()
    with pytest.raises(UserError, match=word) as raised:
        open_image(tmp_path / name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(tmp_path / name) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert peak < 2**22


def test_max_pixels_counts_what_is_read(tmp_path):
    np.save(tmp_path / "x.npy", draw("int16", 37, 29))
    with pytest.raises(UserError, match="max_pixels=100"):
        open_image(tmp_path / "x.npy", max_pixels=100)
    assert open_image(tmp_path / "x.npy", max_pixels=100, window=(0, 0, 10, 10)).pixels.shape == (10, 10, 1)


@pytest.mark.parametrize("name", ["x.npy", "strips.tif", "tiles.tif"])
def test_a_window_needs_little_memory(tmp_path, name):
    image = np.zeros((2048, 2048, 3), np.uint16)
    image[100:108, 200:208] = draw("uint16", 8, 8, 3)
    options = {"photometric": "rgb", **({"tile": (64, 64), "compression": "zlib"} if name == "tiles.tif" else {})}
    np.save(tmp_path / name, image) if name == "x.npy" else tifffile.imwrite(tmp_path / name, image, **options)
    tracemalloc.start()
    part = open_image(tmp_path / name, window=(96, 192, 64, 64)).pixels
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(part, image[96:160, 192:256])
    assert peak < image.nbytes / 20


def test_class_numbers_may_have_any_whole_type(tmp_path):
    numbers = np.array([[0, 3], [18, 255]])
    for dtype in ("int64", "uint16", "int16", "float32"):
        np.save(tmp_path / "x.npy", numbers.astype(dtype))
        np.testing.assert_array_equal(open_image(tmp_path / "x.npy").to_numbers()[..., 0], numbers)
    for wrong in (np.array([[256]]), np.array([[-1]]), np.array([[0.5]], np.float32), np.array([[np.nan]], np.float32)):
        np.save(tmp_path / "x.npy", wrong)
        with pytest.raises(UserError, match="class numbers"):
            open_image(tmp_path / "x.npy").to_numbers()
