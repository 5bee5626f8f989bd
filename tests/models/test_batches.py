"""Batches of other loaders, and the lines that answer those of a wrong form."""

import logging

import numpy as np
import pytest
import torch

from pix2pix_lightning import PairSpec
from pix2pix_lightning.models.batches import BATCH_KEYS, BatchReader
from pix2pix_lightning.utils.errors import UserError

BYTES = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).reshape(2, 3, 4, 4)
DESCRIBED = {"generator": {"_target_": "x"}, "discriminator": None}
SIDES = {"source": {"kind": "label", "num_classes": 3}, "target": {"kind": "grayscale"}}


def read(batch, keys=BATCH_KEYS, *, stage="fit", spec=None, parts=DESCRIBED):
    reader = BatchReader(keys, PairSpec.from_dict(spec or {}), parts)
    reader.start(stage)
    return reader.read(batch, torch.float32)


@pytest.mark.parametrize(
    ("batch", "keys", "names"),
    [
        ({"source": BYTES, "target": 255 - BYTES, "name": ["a", "b"]}, BATCH_KEYS, ["a", "b"]),
        ({"source": BYTES, "target": 255 - BYTES}, BATCH_KEYS, None),
        ({"A": BYTES, "B": 255 - BYTES, "A_paths": ["a.png", "b.png"]}, ("A", "B"), None),
        (
            {"A": BYTES, "B": 255 - BYTES, "A_paths": ["a.png", "b.png"]},
            ["A", "B", "A_paths"],
            ["a.png", "b.png"],
        ),
        ((BYTES, 255 - BYTES), (0, 1), None),
        ([255 - BYTES, torch.tensor([7, 8]), BYTES], (2, 0, 1), ["7", "8"]),
    ],
)
def test_batches_of_any_form_become_the_modules_own(batch, keys, names):
    own = read(batch, keys)
    expected = torch.from_numpy(BYTES.numpy().astype(np.float32) / 127.5 - 1)
    torch.testing.assert_close(own["source"], expected)
    torch.testing.assert_close(own["target"], -expected)
    assert own.get("name") == names
    assert ("A_paths" in own) == (isinstance(batch, dict) and "A_paths" in batch and len(keys) == 2)


def test_floats_are_taken_as_they_are_and_a_prediction_needs_no_target():
    floats = torch.linspace(-1, 1, 48).reshape(1, 3, 4, 4)
    assert set(read((floats,), (0, 1), stage="predict")) == {"source"}
    assert torch.equal(read((floats,), (0, 1), stage="predict")["source"], floats)
    many = torch.zeros(1, 5, 4, 4)
    own_network = {"generator": torch.nn.Identity(), "discriminator": None}
    assert read((many, floats), (0, 1), parts=own_network)["source"] is many


def test_label_sides_are_class_numbers_or_a_channel_for_each_class():
    numbers = torch.tensor([[[[0, 1], [2, 2]]]])
    gray = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    encoded = read((numbers, gray), (0, 1), spec=SIDES)["source"]
    assert encoded.argmax(1).tolist() == numbers[:, 0].tolist()
    assert torch.equal(read((encoded, gray), (0, 1), spec=SIDES)["source"], encoded)


@pytest.mark.parametrize(
    ("batch", "named"),
    [
        ((BYTES, BYTES), "batch_keys=(0, 1)"),
        ({"A": BYTES, "B": BYTES}, "'A', 'B'"),
        ({"source": BYTES}, "'target'"),
        (BYTES, "(2, 3, 4, 4)"),
        ([{"source": BYTES[0], "target": BYTES[0]}], "a list of 1"),
        ("text", "type str"),
        ({"source": BYTES[0], "target": BYTES}, "the source of a batch is uint8 of shape (3, 4, 4)"),
        ({"source": BYTES.permute(0, 2, 3, 1), "target": BYTES}, "(B, 3, H, W)"),
        ({"source": BYTES, "target": BYTES[:, :1]}, "pair_spec.target.kind=rgb"),
        ({"source": BYTES.numpy(), "target": BYTES}, "ndarray"),
        ({"source": BYTES, "target": BYTES[..., :2]}, "(2, 3, 4, 2)"),
        ({"source": BYTES, "target": BYTES.float()}, "0 to 95"),
        ({"source": BYTES, "target": torch.full((2, 3, 4, 4), torch.nan)}, "nan"),
    ],
)
def test_other_batches_are_answered_by_a_line(batch, named):
    with pytest.raises(UserError) as caught:
        read(batch)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_tensor_is_not_indexed_as_a_tuple():
    with pytest.raises(UserError, match="batch_keys"):
        read(BYTES, (0, 1))


@pytest.mark.parametrize(
    "keys", ["AB", ("A",), ("A", 1), (0, 0), ("A", "B", "A"), (0, 1, 2, 3), 3, (True, False), {"A": 0, "B": 1}]
)
def test_keys_are_two_or_three_names_or_positions(keys):
    with pytest.raises(UserError, match="batch_keys="):
        BatchReader(keys, PairSpec(), DESCRIBED)


def test_floats_from_0_to_1_are_warned_of_once(caplog):
    reader = BatchReader((0, 1), PairSpec(), DESCRIBED)
    unit, signed = BYTES / 255, BYTES / 127.5 - 1
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            reader.read((signed, unit), torch.float32)
        assert len(caplog.records) == 1
        assert "target" in caplog.text
        assert "2 * x - 1" in caplog.text
        reader.start("test")
        reader.read((signed, signed), torch.float32)
        assert len(caplog.records) == 1


RAW = {
    "source": {"kind": "raw", "num_channels": 2, "dtype": "float32", "value_range": [0, 10], "fill": 0.5},
    "target": {"kind": "raw", "dtype": "int16", "value_range": [-100, 100], "nodata": -999},
}


def test_pixels_without_a_value_are_filled_and_masked():
    source = torch.tensor([[torch.nan, torch.nan, 5.0, 10.0], [torch.nan, 0.0, 5.0, 0.0]]).reshape(1, 2, 1, 4)
    target = torch.tensor([100, -100, -999, 50], dtype=torch.int16).reshape(1, 1, 1, 4)
    own = read({"source": source, "target": target}, spec=RAW)
    assert own["source"][0, :, 0].tolist() == [[0.5, 0.5, 0, 1], [0.5, -1, 0, -1]]
    assert own["target"].flatten().tolist() == [1, -1, 0, 0.5]
    assert own["mask"].flatten().tolist() == [False, True, False, True]
    masked = read({"source": source, "target": target, "mask": torch.tensor([[[[True, False, True, True]]]])}, spec=RAW)
    assert masked["mask"].flatten().tolist() == [False, False, False, True]
    predicted = read({"source": source, "target": target}, spec=RAW, stage="predict")
    assert predicted["mask"].flatten().tolist() == [False, True, True, True]  # of the source alone
    assert "mask" not in read({"source": BYTES, "mask": torch.zeros(2, 1, 4, 4, dtype=torch.bool)}, stage="predict")
    assert "mask" not in read((BYTES, BYTES), (0, 1))


@pytest.mark.parametrize("mask", [torch.ones(2, 1, 4, 4), torch.ones(2, 4, 4, dtype=torch.bool), "none"])
def test_what_is_no_mask_is_refused(mask):
    with pytest.raises(UserError, match=r"the mask of a batch is .*\(2, 1, 4, 4\)"):
        read({"source": BYTES, "target": BYTES, "mask": mask})


def test_class_numbers_without_a_class_are_named():
    spec = {"source": {"kind": "label", "num_classes": 3, "ignore_index": 255}}
    numbers = torch.tensor([0, 1, 2, 255], dtype=torch.uint8).repeat(2, 1, 8, 2)
    batch = {"source": numbers, "target": torch.zeros(2, 3, 8, 8)}
    assert (read(batch, spec=spec)["source"] == -1).all(1).sum() == 32
    numbers[1, 0, 3, 3] = 7
    with pytest.raises(UserError, match=r"the source .* class number 7.* 3 classes"):
        read(batch, spec=spec)
