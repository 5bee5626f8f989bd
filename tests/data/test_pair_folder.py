"""Splits: folders of their own, or parts of one folder that a hash of names decides on."""

import hashlib
import logging
from itertools import chain

import numpy as np
import pytest
from PIL import Image

from pix2pix_lightning.data import PairedDataModule
from pix2pix_lightning.data.pair_folder import PairFolder, divide_names
from pix2pix_lightning.utils.errors import UserError

NAMES = [f"{number:02}" for number in range(40)]


def compute_hash(name, seed=0):
    return int(hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()[:12], 16) / 16**12


def save(path, width=16):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, 8), (len(path.name), 7, 7)).save(path)


def list_names(pairs):
    return [pairs.get_name(index) for index in range(len(pairs))]


@pytest.mark.parametrize("layout", ["strips", "nested strips", "A and B"])
def test_a_folder_without_splits_is_divided_by_a_hash_of_names(tmp_path, layout, caplog):
    for name in NAMES:
        if layout == "A and B":
            save(tmp_path / "A" / f"{name}.png", 8)
            save(tmp_path / "B" / f"{name}.bmp", 8)
        else:
            save(tmp_path / ("deep/er" if layout[0] == "n" and name > "20" else "") / f"{name}.png")
    (tmp_path / "runs/first/checkpoints").mkdir(parents=True)  # of a training in the folder of its pairs
    (tmp_path / "runs/first/config.yaml").touch()
    save(tmp_path / "runs/first/gallery/1.png")
    folder = PairFolder(tmp_path, val_fraction=None, test_fraction=0.2)
    parts = {split: list_names(folder.open(split)) for split in ("train", "val", "test")}
    (record,) = caplog.records
    for part in (*(str(len(names)) for names in parts.values()), "data.val_fraction=0.1", "data.test_fraction=0.2"):
        assert part in record.getMessage()
    names = sorted(chain.from_iterable(parts.values()))
    hashes = {name: compute_hash(name) for name in names}
    assert [name.rpartition("/")[2] for name in sorted(names, key=lambda name: name[-2:])] == NAMES
    assert parts["val"] == [name for name in parts["val"] if hashes[name] < 0.1]
    assert set(parts["test"]) == {name for name in names if 0.1 <= hashes[name] < 0.3}
    assert {len(part) > 0 for part in parts.values()} == {True}
    pairs = folder.open("val")
    for index, (path, *others) in enumerate(pairs.compute_fingerprints()):
        assert path.startswith(parts["val"][index])
        assert pairs[index][2] == parts["val"][index]
        assert len(others) in (2, 5)


def test_a_pair_stays_where_it_is_when_others_are_added():
    few, many = (divide_names(NAMES[:count], {"val": 0.3}, 5) for count in (25, 40))
    assert [number for number in many["val"] if number < 25] == few["val"]
    assert many["val"] == [n for n, name in enumerate(NAMES) if compute_hash(name, 5) < 0.3]
    assert many["val"] != divide_names(NAMES, {"val": 0.3}, 6)["val"]
    accents = [
        divide_names([*NAMES, name], {"val": 0.5}, 0) for name in ("\N{LATIN SMALL LETTER E WITH ACUTE}", "e\u0301")
    ]
    assert accents[0] == accents[1]


@pytest.mark.parametrize("count", [2, 3, 5])
def test_few_pairs_leave_no_part_empty(count):
    for seed in range(20):
        parts = divide_names(NAMES[:count], {"val": 0.1, **({"test": 0.1} if count > 2 else {})}, seed)
        assert all(parts.values())
        assert sorted(chain.from_iterable(parts.values())) == list(range(count))
    assert divide_names(NAMES[:count], {"val": 1.0}, 0) == {"train": [], "val": list(range(count))}


def test_train_is_divided_only_where_a_fraction_is_given(tmp_path, caplog):
    for name in NAMES:
        save(tmp_path / "train" / f"{name}.png")
    with pytest.raises(UserError, match="/val does not exist"):
        PairFolder(tmp_path).open("val")
    assert len(PairFolder(tmp_path).open("train")) == 40
    folder = PairFolder(tmp_path, val_fraction=0.25)
    assert set(list_names(folder.open("val"))) == {name for name in NAMES if compute_hash(name) < 0.25}
    assert sorted(list_names(folder.open("val")) + list_names(folder.open("train"))) == NAMES
    with pytest.raises(UserError, match="/test does not exist"):
        folder.open("test")
    save(tmp_path / "val" / "x.png")
    with pytest.raises(UserError, match=r"data\.val_fraction=0\.25"):
        PairFolder(tmp_path, val_fraction=0.25).open("train")
    # debug=overfit adds val_split=train to the words of a command
    caplog.clear()
    count = len(PairFolder(tmp_path, val_split="train", val_fraction=0.25).open("train"))
    assert count < 40
    assert f"{40 - count} are left out" in caplog.text


def test_what_cannot_be_divided_is_named(tmp_path, caplog):
    for name in ("one/x", "two/y"):
        save(tmp_path / f"{name}.png")
    with pytest.raises(UserError, match=r"one, two.*data\.val_fraction"):
        PairFolder(tmp_path).open("train")
    assert len(PairFolder(tmp_path, val_fraction=0.5).open("train")) == 1
    single = tmp_path / "one"
    with pytest.raises(UserError, match=r"data\.val_split=train"):
        PairFolder(single).open("train")
    caplog.clear()
    assert len(PairFolder(single, val_split="train").open("train")) == 1
    assert not caplog.records
    save(single / "z.png")
    with pytest.raises(UserError, match=r"data\.test_fraction"):
        PairFolder(single).open("test")
    with pytest.raises(UserError, match=r"data\.val_split=other"):
        PairFolder(single, val_split="other").open("other")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val_fraction": 0}, r"data\.val_fraction=0:"),
        ({"val_fraction": "0.1"}, r"data\.val_fraction=0\.1:"),
        ({"val_fraction": True}, r"data\.val_fraction=True"),
        ({"test_fraction": 1}, r"data\.test_fraction=1"),
        ({"val_fraction": 0.6, "test_fraction": 0.6}, "together"),
        ({"split_seed": -1}, r"data\.split_seed=-1"),
        ({"layout": "strips"}, r"data\.layout='strips'"),
        ({"names": ["input"]}, r"data\.names=\['input'\]"),
        ({"columns": "image"}, r"data\.columns=image"),
    ],
)
def test_fractions_out_of_range(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        PairedDataModule(tmp_path, **options)


def test_the_data_module_divides_alike_for_training_evaluation_and_cache(tmp_path, caplog):
    for name in NAMES[:12]:
        save(tmp_path / f"{name}.png")
    options = {"size": 8, "val_fraction": 0.25, "num_workers": 0, "jitter": False}
    expected = [name for name in NAMES[:12] if compute_hash(name) < 0.25]
    for number, stage in enumerate(("fit", "validate", "fit", "fit")):
        data = PairedDataModule(tmp_path, seed=number, cache=stage == "fit" and number > 0, **options)
        with caplog.at_level(logging.WARNING):
            data.setup(stage)
        assert [name for batch in data.val_dataloader() for name in batch["name"]] == expected
        if stage == "fit":
            assert data.train_dataloader().sampler.num_pairs == 12 - len(expected)
        assert data.pair_spec.strips == (16, 8)


@pytest.mark.parametrize(
    ("files", "options", "expected"),
    [
        ({"train/x.png": 16, "train/y.png": 16}, {}, (16, 8)),
        ({"x.png": 16, "y.png": 16}, {}, (16, 8)),
        ({"train/deep/x.png": 16, "train/y.png": 15}, {}, True),
        ({"train/A/x.png": 16, "train/B/x.png": 16}, {}, False),
        ({"A/x.png": 16, "B/x.png": 16}, {}, False),
        ({"trainA/x.png": 16, "trainB/x.png": 16}, {"layout": "folders"}, False),
        ({"train/x.png": 8}, {}, None),
        ({"train/x.png": 24}, {"layout": "strip"}, (24, 8)),
        ({"val/x.png": 16}, {}, None),
    ],
)
def test_the_specification_says_whether_files_are_strips(tmp_path, files, options, expected):
    for name, width in files.items():
        save(tmp_path / name, width)
    assert PairedDataModule(tmp_path, **options).pair_spec.strips == expected
    assert PairedDataModule(tmp_path / "none").pair_spec.strips is None
    np.testing.assert_equal(PairedDataModule(tmp_path, **options).pair_spec, PairedDataModule("none").pair_spec)


@pytest.mark.parametrize(
    ("files", "split", "message"),
    [
        (["Training/x", "validation/x"], "train", r"has the folder Training.* rename it to train"),
        (["train/x", "valid/x"], "val", r"has the folder valid.* rename it to val"),
        (["train/x"], "val", r"/val does not exist.*data\.val_fraction=0\.1.* data\.val_split= to another folder$"),
        (["train/x", "test/x"], "val", r"/val does not exist.*data\.val_fraction=0\.1.*data\.val_split=test to"),
        (["trainA/x", "trainB/x", "testA/x", "testB/x"], "val", r"no split val.*trainA and.*data\.val_split=test to"),
        (["input/train/x", "target/train/x"], "test", r"no split test.*input/train and.* split=val$"),
        (["train/x", "val/x"], "test", r"/test does not exist.* split=val$"),
        (["pairs/train/x", "pairs/val/x"], "train", r"data\.root=\S+/pairs$"),
        (["A/x", "val/x"], "train", r"no folder train, but A, val: "),
        (["A/x"], "train", r"has the folder A alone.*/B$"),
        (["x", "val/x"], "train", r"1 images next to val: move them to \S+/train$"),
        (["left/x", "right/x"], "train", r"left, right: set data\.names="),
    ],
)
def test_what_a_folder_has_instead_of_a_split_is_named(tmp_path, files, split, message):
    for name in files:
        save(tmp_path / f"{name}.png")
    with pytest.raises(UserError, match=message):
        PairFolder(tmp_path).open(split)


def test_a_folder_of_images_that_are_not_read_names_their_endings(tmp_path):
    (tmp_path / "IMG_1.HEIC").write_bytes(b"")
    with pytest.raises(UserError, match=r"1 end with \.heic"):
        PairFolder(tmp_path).open("train")
