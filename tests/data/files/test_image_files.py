"""Image files against what Pillow wrote and reads."""

import io

import numpy as np
import pytest
from PIL import Image

from pix2pix_lightning.data.files.image_files import read_image, write_image
from pix2pix_lightning.data.files.listing import list_images_below
from pix2pix_lightning.utils.errors import UserError


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def encoded(array, kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "PNG"])
def test_lossless_files_are_read_in_rgb_order(tmp_path, suffix):
    image = noise(20, 31, 3)
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(image).save(path)
    read = read_image(path)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, image)


def test_jpeg_is_read_as_pillow_does(tmp_path):
    path = tmp_path / "image.jpg"
    smooth = np.linspace(0, 255, 32 * 32 * 3).reshape(32, 32, 3).astype(np.uint8)
    Image.fromarray(smooth).save(path, quality=95)
    difference = read_image(path).astype(int) - np.asarray(Image.open(path))
    assert np.abs(difference).max() <= 3


def test_grayscale_files_become_rgb(tmp_path):
    gray = noise(9, 7)
    Image.fromarray(gray).save(tmp_path / "gray.png")
    np.testing.assert_array_equal(read_image(tmp_path / "gray.png"), np.stack([gray] * 3, -1))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM"])
@pytest.mark.parametrize("fraction", [0.02, 0.3, 0.95])
def test_a_truncated_file_is_one_line(tmp_path, capfd, kind, fraction):
    data = encoded(noise(24, 24, 3), kind)
    path = tmp_path / f"cut.{kind.lower()}"
    path.write_bytes(data[: int(len(data) * fraction)])
    with pytest.raises(ValueError, match=r"cut\.\w+ ") as raised:
        read_image(path)
    assert "\n" not in str(raised.value)
    assert "WARN" not in capfd.readouterr().err


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"comment": b"\xff\xd9"}])
def test_a_jpeg_without_its_end_is_refused_whatever_its_headers_hold(tmp_path, options):
    data = encoded(np.full((16, 16, 3), 90, np.uint8), "JPEG", **options)
    path = tmp_path / "image.jpg"
    path.write_bytes(data[:-2])
    with pytest.raises(ValueError, match="truncated JPEG"):
        read_image(path)
    path.write_bytes(data)
    assert np.abs(read_image(path).astype(int) - 90).max() <= 2


def test_an_end_marker_within_a_header_does_not_count(tmp_path):
    data = encoded(np.full((16, 16, 3), 90, np.uint8), "JPEG", comment=b"thumbnail\xff\xd9and more")
    path = tmp_path / "image.jpg"
    path.write_bytes(data[: data.index(b"\xff\xd9") + 2])
    with pytest.raises(ValueError, match="truncated"):
        read_image(path)


@pytest.mark.parametrize("trailer", [b"\0" * 5000, b"\xff\xda" * 1000])
def test_a_complete_jpeg_may_have_trailing_data_and_padding_before_its_markers(tmp_path, trailer):
    data = encoded(np.full((16, 16, 3), 90, np.uint8), "JPEG")
    path = tmp_path / "phone.jpg"
    path.write_bytes(data[:2] + b"\xff\xff" + data[2:] + trailer)
    assert np.abs(read_image(path).astype(int) - 90).max() <= 2


@pytest.mark.parametrize("data", [b"", b"no image\n", b"\xff\xd8", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_file_that_is_no_image_is_one_line(tmp_path, data, suffix):
    path = tmp_path / f"text.{suffix}"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"text\.") as raised:
        read_image(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("shape", [(12, 17, 3), (12, 17, 1), (12, 17)])
def test_written_files_hold_the_image(tmp_path, shape):
    image = noise(*shape)
    write_image(tmp_path / "out.png", image)
    with Image.open(tmp_path / "out.png") as file:
        assert file.mode == ("RGB" if shape[-1] == 3 else "L")
        np.testing.assert_array_equal(np.asarray(file), image.squeeze())


@pytest.mark.parametrize("shape", [(6, 4, 1), (6, 4)])
def test_gray_levels_go_into_a_format_of_colours_alone(tmp_path, shape):
    image = noise(*shape)
    write_image(tmp_path / "out.ppm", image)
    np.testing.assert_array_equal(read_image(tmp_path / "out.ppm"), np.repeat(image.reshape(6, 4, 1), 3, 2))


def test_a_file_is_overwritten_only_with_overwrite(tmp_path):
    path = tmp_path / "out.png"
    write_image(path, np.zeros((4, 4, 3), np.uint8))
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"out\.png"):
        write_image(path, np.ones((4, 4, 3), np.uint8))
    assert path.read_bytes() == before
    write_image(path, np.ones((4, 4, 3), np.uint8), overwrite=True)
    assert np.asarray(Image.open(path)).max() == 1


def test_an_unknown_suffix_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"out\.xyz .*\.png"):
        write_image(tmp_path / "out.xyz", np.zeros((4, 4, 3), np.uint8))


@pytest.mark.parametrize(("name", "side"), [("x.JPG", 65501), ("x.webp", 16384)])
def test_an_image_that_is_too_large_for_a_format_is_named(tmp_path, name, side):
    with pytest.raises(UserError, match=rf"{name}: .*{side} x 1 .*{side - 1} a side.*\.png"):
        write_image(tmp_path / name, np.zeros((1, side, 1), np.uint8))
    write_image(tmp_path / name, np.zeros((1, side - 1, 1), np.uint8))
    write_image(tmp_path / "x.png", np.zeros((1, side, 1), np.uint8))


def test_names_beyond_ascii(tmp_path):
    path = tmp_path / "façade 图像 ü.png"
    image = noise(6, 5, 3)
    write_image(path, image)
    assert list_images_below(tmp_path).files == [path.name]
    np.testing.assert_array_equal(read_image(path), image)


def test_list_images_below_passes_over_what_is_none(tmp_path):
    for name in ("b.PNG", "a.jpg", "._a.jpg", "notes.txt", "c.tiff"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert list_images_below(tmp_path).files == ["a.jpg", "b.PNG", "c.tiff"]
