"""Class numbers: which are accepted, what is advised for others, and pixels without a class."""

import numpy as np
import pytest
import torch

from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.sides import build_side


def levels(*values):
    return np.array(values, np.uint8)[None, :, None]


@pytest.mark.parametrize(
    ("num_classes", "ignore_index", "values", "advice"),
    [
        (2, None, (0, 255), "palette=[[0,0,0],[255,255,255]]"),
        (2, None, (255, 255), "palette=[[0,0,0],[255,255,255]]"),
        (2, None, (0, 1, 3, 249, 255), "palette=[[0,0,0],[255,255,255]]"),
        (2, None, (0, 1, 2, 3), "raise num_classes"),
        (3, None, (0, 128, 255), "palette=[[0,0,0],[128,128,128],[255,255,255]]"),
        (19, None, (0, 3, 18, 255), "ignore_index=255"),
        (19, None, (0, 255), "ignore_index=255"),
        (3, None, (0, 1, 2, 7), "raise num_classes"),
        (3, 255, (0, 1, 7, 255), "raise num_classes"),
    ],
)
def test_the_advice_fits_the_numbers(num_classes, ignore_index, values, advice):
    side = build_side(kind="label", num_classes=num_classes, ignore_index=ignore_index)
    with pytest.raises(ValueError, match=r"classes|palette") as raised:
        side.prepare(levels(*values))
    assert advice in str(raised.value)
    assert ("raise num_classes" in str(raised.value)) == (advice == "raise num_classes")


def test_the_palette_that_is_advised_for_a_mask_works():
    side = build_side(kind="label", palette=((0, 0, 0), (255, 255, 255)))
    assert side.prepare(levels(0, 255, 255))[0, :, 0].tolist() == [0, 1, 1]


@pytest.mark.parametrize("ignore_index", [255, 3, 1])
def test_pixels_without_a_class_have_no_channel_and_come_back(ignore_index):
    side = build_side(kind="label", num_classes=3, ignore_index=ignore_index)
    prepared = side.prepare(levels(0, 1, 2, ignore_index))
    np.testing.assert_array_equal(prepared[0, :, 0], [0, 1, 2, ignore_index])
    numbers = torch.from_numpy(prepared).movedim(-1, 0)[None]
    encoded = side.encode(numbers)
    expected = torch.full((1, 3, 1, 4), -1.0)
    for pixel, number in enumerate((0, 1, 2, ignore_index)):
        if number != ignore_index:
            expected[0, number, 0, pixel] = 1
    assert torch.equal(encoded, expected)
    assert torch.equal(side.decode(encoded), numbers)
    assert torch.equal(PairSpec(target=side).decode(encoded, is_output=False), numbers)
    assert side.preview(side.decode(encoded)[0])[0, -1, 0] == min(255, 127 * ignore_index)


def test_a_colour_of_the_palette_may_stand_for_no_class():
    side = build_side(kind="label", palette=((0, 0, 0), (9, 9, 9), (200, 0, 0)), ignore_index=0)
    prepared = side.prepare(np.array([[[0, 0, 0], [9, 9, 9], [200, 0, 0]]], np.uint8))
    encoded = side.encode(torch.from_numpy(prepared).movedim(-1, 0)[None])
    assert encoded[0, :, 0].T.tolist() == [[-1, -1, -1], [-1, 1, -1], [-1, -1, 1]]
    assert side.decode(encoded)[0, 0, 0].tolist() == [0, 9, 200]


@pytest.mark.parametrize(
    ("ignore_index", "palette"), [(255, None), (1, None), (0, None), (2, ((9, 9, 9), (0, 0, 0), (7, 7, 7)))]
)
def test_an_output_has_a_class_everywhere(ignore_index, palette):
    spec = PairSpec(target=build_side(kind="label", num_classes=3, palette=palette, ignore_index=ignore_index))
    output = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    output[0, :, :4] = -1.0  # what a saturated network returns is what targets without a class are encoded as
    allowed = [number for number in range(3) if number != ignore_index]
    expected = np.array(allowed)[output[:, allowed].numpy().argmax(1)]
    shown = expected[:, None] if palette is None else np.array(palette)[expected].transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(spec.decode(output).numpy(), shown)


@pytest.mark.parametrize(
    ("num_classes", "levels_shown"), [(1, [0, 255]), (2, [0, 127, 254]), (4, [0, 63, 126, 189, 252])]
)
def test_pixels_without_a_class_are_shown_apart_from_all_classes(num_classes, levels_shown):
    side = build_side(kind="label", num_classes=num_classes, ignore_index=num_classes)
    numbers = torch.arange(num_classes + 1, dtype=torch.uint8)[None, None]
    assert side.preview(numbers)[0, :, 0].tolist() == levels_shown
    cityscapes = build_side(kind="label", num_classes=num_classes, ignore_index=255)
    assert cityscapes.preview(torch.full((1, 1, 1), 255, dtype=torch.uint8)).tolist() == [[[255]]]


def test_resizing_keeps_pixels_without_a_class():
    side = build_side(kind="label", num_classes=3, ignore_index=255)
    image = np.where(np.arange(64).reshape(8, 8, 1) % 3 == 0, 255, 2).astype(np.uint8)
    resized = side.prepare_and_resize(image, 13, 5)
    assert set(np.unique(resized)) == {2, 255}


@pytest.mark.parametrize(
    "arguments",
    [
        {"kind": "rgb", "ignore_index": 255},
        {"kind": "label", "num_classes": 3, "ignore_index": 256},
        {"kind": "label", "num_classes": 3, "ignore_index": -1},
        {"kind": "label", "num_classes": 3, "ignore_index": True},
        {"kind": "label", "palette": ((0, 0, 0), (1, 1, 1)), "ignore_index": 255},
        {"kind": "label", "num_classes": 1, "ignore_index": 0},
        {"kind": "label", "palette": ((0, 0, 0),), "ignore_index": 0},
    ],
)
def test_an_ignore_index_without_an_effect_is_refused(arguments):
    with pytest.raises(ValueError, match=f"ignore_index={arguments['ignore_index']}"):
        build_side(**arguments)


@pytest.mark.parametrize("side", ["source", "target"])
def test_it_is_a_part_of_the_plain_description(side):
    spec = PairSpec(**{side: build_side(kind="label", num_classes=3, ignore_index=255)})
    plain = spec.to_dict()
    assert PairSpec.from_dict(plain) == spec
    del plain[side]["ignore_index"]  # a file of an earlier version
    assert getattr(PairSpec.from_dict(plain), side).ignore_index is None
