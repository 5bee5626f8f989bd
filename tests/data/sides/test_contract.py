"""What every kind of side has to do. A new kind is a row of `ROWS`."""

import json

import numpy as np
import pytest
import torch

from pix2pix_lightning.data.files.file_image import FileImage
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.sides import KINDS, build_side

PALETTE = [[0, 0, 170], [0, 85, 255], [255, 255, 0], [170, 0, 0]]
SHAPE = (9, 7)


def draw(dtype, channels=1, low=None, high=None, missing=None):
    """Values over the range of a type, or of each channel, with the bounds among them, and pixels without a value."""
    generator = np.random.default_rng(0)
    limits = np.iinfo(dtype) if np.dtype(dtype).kind != "f" else None
    low = limits.min if low is None else low
    high = limits.max if high is None else high
    values = generator.uniform(low, high, (*SHAPE, channels)).round(0 if limits else 9).astype(dtype)
    values[0, 0], values[0, 1] = low, high
    if missing is not None:
        values[1, :3] = missing
        values[2, 0, -1] = missing
    return values


def raw(dtype, channels=1, **options):
    return {"kind": "raw", "dtype": dtype, "num_channels": channels, **options}


ROWS = {
    "rgb": ({"kind": "rgb"}, draw("uint8", 3)),
    "rgb by palette": (
        {"kind": "rgb", "palette": PALETTE, "snap_palette": True},
        np.array(PALETTE, np.uint8)[draw("uint8", high=3)[..., 0]],
    ),
    "grayscale": ({"kind": "grayscale"}, draw("uint8")),
    "grayscale in a range": ({"kind": "grayscale", "value_range": [20, 200]}, draw("uint8", low=20, high=200)),
    "lab": ({"kind": "lab"}, draw("uint8", 3)),
    "class numbers": ({"kind": "label", "num_classes": 12}, draw("uint8", high=11)),
    "class numbers and none": (
        {"kind": "label", "num_classes": 12, "ignore_index": 255},
        draw("uint8", high=11, missing=255),
    ),
    "classes in colours": (
        {"kind": "label", "palette": PALETTE},
        np.array(PALETTE, np.uint8)[draw("uint8", high=3)[..., 0]],
    ),
    "raw uint8": (raw("uint8", 2), draw("uint8", 2)),
    "raw uint16": (raw("uint16", 5), draw("uint16", 5)),
    "raw uint16, 12 bits": (raw("uint16", value_range=[0, 4095]), draw("uint16", high=4095)),
    "raw int16": (raw("int16"), draw("int16")),
    "raw int16 and none": (
        raw("int16", 3, value_range=[-1024, 3071], nodata=-32768),
        draw("int16", 3, -1024, 3071, -32768),
    ),
    "raw float16": (raw("float16", value_range=[0, 1]), draw("float16", 1, 0, 1, np.nan)),
    "raw float32": (raw("float32", 4, value_range=[-2, 2]), draw("float32", 4, -2, 2, np.nan)),
    "raw float32 and none": (raw("float32", 2, value_range=[-8, 8], nodata=-9999), draw("float32", 2, -8, 8, -9999)),
    "raw uint16, ranges of channels": (
        raw("uint16", 3, value_range=[[0, 100], [1000, 60000], [20, 24]], nodata=5000),
        draw("uint16", 3, [0, 1000, 20], [100, 60000, 24], 5000),
    ),
}


def test_every_kind_has_a_row():
    assert {options["kind"] for options, _ in ROWS.values()} == set(KINDS)


@pytest.mark.parametrize(("options", "pixels"), ROWS.values(), ids=ROWS)
def test_a_file_comes_back_bit_by_bit(options, pixels):
    side = build_side(**options)
    assert build_side(**json.loads(json.dumps(side.to_dict()))) == side
    spec = PairSpec(target=side)
    assert PairSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec

    image = FileImage(pixels=pixels)
    kept = pixels.copy()
    read = side.read(image)
    prepared = side.prepare_and_resize(read, *SHAPE)
    assert prepared.shape == (*SHAPE, side.batch_channels)
    assert prepared.dtype == side.dtype
    np.testing.assert_array_equal(side.prepare(read), prepared)

    batch = torch.from_numpy(prepared).permute(2, 0, 1)[None]
    seen = side.encode(batch)
    assert (seen.shape, seen.dtype) == ((1, side.channels, *SHAPE), torch.float32)
    filled = side.fill_missing(seen)
    assert filled.isfinite().all()
    assert filled.abs().max() <= 1
    assert torch.equal(filled[~seen.isnan()], seen[~seen.isnan()])
    assert side.encode(batch, torch.float64).dtype == torch.float64

    stored = side.decode(seen)
    assert (stored.shape, stored.dtype) == ((1, side.file_channels, *SHAPE), getattr(torch, side.dtype))
    np.testing.assert_array_equal(stored[0].permute(1, 2, 0).numpy(), pixels)
    np.testing.assert_array_equal(pixels, kept)  # nothing was changed in place


@pytest.mark.parametrize(("options", "pixels"), ROWS.values(), ids=ROWS)
def test_pixels_that_do_not_count_are_found_and_a_picture_is_for_people(options, pixels):
    side = build_side(**options)
    seen = side.encode(torch.from_numpy(side.prepare(side.read(FileImage(pixels=pixels)))).permute(2, 0, 1)[None])
    ignored, missing = side.find_ignored(seen), side.find_missing(seen)
    if options.get("ignore_index") or side.nodata is not None or side.dtype.startswith("float"):
        assert ignored.shape == (1, 1, *SHAPE)
        assert ignored[0, 0, 1, :3].all()
        assert ignored.sum() == 4
    else:
        assert ignored is None
    if missing is not None:
        assert missing.sum() == (4 if side.channels == 1 else 3)  # where no channel has a value
    picture = side.preview(side.decode(seen)[0])
    assert picture.dtype == np.uint8
    assert picture.shape in ((*SHAPE, 1), (*SHAPE, 3))
    assert len(np.unique(picture)) > 1


@pytest.mark.parametrize(("options", "pixels"), ROWS.values(), ids=ROWS)
def test_outputs_beyond_the_range_stay_within_it(options, pixels):
    side = build_side(**options)
    stored = side.decode(
        torch.randn(1, side.channels, *SHAPE, generator=torch.Generator().manual_seed(0)) * 3, is_output=True
    )
    low, high = np.array(side.ranges).T
    values = stored.double().movedim(1, -1).numpy()
    assert ((low <= values) & (values <= high)).all()
    if options["kind"] == "raw":
        ends = side.decode(torch.tensor([-3.0, 3.0]).expand(1, side.channels, 1, 2))
        assert ends[0, :, 0].tolist() == [
            list(side.ranges[number % len(side.ranges)]) for number in range(side.channels)
        ]


def test_sides_of_older_checkpoints_are_built():
    old = {
        "source": {
            "kind": "label",
            "interpolation": "nearest",
            "palette": PALETTE,
            "snap_palette": False,
            "num_classes": None,
        }
        | {"dtype": "uint8", "value_range": [0, 255], "alpha": "error", "background": [255, 255, 255]},
        "target": {
            "kind": "grey",
            "interpolation": "bicubic",
            "palette": None,
            "value_range": [0.0, 255.0],
            "dtype": "uint8",
        },
        "size": 64,
        "load_size": 72,
        "direction": "b_to_a",
    }
    spec = PairSpec.from_dict(old)
    assert (spec.source.kind, spec.source.channels, spec.target.kind) == ("label", 4, "grayscale")
    assert spec == PairSpec.from_dict(spec.to_dict())
