"""Descriptions of pairs: refused with a line, or as good as what they say."""

import json

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from refusals import read_or_refuse

from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.sides import build_side

pytestmark = pytest.mark.fuzz

SCALAR = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, 1, 2, 3, 255, 256, 10**9])
    | st.floats(allow_subnormal=True)
    | st.text(max_size=8)
)
JUNK = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
CHANNEL = st.integers(0, 255)
PALETTE = st.lists(st.lists(CHANNEL, min_size=3, max_size=3), min_size=1, max_size=5)
KIND = st.sampled_from(["rgb", "grayscale", "label"])
INTERPOLATION = st.sampled_from(["bicubic", "bilinear", "nearest"])
VALUE_RANGE = st.tuples(st.floats(0, 255) | CHANNEL, st.floats(0, 255) | CHANNEL).map(sorted)
SIDES = st.one_of(
    st.fixed_dictionaries({}, optional={"kind": st.sampled_from(["rgb", "grayscale"]), "interpolation": INTERPOLATION}),
    st.fixed_dictionaries({"kind": st.just("label"), "palette": PALETTE}),
    st.fixed_dictionaries({"kind": st.just("label"), "num_classes": st.integers(1, 256)}),
    st.fixed_dictionaries({"kind": st.just("rgb"), "palette": PALETTE, "snap_palette": st.just(True)}),
    st.fixed_dictionaries({"kind": st.sampled_from(["rgb", "grayscale"]), "value_range": VALUE_RANGE}),
)
VALUES = {
    "kind": KIND,
    "palette": PALETTE,
    "num_classes": st.integers(-1, 300),
    "snap_palette": st.booleans(),
    "interpolation": INTERPOLATION,
    "dtype": st.sampled_from(["uint8", "uint16", "float32"]),
    "value_range": VALUE_RANGE,
}


@st.composite
def any_side(draw):
    """A side that holds together, or one with some keys changed."""
    side = dict(draw(SIDES))
    for key in draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=2)):
        side[key] = draw(VALUES[key] | JUNK)
    if draw(st.integers(0, 9)) == 0:
        side[draw(st.text(max_size=6))] = draw(JUNK)
    return side


@st.composite
def any_pair(draw):
    pair = {"source": draw(any_side()), "target": draw(any_side())}
    count = st.integers(1, 512)
    for key in draw(
        st.lists(st.sampled_from(["source", "target", "size", "load_size", "direction", "other"]), max_size=2)
    ):
        pair[key] = draw(
            {"size": count, "load_size": count, "direction": st.sampled_from(["a_to_b", "b_to_a"])}.get(key, JUNK)
            | JUNK
        )
    return draw(JUNK) if draw(st.integers(0, 19)) == 0 else pair


def test_pair_specs(search):
    def attempt(data):
        spec = read_or_refuse(PairSpec.from_dict, data)
        if spec is None:
            return
        assert PairSpec.from_dict(spec.to_dict()) == spec
        assert PairSpec.from_dict(json.loads(json.dumps(spec.to_dict(), allow_nan=False))) == spec
        for name in ("source", "target"):
            check_inverse(spec, name, getattr(spec, name))

    search(any_pair(), attempt, examples=300)


def check_inverse(spec, name, side):
    """What is encoded and decoded is what it was, for each value that a file can hold."""
    if side.kind == "label":
        values = np.arange(side.channels)
    else:
        low, high = side.value_range
        values = np.arange(np.ceil(low), np.floor(high) + 1)
    channels = 3 if side.kind == "rgb" else 1
    batch = torch.from_numpy(values.astype(np.uint8)).expand(1, channels, 1, -1)
    encoded = spec.encode(batch, name)
    assert encoded.shape == (1, side.channels, 1, len(values))
    assert encoded.dtype == torch.float32
    if encoded.numel():
        assert -1 - 1e-5 <= encoded.min() <= encoded.max() <= 1 + 1e-5
    decoded = side.decode(encoded)
    assert decoded.dtype == torch.uint8
    if side.kind == "label" and side.palette:
        assert decoded[0].movedim(0, -1)[0].tolist() == [list(colour) for colour in side.palette]
    else:
        assert (decoded.int() - batch.int()).abs().max().item() <= 0.5 if len(values) else True


def test_a_side_snaps_to_its_palette(search):
    """After ``prepare`` an rgb side has colours of its palette alone, and each is the nearest."""

    def attempt(drawn):
        palette, seed = drawn
        side = build_side(palette=palette, snap_palette=True)
        image = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
        snapped = side.prepare(image).astype(int)
        distances = ((image[..., None, :].astype(int) - np.array(palette)) ** 2).sum(-1)
        assert (((image - snapped) ** 2).sum(-1) == distances.min(-1)).all()
        assert {tuple(pixel) for pixel in snapped.reshape(-1, 3)} <= {tuple(colour) for colour in palette}

    unique = st.lists(st.tuples(CHANNEL, CHANNEL, CHANNEL), min_size=1, max_size=20, unique=True)
    search(st.tuples(unique, st.integers(0, 2**32 - 1)), attempt)
