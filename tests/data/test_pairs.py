"""The layouts of folders of pairs, and the errors for folders without pairs."""

import logging
import os

import numpy as np
import pytest
from PIL import Image

from pix2pix_lightning.data import FilePairs, StripPairs, open_pairs
from pix2pix_lightning.data.layouts.pairing import pair_folders
from pix2pix_lightning.data.sides import build_side

LAYOUTS = {
    "split/A split/B": ("train/A", "train/B"),
    "A/split B/split": ("A/train", "B/train"),
    "splitA splitB": ("trainA", "trainB"),
}


def image(seed, height=8, width=8):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def test_each_split_has_its_own_files(tmp_path):
    save(tmp_path / "train" / "x.png", image(0, 8, 16))
    save(tmp_path / "val" / "y.png", image(1, 8, 16))
    assert open_pairs(tmp_path, "val")[0][2] == "y"


def test_files_without_a_partner_are_left_out_and_listed(tmp_path, caplog):
    for name in ("both", "only_a"):
        save(tmp_path / "train/A" / f"{name}.png", image(0))
    for name in ("both", "only_b", "other_b"):
        save(tmp_path / "train/B" / f"{name}.png", image(1))
    with caplog.at_level(logging.WARNING):
        pairs = open_pairs(tmp_path, "train")
    assert [name for *_, name in (pairs[0],)] == ["both"]
    assert len(pairs) == 1
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "3 files" in record.getMessage()
    for path in ("A/only_a.png", "B/only_b.png", "B/other_b.png"):
        assert path in record.getMessage()
    assert "both" not in record.getMessage()


def test_many_files_without_a_partner_are_counted(tmp_path, caplog):
    save(tmp_path / "B" / "00.png", image(0))
    for index in range(15):
        save(tmp_path / "A" / f"{index:02}.png", image(0))
    pair_folders(tmp_path / "A", tmp_path / "B")
    assert "14 files" in caplog.text
    assert "10.png" in caplog.text
    assert "11.png" not in caplog.text


def test_folders_without_a_common_stem_are_refused(tmp_path):
    save(tmp_path / "trainA" / "1_photo.png", image(0))
    save(tmp_path / "trainB" / "1_label.png", image(0))
    with pytest.raises(ValueError, match=r"1_photo\.png.*1_label\.png"):
        open_pairs(tmp_path, "train")


def test_two_files_with_one_stem_are_refused(tmp_path):
    for name in ("A/x.png", "A/x.bmp", "A/y.png", "B/x.png", "B/y.png"):
        save(tmp_path / "train" / name, image(0))
    with pytest.raises(ValueError, match=r"train/A .* x:"):
        open_pairs(tmp_path, "train")


def test_a_strip_of_odd_width_is_refused(tmp_path):
    save(tmp_path / "train" / "odd.png", image(0, 8, 15))
    with pytest.raises(ValueError, match=r"train/odd\.png is 15 .*train/A and .*train/B"):
        open_pairs(tmp_path, "train")[0]


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "A").mkdir()
    (tmp_path / "A" / "x.png").write_text("text")
    save(tmp_path / "B" / "x.png", image(0))
    with pytest.raises(ValueError, match=r"A/x\.png"):
        pair_folders(tmp_path / "A", tmp_path / "B").pairs[0]
    with pytest.raises(ValueError, match=r"A/x\.png"):
        StripPairs([tmp_path / "A" / "x.png"])[0]


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ([], r"/train .*train/A and .*train/B"),
        (["train"], r"/train: .*\.png"),
        (["train/A"], r"/train/B .*/train/A"),
        (["B/train"], r"/A/train .*/B/train"),
        (["trainA"], r"/trainB .*/trainA"),
        (["train/A", "train/B"], r"/train/A: "),
    ],
)
def test_missing_and_empty_folders_are_named(tmp_path, folders, message):
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(ValueError, match=message) as raised:
        open_pairs(tmp_path, "train")
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_one_empty_folder_of_two_is_named(tmp_path):
    save(tmp_path / "train/A" / "x.png", image(0))
    (tmp_path / "train/B").mkdir()
    with pytest.raises(ValueError, match=r"/train/B: "):
        open_pairs(tmp_path, "train")


@pytest.mark.parametrize("layout", ["strips", "folders"])
def test_fingerprints_change_with_the_files_and_not_with_their_folder(tmp_path, layout):
    def compute(root):
        return open_pairs(root, "train").compute_fingerprints()

    sides = [""] if layout == "strips" else ["A", "B"]
    for side in sides:
        for name in ("x", "y"):
            save(tmp_path / "here" / "train" / side / f"{name}.bmp", image(1))
    before = compute(tmp_path / "here")
    assert len(before) == 2
    (tmp_path / "here").rename(tmp_path / "there")
    assert compute(tmp_path / "there") == before
    last = tmp_path / "there" / "train" / sides[-1] / "y.bmp"
    os.utime(last, ns=(0, last.stat().st_mtime_ns + 1))
    assert [one == other for one, other in zip(compute(tmp_path / "there"), before, strict=True)] == [True, False]
    before = compute(tmp_path / "there")
    times = last.stat().st_mtime_ns
    save(last, image(1, 8, 10))
    os.utime(last, ns=(0, times))
    assert [one == other for one, other in zip(compute(tmp_path / "there"), before, strict=True)] == [True, False]


def test_each_side_takes_what_it_needs_of_a_file(tmp_path):
    rgba = np.dstack([image(0, 8, 16), image(1, 8, 16)[..., :1]])
    save(tmp_path / "train" / "clear.png", rgba)
    pairs = open_pairs(tmp_path, "train")
    pairs.sides = build_side(background=(0, 0, 0)), build_side()
    a, b, _ = pairs[0]
    shares = rgba[..., 3:].astype(int)
    expected = (rgba[..., :3] * shares + [[[0]] * 8 + [[255]] * 8] * (255 - shares)) / 255
    assert abs(np.hstack([a, b]) - expected).max() <= 0.5
    pairs.sides = build_side(), build_side(alpha="error")
    with pytest.raises(ValueError, match=r"clear\.png, data\.b: .*alpha=composite"):
        pairs[0]


@pytest.mark.parametrize("layout", ["strips", "folders"])
def test_a_palette_gives_numbers_to_one_side_and_colours_to_the_other(tmp_path, layout):
    numbers = image(0, 8, 16)[..., 0] % 3
    colours = np.array([[9, 8, 7], [200, 10, 3], [0, 250, 77]], np.uint8)
    strip = Image.fromarray(numbers, "P")
    strip.putpalette(colours.ravel().tolist())
    boxes = {"train/x.png": (0, 0, 16, 8)} if layout == "strips" else {
        "train/A/x.png": (0, 0, 8, 8), "train/B/x.png": (8, 0, 16, 8)
    }  # fmt: skip
    for name, box in boxes.items():
        (tmp_path / name).parent.mkdir(parents=True)
        strip.crop(box).save(tmp_path / name)
    pairs = open_pairs(tmp_path, "train")
    pairs.sides = build_side(), build_side(kind="label", num_classes=3)
    a, b, _ = pairs[0]
    np.testing.assert_array_equal(a, colours[numbers[:, :8]])
    np.testing.assert_array_equal(b[..., 0], numbers[:, 8:])


@pytest.mark.parametrize("layout", ["strips", *LAYOUTS])
def test_images_in_folders_below_are_used_and_named_by_their_path(tmp_path, layout):
    names = ["day/2/one", "day/one", "one", "zwölf.x"]
    for index, name in enumerate(names):
        a, b = image(index), image(100 + index)
        if layout == "strips":
            save(tmp_path / "train" / f"{name}.png", np.hstack([a, b]))
        else:
            folder_a, folder_b = LAYOUTS[layout]
            save(tmp_path / folder_a / f"{name}.png", a)
            save(tmp_path / folder_b / f"{name}.bmp", b)
    for side in ("train",) if layout == "strips" else LAYOUTS[layout]:
        for folder in (".hidden", "@eaDir/one.png", "day/__MACOSX"):  # which Synology and macOS write
            save(tmp_path / side / folder / "one.png", image(7))
        (tmp_path / side / "._one.png").write_bytes(b"\0\5\26\7")
    pairs = open_pairs(tmp_path, "train")
    assert [pairs[index][2] for index in range(len(pairs))] == names
    for index in range(4):
        np.testing.assert_array_equal(pairs[index][0], image(index))
        np.testing.assert_array_equal(pairs[index][1], image(100 + index))
    assert [row[0] for row in pairs.compute_fingerprints()] == [f"{name}.png" for name in names]


def test_links_to_folders_are_followed_but_not_in_a_circle(tmp_path):
    save(tmp_path / "elsewhere" / "x.png", image(0, 8, 16))
    (tmp_path / "root" / "train").mkdir(parents=True)
    (tmp_path / "root" / "train" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "root" / "train")
    pairs = open_pairs(tmp_path / "root", "train")
    assert [pairs[index][2] for index in range(len(pairs))] == ["link/x"]


def test_two_folders_of_equal_names_are_not_taken_as_strips(tmp_path):
    for folder in ("left", "right"):
        for name in ("x", "y"):
            save(tmp_path / "train" / folder / f"{name}.png", image(0, 8, 16))
    with pytest.raises(ValueError, match=r"left, right .*data\.names=\[left,right\].*data\.layout=strip"):
        open_pairs(tmp_path, "train")
    assert len(open_pairs(tmp_path, "train", "strip")) == 4
    save(tmp_path / "train" / "z.png", image(0, 8, 16))  # strips among them
    assert len(open_pairs(tmp_path, "train")) == 5


def test_a_layout_may_be_asked_for(tmp_path):
    for side in ("A", "B"):
        save(tmp_path / "train" / side / "x.png", image(0, 8, 16))
    assert isinstance(open_pairs(tmp_path, "train", "folders"), FilePairs)
    strips = open_pairs(tmp_path, "train", "strip")
    assert [strips[index][2] for index in range(len(strips))] == ["A/x", "B/x"]
    save(tmp_path / "val" / "x.png", image(0, 8, 16))
    with pytest.raises(ValueError, match=r"val/A and .*val/B.*data\.layout=strip"):
        open_pairs(tmp_path, "val", "folders")


def test_what_is_passed_over_is_named(tmp_path, caplog):
    for folder in ("train/A", "train/B", "train/C", "train", "trainA", "trainB"):
        save(tmp_path / folder / "x.png", image(0))
    (tmp_path / "train/A" / "y.gif").write_bytes(b"GIF89a")
    (tmp_path / "train/A" / "notes.txt").write_text("text")
    open_pairs(tmp_path, "train")
    lines = [record.getMessage() for record in caplog.records]
    folders = [line.partition(" is passed over")[0] for line in lines if "is passed over" in line]
    assert sorted(folders) == [str(tmp_path / folder) for folder in ("train", "train/C", "trainA", "trainB")]
    (other,) = [line for line in lines if "is passed over" not in line]
    assert ".gif" in other
    assert "1 file" in other


def test_names_of_two_unicode_forms_match(tmp_path):
    """macOS writes an accent as a character of its own."""
    save(tmp_path / "train" / "A" / "\N{LATIN SMALL LETTER E WITH ACUTE}.png", image(0))
    save(tmp_path / "train" / "B" / "e\N{COMBINING ACUTE ACCENT}.png", image(1))
    pairs = open_pairs(tmp_path, "train")
    np.testing.assert_array_equal(pairs[0][1], image(1))
    assert pairs[0][2] == "\N{LATIN SMALL LETTER E WITH ACUTE}"


@pytest.mark.parametrize("target", ["gone.png", "y.png"])
def test_a_link_to_nothing_counts_as_a_file(tmp_path, target):
    save(tmp_path / "train" / "x.png", image(0, 8, 16))
    (tmp_path / "train" / "y.png").symlink_to(target)
    pairs = open_pairs(tmp_path, "train")
    assert [pairs.get_name(index) for index in range(len(pairs))] == ["x", "y"]
    assert len(pairs.compute_fingerprints()) == 2
    with pytest.raises(OSError, match=r"y\.png"):
        pairs[1]


def test_strips_of_one_name_are_a_warning(tmp_path, caplog):
    for name in ("x.png", "x.bmp", "sub/x.png", "z.png"):
        save(tmp_path / "train" / name, image(0, 8, 16))
    assert len(open_pairs(tmp_path, "train")) == 4
    assert [record.getMessage().endswith(": x") for record in caplog.records] == [True]


def test_folders_of_sides_next_to_strips_are_no_strips(tmp_path, caplog):
    for name in ("A/x", "B/x"):
        save(tmp_path / "train" / f"{name}.png", image(0, 8, 8))
    assert len(open_pairs(tmp_path, "train", "strip")) == 2  # folders may have any name
    save(tmp_path / "train" / "y.png", image(0, 8, 16))
    pairs = open_pairs(tmp_path, "train", "strip")
    assert [pairs.get_name(index) for index in range(len(pairs))] == ["y"]
    assert "2 images in its folders A and B" in caplog.text
