"""The meaning of pixels, computed by hand, and the description as plain data."""

import io
import json

import numpy as np
import pytest
import torch

from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.sides import build_side

PALETTE = ((0, 0, 170), (0, 85, 255), (255, 255, 0), (170, 0, 0))


def brute_force_classes(image, palette):
    classes = np.empty(image.shape[:2], int)
    for y, row in enumerate(image.tolist()):
        for x, pixel in enumerate(row):
            distances = [sum((p - c) ** 2 for p, c in zip(pixel, colour, strict=True)) for colour in palette]
            classes[y, x] = distances.index(min(distances))
    return classes


def test_grey_is_an_older_name_of_grayscale():
    assert build_side(kind="grey") == build_side(kind="grayscale")
    old = PairSpec.from_dict({"source": {"kind": "grey"}})
    assert old.to_dict()["source"]["kind"] == "grayscale"


@pytest.mark.parametrize(("kind", "channels"), [("rgb", 3), ("grayscale", 1)])
def test_all_levels_are_encoded_by_the_formula_and_come_back(kind, channels):
    levels = np.stack([np.roll(np.arange(256), 40 * c) for c in range(channels)]).astype(np.uint8)
    batch = torch.from_numpy(levels).reshape(1, channels, 16, 16)
    side = build_side(kind=kind)
    encoded = side.encode(batch)
    assert side.channels == channels
    assert encoded.dtype == torch.float32
    np.testing.assert_allclose(encoded.numpy(), batch.numpy().astype(np.float64) / 127.5 - 1, atol=2e-7)
    decoded = side.decode(encoded)
    assert decoded.dtype == torch.uint8
    np.testing.assert_array_equal(decoded.numpy(), batch.numpy())


def test_a_value_range_becomes_minus_one_to_one():
    side = build_side(kind="grayscale", value_range=(100, 200))
    batch = torch.tensor([100, 150, 175, 200], dtype=torch.uint8).reshape(1, 1, 2, 2)
    encoded = side.encode(batch)
    np.testing.assert_allclose(encoded.flatten().numpy(), [-1, 0, 0.5, 1], atol=1e-6)
    assert side.decode(encoded).flatten().tolist() == [100, 150, 175, 200]


def test_outputs_beyond_the_range_are_clamped_and_rounded():
    output = torch.tensor([-3.0, -1.0, 1.0, 3.0, 0.0, (100.4 / 127.5) - 1, (100.6 / 127.5) - 1])
    decoded = build_side(kind="grayscale").decode(output.reshape(1, 1, 1, 7))
    assert decoded.flatten().tolist() == [0, 0, 255, 255, 128, 100, 101]


def test_floats_are_taken_as_they_are():
    image = torch.linspace(-2, 2, 12, dtype=torch.float64).reshape(1, 3, 2, 2)
    assert torch.equal(build_side().encode(image, torch.float64), image)
    assert build_side().encode(image).dtype == torch.float32


@pytest.mark.parametrize("palette", [PALETTE, None])
def test_classes_become_one_hot_and_come_back(palette):
    side = build_side(kind="label", palette=palette, num_classes=4)
    classes = np.random.default_rng(0).integers(0, 4, (2, 6, 5))
    encoded = side.encode(torch.from_numpy(classes.astype(np.uint8))[:, None])
    expected = np.where(np.arange(4)[None, :, None, None] == classes[:, None], 1.0, -1.0)
    np.testing.assert_array_equal(encoded.numpy(), expected)

    decoded = side.decode(encoded + 0.3 * torch.randn(encoded.shape, generator=torch.Generator().manual_seed(0)).tanh())
    in_file = classes[:, None] if palette is None else np.array(palette)[classes].transpose(0, 3, 1, 2)
    assert decoded.dtype == torch.uint8
    np.testing.assert_array_equal(decoded.numpy(), in_file)


def test_noisy_colours_become_the_nearest_of_the_palette():
    rng = np.random.default_rng(0)
    drawn = np.array(PALETTE)[rng.integers(0, 4, (12, 9))]
    image = (drawn + rng.integers(-60, 61, (12, 9, 1)) * rng.choice([0, 1], (12, 9, 3))).clip(0, 255).astype(np.uint8)
    classes = brute_force_classes(image, PALETTE)
    assert len(set(classes.flatten())) == 4

    labels = build_side(kind="label", palette=PALETTE).prepare(image)
    assert (labels.dtype, labels.shape) == (np.uint8, (12, 9, 1))
    np.testing.assert_array_equal(labels[..., 0], classes)

    colours = build_side(palette=PALETTE, snap_palette=True).prepare(image)
    assert colours.dtype == np.uint8
    np.testing.assert_array_equal(colours, np.array(PALETTE)[classes])


def test_a_large_palette_to_snap_to_does_not_wrap_around():
    palette = tuple((r, g, b) for r in range(0, 256, 40) for g in range(0, 256, 40) for b in range(0, 256, 40))
    assert len(palette) == 343
    image = np.array([palette[0], palette[300], palette[342]], np.uint8)[None]
    np.testing.assert_array_equal(build_side(palette=palette, snap_palette=True).prepare(image), image)


def test_an_rgb_side_is_unchanged_and_a_grayscale_file_gets_three_channels():
    gray = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    np.testing.assert_array_equal(build_side().prepare(gray), np.dstack([gray] * 3))
    colour = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    np.testing.assert_array_equal(build_side().prepare(colour), colour)


def test_grayscale_is_the_luminance_and_exact_for_grayscale_files():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    luminance = image @ np.array([0.299, 0.587, 0.114])
    snapped = build_side(kind="grayscale").prepare(image)
    assert snapped.shape == (8, 8, 1)
    assert np.abs(snapped[..., 0] - luminance).max() <= 0.51
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    np.testing.assert_array_equal(build_side(kind="grayscale").prepare(np.repeat(levels, 3, 2)), levels)


def test_class_numbers_are_read_from_grayscale_files():
    side = build_side(kind="label", num_classes=4)
    numbers = np.array([[0, 1], [2, 3]], np.uint8)[..., None]
    np.testing.assert_array_equal(side.prepare(np.repeat(numbers, 3, 2)), numbers)
    with pytest.raises(ValueError, match="num_classes"):
        side.prepare(numbers + 1)
    with pytest.raises(ValueError, match="palette"):
        side.prepare(np.array([[[1, 2, 1]]], np.uint8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "rbg"}, "kind='rbg'.*rgb, grayscale, label"),
        ({"dtype": "uint16"}, "dtype=uint16"),
        ({"interpolation": "cubic"}, "interpolation='cubic'.*bicubic, bilinear, nearest"),
        ({"kind": "label"}, "palette="),
        ({"snap_palette": True}, "palette="),
        ({"snap_palette": "no", "palette": PALETTE}, "snap_palette=no"),
        ({"kind": "grayscale", "snap_palette": True, "palette": PALETTE}, "snap_palette=true.*'grayscale'"),
        ({"palette": PALETTE}, "palette .* 'rgb': .*kind=label"),
        ({"num_classes": 3}, "num_classes=3 .*'rgb'"),
        ({"kind": "label", "palette": PALETTE, "num_classes": 3}, "num_classes=3 .* 4 colours"),
        ({"kind": "label", "num_classes": 0}, "num_classes=0: .* 1 to 256"),
        ({"kind": "label", "num_classes": 257}, "num_classes=257: .* 1 to 256"),
        ({"kind": "label", "palette": [(i % 256, i // 256, 0) for i in range(257)]}, "palette of 257 .* 1 to 256"),
        ({"kind": "label", "palette": PALETTE, "interpolation": "bicubic"}, "interpolation='bicubic'"),
        ({"kind": "label", "palette": [[1, 2, 256]]}, r"palette colour \[1, 2, 256\]"),
        ({"kind": "label", "palette": [[1, 2]]}, r"palette colour \[1, 2\]"),
        ({"kind": "label", "palette": [0, 0, 0]}, r"palette=\[0, 0, 0\]"),
        ({"kind": "label", "palette": [[1, 2, 3], [1, 2, 3]]}, r"palette colour \[1, 2, 3\]"),
        ({"value_range": (255, 0)}, r"value_range=\[255, 0\]"),
        ({"value_range": (0, 300)}, r"value_range=\[0, 300\]"),
        ({"value_range": (0, 1e-200)}, r"value_range=\[0, 1e-200\]"),
        ({"alpha": "drop"}, "alpha='drop'.*composite, error"),
        ({"background": [0, 0, 256]}, r"background=\[0, 0, 256\]"),
        ({"background": "white"}, "background=white"),
        ({"kind": "label", "num_classes": 3, "alpha": "composite"}, "alpha='composite'.*class numbers"),
    ],
)
def test_contradictions_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build_side(**options)


def test_the_default_interpolation_depends_on_the_side():
    assert build_side().interpolation == "bicubic"
    assert build_side(kind="grayscale").interpolation == "bicubic"
    assert build_side(kind="label", num_classes=2).interpolation == "nearest"
    assert build_side(palette=PALETTE, snap_palette=True).interpolation == "nearest"
    assert build_side(palette=PALETTE, snap_palette=True, interpolation="bicubic").interpolation == "bicubic"


@pytest.mark.parametrize("num_classes", ["abc", 1.5, True])
def test_the_number_of_classes_is_an_integer(num_classes):
    with pytest.raises(ValueError, match=f"num_classes={num_classes}"):
        build_side(kind="label", num_classes=num_classes)


@pytest.mark.parametrize(
    ("side", "values", "expected"),
    [
        (build_side(kind="label", num_classes=3), [[[0, 1], [2, 0]]], [[[0], [127]], [[254], [0]]]),
        (build_side(kind="label", num_classes=256), [[[0, 1], [2, 255]]], [[[0], [1]], [[2], [255]]]),
        (build_side(kind="label", num_classes=1), [[[0, 0]]], [[[0], [0]]]),
        (build_side(kind="grayscale"), [[[0, 1], [2, 255]]], [[[0], [1]], [[2], [255]]]),
        (build_side(), [[[0, 1]], [[2, 3]], [[4, 255]]], [[[0, 2, 4], [1, 3, 255]]]),
        (build_side(kind="label", palette=PALETTE), [[[0, 1]], [[2, 3]], [[4, 255]]], [[[0, 2, 4], [1, 3, 255]]]),
    ],
)
def test_a_picture_is_the_file_with_class_numbers_spread_over_the_levels(side, values, expected):
    picture = side.preview(torch.tensor(values, dtype=torch.uint8))
    assert picture.dtype == np.uint8
    assert picture.tolist() == expected


SPEC = PairSpec(
    source=build_side(kind="label", palette=PALETTE),
    target=build_side(kind="grayscale", interpolation="bilinear", value_range=(10, 200)),
    size=64,
    load_size=72,
    direction="b_to_a",
)


def test_the_description_is_plain_data_and_comes_back():
    buffer = io.BytesIO()
    torch.save(SPEC.to_dict(), buffer)
    buffer.seek(0)
    for data in (
        SPEC.to_dict(),
        json.loads(json.dumps(SPEC.to_dict())),
        torch.load(buffer, weights_only=True),
    ):
        assert data == SPEC.to_dict()
        assert PairSpec.from_dict(data) == SPEC
    assert SPEC.to_dict()["source"]["palette"] == [list(colour) for colour in PALETTE]
    assert (SPEC.to_dict()["size"], SPEC.to_dict()["direction"]) == (64, "b_to_a")


def test_transparent_pixels_have_a_default_of_each_kind():
    source = PairSpec.from_dict({"source": {"kind": "rgb", "alpha": None, "background": None}}).source
    assert source == build_side(alpha="composite", background=[255, 255, 255])
    assert build_side(kind="label", palette=PALETTE).alpha == "error"
    side = PairSpec.from_dict({"target": {"kind": "label", "palette": PALETTE, "alpha": "composite"}}).target
    assert (side.alpha, side.background) == ("composite", (255, 255, 255))


def test_sizes_of_numpy_become_plain_data():
    spec = PairSpec(size=np.int64(64), load_size=np.int64(72))
    assert [type(value) for value in (spec.size, spec.load_size)] == [int, int]
    assert spec == PairSpec(size=64, load_size=72)
    assert PairSpec(size=512).load_size == PairSpec.from_dict({"size": 512}).load_size == 512  # no jitter
    assert PairSpec.from_dict({"size": 512, "load_size": 256}).load_size == 256  # of older checkpoints


def test_unknown_keys_and_directions_are_named():
    with pytest.raises(ValueError, match=r"'sise'.*PairSpec.*size"):
        PairSpec.from_dict({"sise": 64})
    with pytest.raises(ValueError, match=r"'knd'.*side.*kind"):
        PairSpec.from_dict({"source": {"knd": "rgb"}})
    with pytest.raises(ValueError, match=r"direction='a_to_c'.*a_to_b, b_to_a"):
        PairSpec(direction="a_to_c")


def test_each_side_is_converted_by_its_own_description():
    classes = torch.tensor([[0, 3], [1, 2]], dtype=torch.uint8)[None, None]
    assert SPEC.encode(classes, "source").shape == (1, 4, 2, 2)
    levels = torch.tensor([[10, 105], [200, 10]], dtype=torch.uint8)[None, None]
    seen = SPEC.encode(levels, "target", torch.float64)
    assert seen.dtype == torch.float64
    np.testing.assert_allclose(seen[0, 0].numpy(), [[-1, 0], [1, -1]], atol=1e-12)
    assert SPEC.decode(seen, SPEC.encode(classes, "source")).tolist() == levels.tolist()
