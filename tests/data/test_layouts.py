"""Each layout of docs/data.md gives the same pairs, and what is ambiguous is refused."""

import csv
import json
import logging
import multiprocessing
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from pix2pix_lightning.data import PairedDataModule
from pix2pix_lightning.data.files.file_image import FileImage
from pix2pix_lightning.data.files.image_header import ImageHeader
from pix2pix_lightning.data.files.stacking import stack_headers, stack_images
from pix2pix_lightning.data.layouts.name_matching import match_names
from pix2pix_lightning.data.pair_folder import PairFolder
from pix2pix_lightning.utils.errors import UserError

NAMES = ("one", "two", "3")


def draw(name, side, width=4):
    """Pixels that are a function of name and side."""
    seed = int.from_bytes(f"{name}/{side}".encode(), "big") % 2**32
    return np.random.default_rng(seed).integers(0, 256, (4, width, 3), dtype=np.uint8)


def encode(array):
    return cv2.imencode(".png", array[..., ::-1])[1].tobytes()


def save(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def save_sides(root, place_a, place_b, names=NAMES):
    for name in names:
        for place, side in ((place_a, "A"), (place_b, "B")):
            save(root / f"{place.format(name)}.png", encode(draw(name, side)))


def check(pairs, names=NAMES):
    """Each pair has the pixels of its name, which is the last word of what the pair is called."""
    found = []
    for index in range(len(pairs)):
        a, b, name = pairs[index]
        found.append(name.rpartition("/")[2])
        np.testing.assert_array_equal(a, draw(found[-1], "A"))
        np.testing.assert_array_equal(b, draw(found[-1], "B"))
        assert pairs.get_name(index) == name
    assert sorted(found) == sorted(names)


TWO_PLACES = {
    "train_A, train_B": ("train_A/{}", "train_B/{}"),
    "trainA, trainB": ("trainA/{}", "trainB/{}"),
    "A/train, B/train": ("A/train/{}", "B/train/{}"),
    "train/A, train/B": ("train/A/{}", "train/B/{}"),
    "train/input, train/target": ("train/input/{}", "train/target/{}"),
    "input/train, target/train": ("input/train/{}", "target/train/{}"),
    "train/source, train/target": ("train/source/{}", "train/target/{}"),
    "images/train, labels/train": ("images/train/{}", "labels/train/{}"),
    "train/Images, train/Masks": ("train/Images/{}", "train/Masks/{}"),
    "train_images, train_labels": ("train_images/{}", "train_labels/{}"),
    "A_train, B_train": ("A_train/{}", "B_train/{}"),
    "train/lq, train/gt": ("train/lq/{}", "train/gt/{}"),
    "train/A/series, train/B/series": ("train/A/s1/{}", "train/B/s1/{}"),
    "train/series/A, train/series/B": ("train/s1/A/{}", "train/s1/B/{}"),
    "train/x_A, train/x_B": ("train/{}_A", "train/{}_B"),
    "train/x_input, train/x_target": ("train/{}_input", "train/{}_target"),
    "train/img_x, train/mask_x": ("train/img_{}", "train/mask_{}"),
    "train/A/x_A, train/B/x_B": ("train/A/{}_A", "train/B/{}_B"),
    "train/A/img_x, train/B/mask_x": ("train/A/img_{}", "train/B/mask_{}"),
}


def pack(folder, path, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as file:
        for one in sorted(folder.rglob("*.png")):
            file.write(one, f"pairs/{one.relative_to(folder).as_posix()}")


def fill_lmdb(folder, path, *, has_endings):
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(path), map_size=2**22) as environment, environment.begin(write=True) as transaction:
        for one in sorted(folder.rglob("*.png")):
            name = one.relative_to(folder).as_posix()
            transaction.put((name if has_endings else name.removesuffix(".png")).encode(), one.read_bytes())
        transaction.put(b"__len__", b"3")


@pytest.mark.parametrize("holder", ["folder", "zip", "lmdb"])
@pytest.mark.parametrize("layout", TWO_PLACES)
def test_every_layout_of_two_sides(tmp_path, layout, holder, caplog):
    save_sides(tmp_path / "pairs", *TWO_PLACES[layout])
    root = tmp_path / "pairs"
    if holder == "zip":
        pack(root, root := tmp_path / "pairs.zip")
    elif holder == "lmdb":
        fill_lmdb(root, root := tmp_path / "lmdb", has_endings="Images" in layout)
    with caplog.at_level(logging.INFO):
        folder = PairFolder(root)
        names = [f"{name}_A" if "A/x" in layout else f"img_{name}" if "A/img" in layout else name for name in NAMES]
        pairs = folder.open("train")
    if names[0] == "one":
        check(pairs)
    else:
        assert [pairs.get_name(index) for index in range(3)] == sorted(names)
        for index, name in enumerate(sorted(names)):
            original = NAMES[names.index(name)]
            np.testing.assert_array_equal(pairs[index][0], draw(original, "A"))
            np.testing.assert_array_equal(pairs[index][1], draw(original, "B"))
    (record,) = caplog.records
    a, b = (place.partition("{}")[0].rstrip("/").removesuffix("s1").rstrip("/") for place in TWO_PLACES[layout])
    assert folder.found["layout"] in record.getMessage()
    assert folder.found["layout"] == ("names" if layout.startswith(("train/x", "train/img")) else "folders")
    if folder.found["layout"] == "folders" and "/s1/A" not in TWO_PLACES[layout][0]:
        a, b = (part.removesuffix("/img_").removesuffix("/mask_") for part in (a, b))
        assert folder.found["a"].endswith(a)
        assert folder.found["b"].endswith(b)
    assert PairedDataModule(root).pair_spec.strips is False


def test_strips_in_a_zip_file_are_divided_checked_and_cached(tmp_path, caplog):
    for name in map(str, range(12)):
        save(tmp_path / f"pairs/{name}.png", encode(np.hstack([draw(name, "A"), draw(name, "B")])))
    pack(tmp_path / "pairs", tmp_path / "pairs.zip")
    options = {"size": 4, "jitter": False, "mirror": False, "val_fraction": 0.3}
    expected = PairedDataModule(tmp_path / "pairs", num_workers=0, **options)
    expected.setup("fit")
    for workers, cache in ((0, True), (2, False), (0, True)):
        data = PairedDataModule(tmp_path / "pairs.zip", num_workers=workers, cache=cache, check="full", **options)
        data.setup("fit")
        assert data.pair_spec.strips == (8, 4)
        seen = {}
        for loader in (data.train_dataloader(), data.val_dataloader()):
            for batch in loader:
                seen[batch["name"][0]] = batch
        assert sorted(seen) == sorted(map(str, range(12)))
        for name, batch in seen.items():
            np.testing.assert_array_equal(batch["source"][0].permute(1, 2, 0), draw(name, "A"))
        assert [b["name"] for b in data.val_dataloader()] == [b["name"] for b in expected.val_dataloader()]
    assert [path.name for path in tmp_path.iterdir()] != ["pairs", "pairs.zip"]
    rows = PairFolder(tmp_path / "pairs.zip", val_fraction=0.3).open("train").compute_fingerprints()
    infos = {info.filename: info.CRC for info in zipfile.ZipFile(tmp_path / "pairs.zip").infolist()}
    assert [infos[name] == crc for name, _, crc in rows] == [True] * len(rows)
    with zipfile.ZipFile(tmp_path / "pairs.zip", "a") as file:
        for name in ("../out.png", "/abs.png", "pairs/../../x.png", "__MACOSX/pairs/._1.png"):
            file.writestr(name, (tmp_path / "pairs/1.png").read_bytes())
    assert len(PairFolder(tmp_path / "pairs.zip", val_split="train").open("train")) == 12


def test_stored_files_that_are_damaged_are_found_and_skipped(tmp_path):
    for name in ("x", "y", "z"):
        save(tmp_path / f"pairs/train/{name}.png", encode(draw(name, "A", 8)))
    save(tmp_path / "pairs/train/bad.png", b"no image")
    pack(tmp_path / "pairs", tmp_path / "p.zip", zipfile.ZIP_STORED)
    with pytest.raises(UserError, match=r"p\.zip/pairs/train/bad\.png"):
        PairedDataModule(tmp_path / "p.zip", size=4, val_split="train", num_workers=0).setup("fit")
    data = PairedDataModule(tmp_path / "p.zip", size=4, val_split="train", num_workers=0, on_error="skip")
    data.setup("fit")
    assert [batch["name"] for batch in data.val_dataloader()] == [["x"], ["y"], ["z"]]
    content = bytearray((tmp_path / "p.zip").read_bytes())
    content[content.index(b"IDAT") + 4] ^= 255  # pixels of a member
    (tmp_path / "p.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"p\.zip/pairs/train/x\.png is damaged"):
        PairFolder(tmp_path / "p.zip").open("train")[1]
    (tmp_path / "none.zip").write_bytes(b"text")
    with pytest.raises(UserError, match=r"none\.zip is no zip file"):
        PairFolder(tmp_path / "none.zip").open("train")


def test_other_processes_read_stores_by_handles_of_their_own(tmp_path, monkeypatch):
    save_sides(tmp_path / "pairs", "train/{}_A", "train/{}_B")
    pack(tmp_path / "pairs", tmp_path / "pairs.zip")
    pairs = PairFolder(tmp_path / "pairs.zip").open("train")
    check(pairs)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        pool.apply(check, (pairs,))
    opened = []
    monkeypatch.setattr(zipfile, "ZipFile", lambda path, build=zipfile.ZipFile: opened.append(path) or build(path))
    check(pickle.loads(pickle.dumps(pairs)))
    check(pairs)
    assert len(opened) == 1
    monkeypatch.setattr("os.getpid", lambda: 1)  # as after a fork: a handle's position would be shared
    check(pairs)
    assert len(opened) == 2


@pytest.mark.parametrize(
    ("a", "b", "expected", "rule"),
    [
        (["x", "y"], ["x", "y"], [("x", "x"), ("y", "y")], ""),
        (["IMG_1", "img_2"], ["img_1", "IMG_2"], [("IMG_1", "img_1"), ("img_2", "IMG_2")], "case"),
        (["1", "10", "2"], ["0001", "0002", "0010"], [("1", "0001"), ("10", "0010"), ("2", "0002")], "zeros"),
        (["s/1", "s/2"], ["s/01", "s/02"], [("s/1", "s/01"), ("s/2", "s/02")], "zeros"),
        (["x_in", "y_in"], ["x_out", "y_out"], [("x_in", "x_out"), ("y_in", "y_out")], '"*_in" and "*_out"'),
        (["img_001", "img_002"], ["mask_1", "mask_2"], [("img_001", "mask_1"), ("img_002", "mask_2")], '"mask_*"'),
        (["Cat_A", "dog_A"], ["cat_B", "Dog_B"], [("Cat_A", "cat_B"), ("dog_A", "Dog_B")], "case"),
        (["img0", "img1", "img10"], ["0", "1", "10"], [("img0", "0"), ("img1", "1"), ("img10", "10")], '"img*"'),
        (["x", "X"], ["x"], [("x", "x")], ""),  # X has no partner left
        (["1", "01", "2"], ["1", "01", "02"], [("01", "01"), ("1", "1"), ("2", "02")], "zeros"),
        (["cat", "dog"], ["tree", "house"], [], ""),
        (["1_photo"], ["1_label"], [], ""),  # of a single name, all is prefix
    ],
)
def test_names_that_differ_by_a_rule(a, b, expected, rule):
    match = match_names(a, b)
    assert match.pairs == expected
    assert rule in match.rule if rule else match.rule == ""
    assert match.unmatched_a == [name for name in a if name not in dict(expected)]
    assert match.unmatched_b == [name for name in b if name not in dict(expected).values()]


@pytest.mark.parametrize(
    ("a", "b", "names"),
    [
        (["1", "01"], ["001"], ["1", "01", "001"]),
        (["IMG", "img"], ["Img"], ["IMG", "img", "Img"]),
        (["1"], ["01", "001"], ["1", "01", "001"]),
    ],
)
def test_ambiguous_names_are_refused(a, b, names):
    with pytest.raises(UserError) as raised:
        match_names(a, b)
    assert all(name in str(raised.value) for name in names)


def test_names_that_differ_are_said_with_an_example(tmp_path, caplog):
    save_sides(tmp_path, "train/A/{}_in", "train/B/{}_out")
    with caplog.at_level(logging.INFO):
        PairFolder(tmp_path).open("train")
    (record,) = caplog.records
    assert "3_in with 3_out" in record.getMessage()
    save(tmp_path / "val/A/1.png", encode(draw("x", "A")))
    save(tmp_path / "val/A/01.png", encode(draw("x", "A")))
    save(tmp_path / "val/B/001.png", encode(draw("x", "A")))
    with pytest.raises(UserError, match=r"val/A and .*val/B: .*01, 1 of A and 001 of B"):
        PairFolder(tmp_path).open("val")


def test_what_could_be_read_in_two_ways_is_refused(tmp_path):
    for number, places in enumerate((["images/{}", "labels/{}", "masks/{}"], ["{}_image", "{}_label", "{}_mask"])):
        root = tmp_path / str(number)
        for place in places:
            save_sides(root, f"train/{place}", f"train/{place}")
        with pytest.raises(UserError, match=r"image.* and label.*, mask.*data\.names="):
            PairFolder(root).open("train")
        names = [place.strip("{}_/") for place in places]
        for chosen in (names[:2], names[2::-2]):
            folder = PairFolder(root, names=chosen)
            assert len(folder.open("train")) == 3
            assert chosen[0] in folder.found["a"]
            assert chosen[1] in folder.found["b"]
    save_sides(tmp_path / "both", "train/img_{}_A", "train/mask_{}_B")
    with pytest.raises(UserError, match=r"\*_A and \*_B or img_\* and mask_\*"):
        PairFolder(tmp_path / "both").open("train")


def test_a_and_b_go_first_and_other_complete_layouts_are_named(tmp_path, caplog):
    for a, b in (("train/A/{}", "train/B/{}"), ("train/input/{}", "train/target/{}"), ("train/x_{}", "train/y_{}")):
        save_sides(tmp_path, a, b)
    check(PairFolder(tmp_path).open("train"))
    passed_over = [record.args[0] for record in caplog.records]
    assert passed_over == [tmp_path / "train", tmp_path / "train/input", tmp_path / "train/target"]


def test_folders_without_splits_are_divided_in_every_layout(tmp_path):
    names = [f"n{number}" for number in range(8)]
    places = [("input/{}", "target/{}"), ("s1/A/{}", "s1/B/{}"), ("{}_A", "{}_B"), ("A/{}", "B/{}")]
    parts = []
    for number, (a, b) in enumerate(places):
        save_sides(tmp_path / str(number), a, b, names)
        folder = PairFolder(tmp_path / str(number))
        assert folder.is_flat()
        check(folder.open("train").select([0, 1]), [folder.open("train").get_name(n)[-2:] for n in (0, 1)])
        parts.append([len(folder.open(split)) for split in ("train", "val")])
    assert all(sum(part) == 8 and min(part) for part in parts)


def test_chosen_names_may_be_any(tmp_path):
    save_sides(tmp_path, "photos/train/{}", "sketches/train/{}")
    with pytest.raises(UserError, match="no folder train"):
        PairFolder(tmp_path).open("train")
    check(PairFolder(tmp_path, names=["photos", "sketches"]).open("train"))
    save_sides(tmp_path / "files", "train/{}P", "train/{}S")
    check(PairFolder(tmp_path / "files", names=["P", "S"]).open("train"))


def test_strips_with_such_names_stay_strips(tmp_path):
    for name in ("x_A", "y_A", "z_photo", "a_1", "b_2"):
        save(tmp_path / f"train/{name}.png", encode(draw(name, "A", 8)))
    folder = PairFolder(tmp_path)
    assert len(folder.open("train")) == 5
    assert folder.found["layout"] == "strip"
    for name in ("x_A", "x_B", "y_A", "y_B"):
        save(tmp_path / f"wide/train/{name}.png", encode(draw(name, "A", 8)))
    with pytest.raises(UserError, match=r"\*_A and \*_B.* data\.layout=strip or data\.layout=names"):
        PairFolder(tmp_path / "wide").open("train")
    assert [len(PairFolder(tmp_path / "wide", layout).open("train")) for layout in ("strip", "names")] == [4, 2]
    with pytest.raises(UserError, match=r"data\.names=\[P,S\]"):
        PairFolder(tmp_path, names=["P", "S"]).open("train")
    with pytest.raises(UserError, match=r"x_A\.png and x_B\.png.*data\.names="):
        PairFolder(tmp_path, "names").open("train")


def write_manifest(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        return
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_manifest_names_pairs_splits_and_masks(tmp_path, suffix):
    save_sides(tmp_path, "photos/{}", "elsewhere/{}")
    mask = np.array([[0, 0, 3, 255]] * 4, np.uint8)
    save(tmp_path / "mask.png", encode(np.dstack([mask, mask * 0, mask * 0])))  # any channel counts
    rows = [{"source": f"photos/{name}.png", "target": f"elsewhere/{name}.png", "split": "train"} for name in NAMES]
    rows[1] |= {"split": "dev", "name": "deep/two"}
    rows[0] |= {"mask": "mask.png"}
    write_manifest(tmp_path / f"manifest{suffix}", rows)
    for root in (tmp_path, tmp_path / f"manifest{suffix}"):
        folder = PairFolder(root, val_split="dev")
        pairs = folder.open("train")
        check(pairs, ("one", "3"))
        assert folder.found["layout"] == "manifest"
        np.testing.assert_array_equal(pairs.read_mask(0), mask > 0)
        assert pairs.read_mask(1) is None
        np.testing.assert_array_equal(pairs.select([1, 0]).read_mask(1), mask > 0)
        assert folder.open("dev").get_name(0) == "deep/two"
        with pytest.raises(UserError, match=r"no row with the split test.* dev, train"):
            folder.open("test")
    data = PairedDataModule(tmp_path, size=4, val_split="dev", num_workers=0, direction="b_to_a", jitter=False)
    data.setup("fit")
    (batch,) = data.val_dataloader()
    np.testing.assert_array_equal(
        batch["source"][0].permute(1, 2, 0), draw("two", "B")
    )  # source is A, whatever is seen


def test_a_manifest_without_splits_is_divided(tmp_path):
    names = [f"n{number}" for number in range(9)]
    save_sides(tmp_path, "A/{}", "B/{}", names)
    write_manifest(tmp_path / "list.csv", [{"source": f"A/{n}.png", "target": f"B/{n}.png"} for n in names])
    folder = PairFolder(tmp_path / "list.csv", test_fraction=0.2)
    parts = [folder.open(split) for split in ("train", "val", "test")]
    assert sorted(part.get_name(n) for part in parts for n in range(len(part))) == [f"A/{n}" for n in names]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_several_files_of_a_manifest_are_stacked_as_channels(tmp_path, suffix):
    planes = [draw("x", side)[..., 0] for side in "ABC"]
    for number, plane in enumerate(planes):
        save(tmp_path / f"{number}.png", cv2.imencode(".png", plane)[1].tobytes())
    save(tmp_path / "b.png", encode(draw("x", "B")))
    columns = {"source": ["2.png", "0.png", "1.png"]}
    if suffix == ".csv":
        columns = {"source_1": "2.png", "source_2": "0.png", "source_3": "1.png"}
    write_manifest(tmp_path / f"list{suffix}", [columns | {"target": "b.png", "name": "x"}])
    a, b, name = PairFolder(tmp_path / f"list{suffix}", val_split="train").open("train")[0]
    assert name == "x"
    np.testing.assert_array_equal(a, np.dstack([planes[2], planes[0], planes[1]]))
    np.testing.assert_array_equal(b, draw("x", "B"))


def test_only_files_that_are_alike_are_stacked():
    numbers = np.random.default_rng(0).integers(0, 2**16, (4, 6, 2), dtype=np.uint16)
    first = FileImage(pixels=numbers, nodata=7, scale=0.5, is_colour=False)
    stacked = stack_images([first, replace(first, pixels=numbers[..., :1]), first])
    np.testing.assert_array_equal(stacked.pixels, numbers[..., [0, 1, 0, 0, 1]])
    assert (stacked.nodata, stacked.scale, stacked.is_colour) == (7, 0.5, False)
    twelve = ImageHeader(
        format="tiff", width=6, height=4, channels=2, dtype="uint16", max_level=4095, photometric="bands"
    )
    header = stack_headers([twelve, replace(twelve, max_level=65535)])
    assert (header.channels, header.max_level) == (4, 65535)  # the range of all channels
    palette = np.arange(9, dtype=np.uint8).reshape(3, 3)
    indexed = FileImage(pixels=(numbers[..., :1] % 3).astype(np.uint8), palette=palette)
    np.testing.assert_array_equal(stack_images([indexed, indexed]).pixels[..., 3:], palette[numbers[..., 0] % 3])
    for change in (
        {"pixels": numbers[:2]},
        {"alpha": numbers[..., 0]},
    ):
        with pytest.raises(UserError, match=r"make them alike|without alpha"):
            stack_images([first, replace(first, **change)])


def test_files_that_differ_in_type_or_scale_are_stacked_as_physical_values():
    numbers = np.array([[[7, 8], [9, 7]]], np.uint16)
    first = FileImage(pixels=numbers, nodata=7, scale=0.5, offset=-1, is_colour=False)
    header = ImageHeader(
        format="tiff",
        width=2,
        height=1,
        channels=2,
        dtype="uint16",
        photometric="bands",
        nodata=7,
        scale=0.5,
        offset=-1,
    )
    for change, values in (
        ({"pixels": np.full((1, 2, 1), -3.25, np.float32), "nodata": None, "scale": 1.0, "offset": 0.0}, -3.25),
        ({"pixels": np.full((1, 2, 1), 200, np.uint8)}, 99),
        ({"scale": 1.0, "pixels": np.full((1, 2, 1), 9, np.uint16)}, 8),
        ({"nodata": None, "pixels": np.full((1, 2, 1), 7, np.uint16)}, 2.5),
    ):
        second = replace(first, **change)
        stacked = stack_images([first, second])
        expected = [[[np.nan, 3, values], [3.5, np.nan, values]]]
        np.testing.assert_array_equal(stacked.pixels, np.array(expected, np.float32), strict=True)
        assert (stacked.nodata, stacked.scale, stacked.offset, stacked.is_colour) == (None, 1, 0, False)
        others = {key: value for key, value in change.items() if key != "pixels"}
        stack = stack_headers([header, replace(header, channels=1, dtype=second.pixels.dtype.name, **others)])
        assert (stack.pixel_dtype, stack.pixel_channels, stack.nodata, stack.scale) == ("float32", 3, None, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source,target\na.png,\n", r"line 2 has an empty target"),
        ("source,target\n\na.png,none.png\n", r"1 files .*line 3: none\.png"),
        ("source,goal\na.png,a.png\n", r"line 1 has the column goal"),
        ("source\na.png\n", r"no target"),
        ("source,target,split\na.png,a.png,train\na.png,a.png,tset\n", r"line 3 has the split tset"),
        ("source,target,split\na.png,a.png,train\na.png,a.png,\n", r"line 3 has no split"),
        ("source,target\na.png,a.png,train\n", r"line 2 has 3 values for 2 columns"),
        ("source_1,source_3,target\na.png,a.png,a.png\n", r"source_1, source_3 do not count"),
        ("source,source_1,target\na.png,a.png,a.png\n", r"source and source_1"),
        ("source,target,name\na.png,a.png,../x\n", r"line 2: name=\.\./x"),
        ("source,target\n", r"has no rows"),
        ('{"source": "a.png", "target": 5}', r"line 1: target=5"),
        (
            '{"source": "a.png", "target": "a.png"}\n{"source": ["a.png", "a.png"], "target": "a.png"}',
            r"line 2: 2 sour",
        ),
        ('{"source": "a.png", "target": "a.png"}\n[]', r"line 2 is no JSON object"),
        ('{"source": "a.png", "target": "a.png"}\n{', r"line 2 is no JSON: "),
    ],
)
def test_rows_that_cannot_be_used_are_named_with_their_number(tmp_path, text, message):
    save(tmp_path / "a.png", encode(draw("x", "A")))
    path = tmp_path / ("list.jsonl" if text[0] == "{" else "list.csv")
    path.write_text(text)
    with pytest.raises(UserError, match=message) as raised:
        PairFolder(path).open("train")
    assert "\n" not in str(raised.value)


def test_missing_files_of_a_manifest_may_be_skipped(tmp_path, caplog):
    save_sides(tmp_path, "A/{}", "B/{}")
    rows = [{"source": f"A/{name}.png", "target": f"B/{name}.png"} for name in (*NAMES, "gone")]
    write_manifest(tmp_path / "list.csv", [row | {"split": split} for row in rows for split in ("train", "val")])
    data = PairedDataModule(tmp_path / "list.csv", size=4, num_workers=0, on_error="skip")
    data.setup("fit")
    assert [batch["name"][0] for batch in data.val_dataloader()] == ["A/one", "A/two", "A/3"]
    assert any("line 8: A/gone.png" in record.getMessage() for record in caplog.records)


def test_stacked_files_and_masks_of_other_sizes_are_found_by_the_check(tmp_path):
    save_sides(tmp_path, "A/{}", "B/{}")
    for name, width in (("1", 4), ("2", 4), ("3", 4), ("wide", 6)):
        save(tmp_path / f"{name}.png", cv2.imencode(".png", draw(name, "A", width)[..., 0])[1].tobytes())
    good = {"source_1": "1.png", "source_2": "2.png", "source_3": "3.png", "target": "B/3.png"}
    write_manifest(tmp_path / "good.csv", [good, good | {"source_1": "3.png"}])
    PairedDataModule(tmp_path / "good.csv", size=4, num_workers=0, check="full").setup("fit")
    two = {key: value for key, value in good.items() if key != "source_3"}
    write_manifest(tmp_path / "two.csv", [two, two])  # channels that are no colours
    with pytest.raises(UserError, match=r"1\.png \+ .*2\.png, data\.a: .*data\.a\.kind=raw"):
        PairedDataModule(tmp_path / "two.csv", size=4, num_workers=0, a={"kind": "rgb"}).setup("fit")
    for number, change in enumerate(({"source_2": "wide.png"}, {"mask": "wide.png"})):
        write_manifest(tmp_path / f"{number}.csv", [good, good | change])
        with pytest.raises(UserError, match=r"differ: .* is 4 x 4 .*wide\.png is 6 x 4"):
            PairedDataModule(tmp_path / f"{number}.csv", size=4, num_workers=0).setup("fit")


def build_table(names=NAMES, columns=("source", "target")):
    pa = pytest.importorskip("pyarrow")
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    arrays = {
        column: pa.array([{"bytes": encode(draw(name, side)), "path": None} for name in names], kind)
        for column, side in zip(columns, "AB", strict=True)
    }
    return pa.table({"prompt": pa.array(["text"] * len(names)), **arrays})


@pytest.mark.parametrize("layout", ["file", "data/train-*", "train/*", "save_to_disk", "DatasetDict"])
def test_hugging_face_data_sets(tmp_path, layout):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    root = tmp_path / "set"
    table = build_table(columns=("input_image", "edited_image"))
    parts = [table.slice(0, 2), table.slice(2)]
    folder = root / {"data/train-*": "data", "file": "", "save_to_disk": ""}.get(layout, "train")
    folder.mkdir(parents=True)
    if layout in ("save_to_disk", "DatasetDict"):
        files = [f"data-{number:05}-of-00002.arrow" for number in range(2)]
        for file, part in zip(files, parts, strict=True):
            with pa.OSFile(str(folder / file), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(part, max_chunksize=1)
        (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": file} for file in files]}))
        if layout == "DatasetDict":
            (root / "dataset_dict.json").write_text('{"splits": ["train"]}')
    else:
        for number, part in enumerate(parts):
            name = f"train-{number:05}-of-00002.parquet" if layout.startswith("data") else f"{number:04}.parquet"
            pq.write_table(part, folder / name, row_group_size=1)
    if layout == "file":
        pq.write_table(table, root := tmp_path / "set.parquet")
    flat = layout in ("file", "save_to_disk")
    for _ in range(2):  # the second time from a copy
        found = PairFolder(root, val_split="train") if flat else PairFolder(root)
        pairs = found.open("train")
        for index, name in enumerate(NAMES):
            a, b, number = pairs[index]
            assert int(number) == index
            np.testing.assert_array_equal(a, draw(name, "A"))
            np.testing.assert_array_equal(b, draw(name, "B"))
        assert found.found["layout"] == "huggingface"
        assert "edited_image" in found.found["b"]
    sizes = [len(encode(draw(name, "A"))) for name in NAMES]
    assert [row[1] for row in pairs.compute_fingerprints()] == sizes
    data = PairedDataModule(root, size=4, val_split="train", check="full", num_workers=0, jitter=False)
    data.setup("fit")
    assert len(data.val_dataloader()) == 3


def test_columns_of_a_hugging_face_data_set(tmp_path):
    pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    table = build_table(columns=("target", "source"))  # in the table's order B comes first
    pq.write_table(table, tmp_path / "validation.parquet")
    swapped = PairFolder(tmp_path).open("val")
    np.testing.assert_array_equal(swapped[0][1], draw("one", "A"))
    three = table.append_column("third", table.column("source"))
    (tmp_path / "three").mkdir()
    pq.write_table(three, tmp_path / "three" / "train.parquet")
    with pytest.raises(UserError, match=r"3 columns of images.*data\.columns=\[target,source\].*prompt \(string\)"):
        PairFolder(tmp_path / "three").open("train")
    chosen = PairFolder(tmp_path / "three", columns=["target", "third", "source"]).open("train")
    np.testing.assert_array_equal(chosen[0][1], draw("one", "B"))
    np.testing.assert_array_equal(chosen.read_mask(0), (draw("one", "B") != 0).any(2))
    for columns in (["target", "prompt"], ["target", "none"]):
        with pytest.raises(UserError, match=r"data\.columns=.*third \(image\)"):
            PairFolder(tmp_path / "three", columns=columns).open("train")
    with pytest.raises(UserError, match="splits are train"):
        PairFolder(tmp_path / "three", columns=["target", "third"]).open("val")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"bad\.parquet is no Parquet"):
        PairFolder(tmp_path / "bad.parquet").open("train")


@pytest.mark.parametrize(
    ("root", "options", "message"),
    [
        ("pairs", {"layout": "zip"}, r"data\.layout=zip.*\.zip"),
        ("pairs", {"layout": "lmdb"}, r"data\.layout=lmdb.*data\.mdb"),
        ("pairs", {"layout": "manifest"}, r"data\.layout=manifest.*manifest\.csv"),
        ("pairs", {"layout": "huggingface"}, r"no Parquet files"),
        ("pairs", {"columns": ["A", "B"]}, r"data\.columns=\['A', 'B'\] has no effect"),
        ("pairs/list.csv", {"names": ["A", "B"]}, r"data\.names=.* has no effect"),
        ("pairs/list.csv", {"layout": "folders"}, r"data\.layout=folders.*manifest"),
        ("pairs/x.txt", {}, r"x\.txt is a file.*\.zip"),
    ],
)
def test_what_does_not_fit_the_root_is_refused(tmp_path, root, options, message):
    save_sides(tmp_path, "pairs/A/{}", "pairs/B/{}")
    write_manifest(tmp_path / "pairs/list.csv", [{"source": "A/one.png", "target": "B/one.png"}])
    (tmp_path / "pairs/x.txt").touch()
    with pytest.raises(UserError, match=message):
        PairFolder(tmp_path / root, **options).open("train")
    assert isinstance(PairFolder(tmp_path / Path(root).parent).is_flat(), bool)
