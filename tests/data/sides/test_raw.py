"""Sides of any type and any number of channels: ranges, exactness, and pixels without a value."""

import numpy as np
import pytest
import torch

from pix2pix_lightning.data.files.file_image import FileImage
from pix2pix_lightning.data.sides import RawSide, build_side

INTEGERS = ("uint8", "uint16", "int16")


def as_batch(values, channels=1):
    return torch.from_numpy(np.asarray(values)).reshape(1, channels, 1, -1)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_every_integer_of_a_type_is_encoded_by_the_formula_and_comes_back(dtype):
    info = np.iinfo(dtype)
    numbers = np.arange(info.min, info.max + 1, dtype=dtype)
    side = build_side("raw", dtype=dtype)
    encoded = side.encode(as_batch(numbers))
    expected = (numbers.astype(np.float64) - info.min) / (int(info.max) - int(info.min)) * 2 - 1
    assert encoded.dtype == torch.float32
    np.testing.assert_allclose(encoded.flatten().numpy(), expected, atol=1e-7)
    decoded = side.decode(encoded)
    assert decoded.dtype == getattr(torch, dtype)
    np.testing.assert_array_equal(decoded.flatten().numpy(), numbers)


@pytest.mark.parametrize(("dtype", "value_range"), [("float16", (0.0, 1.0)), ("float32", (-4.0, 4.0))])
def test_floats_come_back_bit_by_bit(dtype, value_range):
    numbers = np.random.default_rng(0).uniform(*value_range, 4096).astype(dtype)
    numbers[:4] = np.array([np.nan, *value_range, 3e-5], dtype)
    side = build_side("raw", dtype=dtype, value_range=value_range)
    decoded = side.decode(side.encode(as_batch(numbers)))
    assert decoded.dtype == getattr(torch, dtype)
    np.testing.assert_array_equal(decoded.flatten().numpy(), numbers)


def test_values_beyond_the_range_become_its_bounds():
    side = build_side("raw", dtype="int16", value_range=[-1000, 3000])
    encoded = side.encode(as_batch(np.array([-1024, -1000, 1000, 3000, 32767], np.int16)))
    assert encoded.flatten().tolist() == [-1, -1, 0, 1, 1]
    assert side.decode(torch.tensor([-2.0, 0.0, 2.0]).reshape(1, 1, 1, 3)).flatten().tolist() == [-1000, 1000, 3000]


def test_each_channel_has_its_own_range():
    ranges = np.array([[-25.5, 3.25], [0, 1], [1000, 9000], [-7, -6]])
    generator = np.random.default_rng(0)
    values = generator.uniform(ranges[:, 0] - 1, ranges[:, 1] + 1, (2, 5, 6, 4)).astype(np.float32)
    side = build_side("raw", num_channels=4, dtype="float32", value_range=ranges.tolist())
    encoded = side.encode(torch.from_numpy(values).permute(0, 3, 1, 2))
    fractions = ((values.astype(np.float64) - ranges[:, 0]) / (ranges[:, 1] - ranges[:, 0])).clip(0, 1)
    np.testing.assert_allclose(encoded.permute(0, 2, 3, 1).numpy(), fractions * 2 - 1, atol=1e-5)
    wanted = ranges[:, 0] + fractions * (ranges[:, 1] - ranges[:, 0])
    np.testing.assert_allclose(side.decode(encoded).permute(0, 2, 3, 1).numpy(), wanted, atol=1e-3)
    for number, value_range in enumerate(ranges.tolist()):  # as if it were a file of its own
        alone = build_side("raw", dtype="float32", value_range=value_range)
        part = encoded[:, number : number + 1]
        assert torch.equal(alone.encode(torch.from_numpy(values[..., number])[:, None]), part)
        assert torch.equal(alone.decode(part * 2), side.decode(encoded * 2)[:, number : number + 1])


def test_one_range_for_each_channel_is_that_of_all():
    side = build_side("raw", num_channels=3, value_range=[[0, 10]])
    assert side == build_side("raw", num_channels=3, value_range=[[0, 10], [0.0, 10.0], (0, 10)])
    assert side.to_dict()["value_range"] == [0, 10]
    levels = build_side("raw", num_channels=2, value_range=[[5, 9], [0, 5]], nodata=5)
    ends = torch.tensor([-1.0, 1.0]).reshape(1, 1, 1, 2)
    assert levels.decode(ends.expand(1, 2, 1, 2))[0, :, 0].tolist() == [[6, 9], [0, 4]]  # not read as none
    lost = torch.full((1, 2, 1, 1), torch.nan)
    assert build_side("raw", num_channels=2, value_range=[[5, 9], [2, 4]]).decode(lost).flatten().tolist() == [5, 2]


def test_outputs_are_rounded_within_half_a_step():
    side = build_side("raw", dtype="uint16", value_range=(0, 1000))
    output = torch.linspace(-1, 1, 9973).reshape(1, 1, 1, -1)
    wanted = (output.double() + 1) * 500
    assert (side.decode(output).double() - wanted).abs().max() <= 0.5 + 1e-3
    assert (side.decode(output, rounding="floor").double() <= wanted + 1e-3).all()


def test_pixels_without_a_value_are_kept():
    side = build_side("raw", num_channels=2, dtype="int16", value_range=(-100, 100), nodata=-999, fill=0.25)
    values = as_batch(np.array([[-999, -100, -999], [-999, 50, 100]], np.int16), 2)
    encoded = side.encode(values)
    assert torch.isnan(encoded)[0, :, 0].tolist() == [[True, False, True], [True, False, False]]
    assert side.find_missing(encoded).flatten().tolist() == [True, False, False]
    assert side.find_ignored(encoded).flatten().tolist() == [True, False, True]
    assert side.fill_missing(encoded)[0, :, 0].tolist() == [[0.25, -1, 0.25], [0.25, 0.5, 1]]
    assert side.decode(encoded)[0, :, 0].tolist() == values[0, :, 0].tolist()
    output = side.decode(torch.zeros(1, 2, 1, 3), encoded)
    assert output[0, :, 0].tolist() == [[-999, 0, 0], [-999, 0, 0]]


def test_a_side_of_floats_marks_what_its_source_lacks_and_one_of_integers_cannot():
    source = torch.tensor([torch.nan, 0.5]).reshape(1, 1, 1, 2)
    output = torch.ones(1, 1, 1, 2)
    floats = build_side("raw", dtype="float32", value_range=(0, 2))
    np.testing.assert_array_equal(floats.decode(output, source).flatten().numpy(), [np.nan, 2])
    numbered = build_side("raw", dtype="float32", value_range=(0, 2), nodata=-3.4028234663852886e38)
    assert numbered.decode(output, source).flatten().tolist() == [-3.4028234663852886e38, 2]
    assert torch.isnan(numbered.encode(numbered.decode(output, source))).flatten().tolist() == [True, False]
    assert build_side("raw").decode(output, source).flatten().tolist() == [65535, 65535]


@pytest.mark.parametrize(("nodata", "output", "expected"), [(0, -1.0, 1), (65535, 1.0, 65534)])
def test_a_prediction_is_never_read_as_none(nodata, output, expected):
    side = build_side("raw", nodata=nodata)
    assert side.decode(torch.full((1, 1, 1, 1), output)).item() == expected


def test_a_file_of_another_type_or_number_of_channels_is_refused():
    side = build_side("raw", num_channels=2, dtype="uint16")
    pixels = np.arange(12, dtype=np.uint16).reshape(2, 3, 2)
    np.testing.assert_array_equal(side.read(FileImage(pixels=pixels)), pixels)
    with pytest.raises(ValueError, match=r"1 channel of uint16.*num_channels=1"):
        side.read(FileImage(pixels=pixels[..., :1]))
    with pytest.raises(ValueError, match=r"2 channels of int16.*dtype=int16"):
        side.prepare(pixels.astype(np.int16))
    with pytest.raises(ValueError, match="alpha"):
        side.read(FileImage(pixels=pixels, alpha=np.zeros((2, 3), np.uint8)))
    halves = np.ones((1, 1, 1), np.float16)
    assert build_side("raw", dtype="float32", value_range=(0, 1)).prepare(halves).dtype == np.float32


def test_a_picture_shows_the_range_from_black_to_white():
    values = torch.tensor([[[0, 500]], [[1000, 1000]], [[0, 1000]], [[7, 7]]], dtype=torch.int16)
    colours = build_side("raw", num_channels=4, dtype="int16", value_range=(0, 1000), nodata=500).preview(values)
    assert colours.dtype == np.uint8
    assert colours.tolist() == [[[0, 255, 0], [128, 255, 255]]]
    gray = build_side("raw", num_channels=2, dtype="int16", value_range=(0, 1000)).preview(values[:2])
    assert gray.tolist() == [[[128], [191]]]
    gray = build_side("raw", num_channels=2, dtype="int16", value_range=[(0, 1000), (900, 1100)]).preview(values[:2])
    assert gray.tolist() == [[[64], [128]]]  # the means of 0 and half, and of half and half


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float64"}, "dtype='float64'.*uint8, uint16, int16, float16, float32"),
        ({"num_channels": 0}, "num_channels=0"),
        ({"dtype": "float32"}, "value_range=auto of float32"),
        ({"value_range": (5, 5)}, r"value_range=\[5, 5\]"),
        ({"value_range": (0, 65536)}, r"value_range=\[0, 65536\]"),
        ({"value_range": "0..1"}, r"value_range=0\.\.1"),
        ({"num_channels": 3, "value_range": [[0, 1], [2, 3]]}, "value_range has 2 ranges for 3 channels"),
        ({"num_channels": 2, "value_range": [[0, 1], [5, 5]]}, r"value_range=\[5, 5\]"),
        ({"num_channels": 2, "value_range": [[0, 1], 5]}, "value_range=5"),
        ({"kind": "rgb", "value_range": [[0, 1], [0, 2]]}, "value_range="),
        ({"dtype": "float32", "value_range": (1e6, 1e6 + 1)}, "value_range="),
        ({"dtype": "float32", "value_range": (0, float("nan"))}, "value_range="),
        ({"nodata": -1}, "nodata=-1"),
        ({"nodata": 0.5}, r"nodata=0\.5"),
        ({"nodata": float("nan")}, "nodata=nan"),
        ({"fill": 2}, "fill=2"),
        ({"palette": [[0, 0, 0]]}, "palette=.*kind=rgb or label"),
    ],
)
def test_contradictions_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build_side(**{"kind": "raw", **options})


def test_a_number_is_that_of_the_type():
    side = RawSide(dtype="float16", value_range=(0, 1), nodata=-9999)
    assert side.nodata == -10000  # as a file of float16 holds it
    assert RawSide(dtype="float32", value_range=(0, 1), nodata=float("nan")).nodata is None
