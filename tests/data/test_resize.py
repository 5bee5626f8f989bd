"""Resizing against Pillow, which junyanz's code resizes with."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from pix2pix_lightning.data.resize import resize

PILLOW = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
NOISE = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)


def pillow_resized(image, height, width, filter_):
    """Rows before columns: what older versions of Pillow do by themselves, and what 13 does for some shapes only."""
    rows = Image.fromarray(image.squeeze()).resize((width, image.shape[0]), filter_)
    return np.asarray(rows.resize((width, height), filter_)).reshape(height, width, image.shape[2])


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("height", "width"), [(60, 60), (42, 59), (5, 7), (37, 20), (20, 90)])
@pytest.mark.parametrize("channels", [3, 1])
def test_smooth_resizing_is_pillows_to_two_levels(interpolation, height, width, channels):
    image = NOISE[..., :channels]
    resized = resize(image, height, width, interpolation)
    reference = pillow_resized(image, height, width, PILLOW[interpolation]).astype(int)
    assert resized.shape == (height, width, channels)
    assert resized.dtype == np.uint8
    assert np.abs(resized - reference).max() <= 2


@pytest.mark.parametrize(("height", "width"), [(60, 60), (16, 16), (20, 90), (74, 106), (1, 1)])
@pytest.mark.parametrize("channels", [3, 1])
def test_nearest_picks_the_pixel_under_the_centre(height, width, channels):
    image = NOISE[..., :channels]
    rows = [int((y + 0.5) * 37 / height) for y in range(height)]
    columns = [int((x + 0.5) * 53 / width) for x in range(width)]
    resized = resize(image, height, width, "nearest")
    np.testing.assert_array_equal(resized, image[rows][:, columns])
    reference = Image.fromarray(image.squeeze()).resize((width, height), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(resized, np.asarray(reference).reshape(resized.shape))


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "nearest"])
def test_an_image_of_that_size_and_the_input_are_unchanged(interpolation):
    before = NOISE.copy()
    np.testing.assert_array_equal(resize(NOISE, 37, 53, interpolation), before)
    resize(NOISE, 20, 20, interpolation)
    np.testing.assert_array_equal(NOISE, before)


@pytest.mark.parametrize("interpolation", ["bicubic", "nearest"])
def test_a_view_of_a_strip_is_resized_as_its_copy(interpolation):
    half = NOISE[:, 26:]
    np.testing.assert_array_equal(resize(half, 32, 32, interpolation), resize(half.copy(), 32, 32, interpolation))


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("height", "width"), [(42, 59), (16, 16)])
@pytest.mark.parametrize("channels", [3, 1])
def test_the_layout_that_torch_is_fast_in_changes_no_value(interpolation, height, width, channels):
    planes = torch.from_numpy(NOISE[..., :channels].transpose(2, 0, 1).copy())[None]
    plain = F.interpolate(planes, (height, width), mode=interpolation, antialias=True)[0].permute(1, 2, 0)
    np.testing.assert_array_equal(resize(NOISE[..., :channels], height, width, interpolation), plain.numpy())


@pytest.mark.parametrize(("length", "resized"), [(600, 286), (256, 286), (286, 256), (2, 1024), (1023, 7)])
def test_nearest_is_torchs_nearest_exact(length, resized):
    line = torch.arange(length, dtype=torch.float64)
    plain = F.interpolate(line[None, None], (resized,), mode="nearest-exact")[0, 0].numpy().astype(int)
    image = np.stack([line // 256, line % 256], -1)[None].astype(np.uint8)
    picked = resize(image, 1, resized, "nearest")[0].astype(int)
    np.testing.assert_array_equal(picked @ [256, 1], plain)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float16", "float32"])
@pytest.mark.parametrize("size", [(20, 26), (7, 5)])
def test_other_types_are_resized_like_bytes(dtype, size):
    image = np.random.default_rng(0).integers(60, 200, (13, 11, 5)).astype(np.uint8)
    expected = resize(image, *size, "bicubic").astype(int)
    resized = resize(image.astype(dtype), *size, "bicubic")
    assert resized.dtype == dtype
    assert np.abs(resized.astype(np.float64) - expected).max() <= (1 if dtype.endswith("int16") else 1.01)
    extreme = np.tile(np.array([[0, 65535]], np.uint16).repeat(4, 1), (8, 1))[..., None]
    assert resize(extreme, 16, 16, "bicubic")[:, 0].max() < 2000  # no value wraps around


@pytest.mark.parametrize(("dtype", "nodata"), [("int16", -9999), ("float32", None)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "nearest"])
def test_pixels_without_a_value_are_not_mixed_with_others(dtype, nodata, interpolation):
    image = np.full((12, 12, 2), 500, dtype)
    none = np.nan if nodata is None else nodata
    image[3:6, 4:9] = image[9, 0, 1] = none
    for size in ((24, 30), (7, 6)):
        resized = resize(image, *size, interpolation, nodata=nodata)
        picked = resize(image, *size, "nearest")
        is_none = np.isnan(picked) if nodata is None else picked == none
        assert 0 < is_none.sum() < is_none.size
        np.testing.assert_array_equal(np.isnan(resized) if nodata is None else resized == none, is_none)
        np.testing.assert_allclose(resized[~is_none], 500, rtol=1e-5)
