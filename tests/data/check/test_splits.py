"""What the check finds in a data set, how it says it, and which pairs are left out."""

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pix2pix_lightning.data import PairedDataModule
from pix2pix_lightning.data.check import header_cache
from pix2pix_lightning.data.check import splits as check
from pix2pix_lightning.data.check.findings import BadPair, Findings
from pix2pix_lightning.utils.errors import UserError


def noise(seed, height=16, width=16):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def save_pairs(root, a=noise, b=noise, num=3, splits=("train", "val"), **options):
    """Two folders of pairs; ``a`` and ``b`` draw an image from its number."""
    for start, split in enumerate(splits):
        for index in range(num):
            number = 100 * start + index
            save(root / split / "A" / f"{split}{index}.png", a(number), **options)
            save(root / split / "B" / f"{split}{index}.png", b(number + 1000))


def save_strips(root, height=16, width=32, num=3):
    for start, split in enumerate(("train", "val")):
        for index in range(num):
            save(root / split / f"{split}{index}.png", noise(100 * start + index, height, width))


def set_up(root, **options):
    data = PairedDataModule(root, size=16, num_workers=0, jitter=False, mirror=False, **options)
    data.setup("fit")
    return data


def list_names(data):
    return [
        sorted(name for batch in loader for name in batch["name"])
        for loader in (data.train_dataloader(), data.val_dataloader())
    ]


@pytest.mark.parametrize("mode", ["quick", "full"])
def test_sound_pairs_pass_without_a_word(tmp_path, caplog, mode):
    mask = [[0, 0, 0], [255, 255, 255]]
    save_pairs(tmp_path / "folders", b=lambda number: (noise(number)[..., 0] > 127).astype(np.uint8) * 255)
    save_pairs(tmp_path / "scaled", b=lambda number: noise(number, 33, 33))
    save_strips(tmp_path / "strips")
    set_up(tmp_path / "folders", check=mode, b={"kind": "label", "palette": mask})
    set_up(tmp_path / "scaled", check=mode)
    set_up(tmp_path / "strips", check=mode)
    assert not caplog.records
    assert sorted(path.name for path in (tmp_path / "strips").iterdir()) == ["train", "val"]


@pytest.mark.parametrize(
    ("size_a", "size_b", "fits"),
    [
        ((75, 100), (75, 100), True),
        ((46, 149), (23, 74), True),  # rounded
        ((16, 16), (5, 5), True),
        ((9, 16), (16, 9), False),
        ((16, 16), (16, 17), True),
        ((75, 100), (75, 104), False),
        ((64, 64), (48, 64), False),
    ],
)
def test_a_and_b_need_one_shape(tmp_path, size_a, size_b, fits):
    for split in ("train", "val"):
        for side, size in (("A", size_a), ("B", size_b)):
            save(tmp_path / split / side / f"{split}.png", noise(ord(side) + len(split), *size))
    if fits:
        set_up(tmp_path)
        return
    with pytest.raises(UserError, match=rf"2 of 2 pairs .*A/train\.png is {size_a[1]} x {size_a[0]} .*B/train\.png"):
        set_up(tmp_path)
    set_up(tmp_path, check="off")


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize(
    ("orientation", "size_a", "size_b", "result"),
    [
        (6, (8, 12), (8, 12), "error"),  # B was made from the pixels as stored
        (6, (8, 12), (12, 8), "fits"),
        (6, (12, 12), (12, 12), "warning"),  # the shape does not tell
        (3, (8, 12), (8, 12), "warning"),
        (1, (8, 12), (8, 12), "fits"),
    ],
)
def test_a_side_that_exif_turns(tmp_path, caplog, orientation, size_a, size_b, result):
    save_pairs(tmp_path, lambda n: noise(n, *size_a), lambda n: noise(n, *size_b), exif=exif(orientation))
    if result == "error":
        with pytest.raises(UserError, match=r"EXIF orientation 6"):
            set_up(tmp_path)
        return
    set_up(tmp_path)
    assert ("EXIF" in caplog.text) == (result == "warning")


@pytest.mark.parametrize(
    ("height", "width", "is_strip"),
    [(256, 512, True), (600, 1200, True), (100, 202, True), (96, 96, False), (64, 192, False), (400, 1200, False)],
)
def test_files_that_are_not_twice_as_wide_as_high_are_asked_about(tmp_path, height, width, is_strip):
    save_strips(tmp_path, height // 4, width // 4 // 2 * 2, num=1)
    if is_strip:
        set_up(tmp_path)
        return
    with pytest.raises(UserError, match=r"train0\.png.*data\.layout=strip"):
        set_up(tmp_path)
    assert list_names(set_up(tmp_path, layout="strip")) == [["train0"], ["val0"]]


def test_a_strip_of_odd_width_is_refused_in_any_layout(tmp_path):
    save_strips(tmp_path)
    save(tmp_path / "train" / "odd.png", noise(7, 16, 33))
    for layout in ("auto", "strip"):
        with pytest.raises(UserError, match=r"odd\.png is 33"):
            set_up(tmp_path, layout=layout)


def test_a_single_photo_among_wide_strips_is_named(tmp_path, caplog):
    save_strips(tmp_path, 16, 48, num=12)
    save(tmp_path / "train" / "photo.png", noise(7, 16, 24))
    set_up(tmp_path, layout="strip")
    assert "photo.png" in caplog.text
    assert "train0.png" not in caplog.text


def test_many_bad_pairs_are_counted_and_listed_in_a_file(tmp_path, caplog):
    save_pairs(tmp_path, b=lambda number: noise(number, 16, 24), num=7)
    with pytest.raises(UserError, match=r"14 of 14 pairs") as raised:
        set_up(tmp_path)
    assert "\n" not in str(raised.value)
    assert len(caplog.records) == 11
    (listed,) = (tmp_path / ".pix2pix_cache").iterdir()
    assert str(listed) in str(raised.value)
    lines = listed.read_text().splitlines()
    assert len(lines) == 14
    assert all(f"val{index}.png" in lines[7 + index] for index in range(7))


def test_skip_trains_without_the_bad_pairs(tmp_path, caplog):
    save_pairs(tmp_path)
    (tmp_path / "train" / "A" / "train1.png").write_text("text")
    save(tmp_path / "val" / "B" / "val0.png", noise(0, 16, 24))
    with pytest.raises(UserError, match=r"train1\.png.*data\.on_error=skip"):
        set_up(tmp_path)
    caplog.clear()
    assert list_names(set_up(tmp_path, on_error="skip", cache=tmp_path / "cache")) == [
        ["train0", "train2"],
        ["val1", "val2"],
    ]
    assert "2 of 6 pairs are left out: train1, val0" in caplog.text
    # an evaluation has the same pairs
    data = PairedDataModule(tmp_path, size=16, num_workers=0, on_error="skip")
    data.setup("validate")
    assert [name for batch in data.val_dataloader() for name in batch["name"]] == ["val1", "val2"]


def test_a_split_without_a_good_pair_is_an_error_with_skip_too(tmp_path):
    save_pairs(tmp_path)
    for index in range(3):
        (tmp_path / "val" / "A" / f"val{index}.png").write_text("text")
    with pytest.raises(UserError, match="no pair of val is left"):
        set_up(tmp_path, on_error="skip")


def test_full_finds_what_headers_do_not_tell(tmp_path, caplog):
    save_pairs(tmp_path, num=40, splits=("train",))
    save_pairs(tmp_path, num=1, splits=("val",), a=lambda _: noise(77))
    path = tmp_path / "train" / "A" / "train17.png"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255  # the checksum of the pixels is wrong, and the header is sound
    path.write_bytes(content)
    set_up(tmp_path)
    assert not caplog.records
    with pytest.raises(UserError, match=r"train17\.png"):
        set_up(tmp_path, check="full")


def test_full_is_remembered_and_its_memory_may_be_damaged(tmp_path, monkeypatch):
    monkeypatch.setattr(check, "_LEAST_REMEMBERED", 1)
    save_pairs(tmp_path)
    (tmp_path / "train" / "A" / "train1.png").write_text("text")
    examined = []
    examine = check.examine_pair
    monkeypatch.setattr(check, "examine_pair", lambda *args: examined.append(args[2]) or examine(*args))
    options = {"check": "full", "on_error": "skip"}
    set_up(tmp_path, **options)
    assert sorted(examined) == ["train0", "train2", "val0", "val1", "val2"]
    memory = tmp_path / ".pix2pix_cache" / "check_full.json"
    saved = json.loads(memory.read_text())
    contents = [{}, {**saved["contents"], "train": saved["contents"]["train"][:1]}]
    contents += [
        {**saved["contents"], "train": [row] * 2}
        for row in (
            [1, None, None, None],
            ["x", 1, None, None],
            ["x", None, [True, "2", [], False], None],
            ["x", None, [True, 2, [[{}]], False], None],
            ["x", None, [True, 2, [], 0], None],
            ["x", None, [1]],
        )
    ]
    damaged = [json.dumps({**saved, "contents": content}) for content in contents]
    for content in (None, "{}", "text", "[" * 10**5, *damaged):
        del examined[:]
        if content is not None:
            memory.write_text(content)
        set_up(tmp_path, **options)
        assert len(examined) == (0 if content is None else 5)
    del examined[:]
    os.utime(tmp_path / "val" / "A" / "val0.png", ns=(0, 0))
    set_up(tmp_path, **options)
    assert len(examined) == 5


def test_copies_of_training_pairs_are_named(tmp_path, caplog):
    save_pairs(tmp_path)
    for side in ("A", "B"):
        content = (tmp_path / "train" / side / "train2.png").read_bytes()
        (tmp_path / "val" / side / "val1.png").write_bytes(content)
    content = (tmp_path / "train" / "B" / "train0.png").read_bytes()  # B alone: an empty mask is no copy
    (tmp_path / "val" / "B" / "val2.png").write_bytes(content)
    set_up(tmp_path)
    assert "1 of 3 pairs of val" in caplog.text
    assert "val1.png" in caplog.text
    assert "val2.png" not in caplog.text
    caplog.clear()
    set_up(tmp_path, val_split="train")  # the same files, which the user has asked for
    assert not caplog.records


def test_a_split_that_is_validated_on_itself_is_not_compared(tmp_path, monkeypatch):
    save_pairs(tmp_path)
    compared = []
    monkeypatch.setattr(header_cache.HeaderCache, "compute_checksums", lambda *args: compared.append(args))
    set_up(tmp_path, val_split="train")
    assert not compared


def test_equal_parts_of_unequal_files_are_no_copies(tmp_path, caplog):
    def draw(number):
        image = np.zeros((200, 400, 3), np.uint8)
        image[40, 7] = number + 1
        return image

    for split, start in (("train", 0), ("val", 10)):
        for index in range(2):
            (tmp_path / split).mkdir(exist_ok=True)
            Image.fromarray(draw(start + index)).save(tmp_path / split / f"{split}{index}.bmp")
    set_up(tmp_path)
    assert "copies" not in caplog.text


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ([0, 1, 2], "num_classes=3"),
        ([0, 1], "num_classes=2"),
        ([0, 7, 11, 33, 255], "num_classes=34 data.a.ignore_index=255"),
        (list(range(0, 150, 2)), None),  # 75 levels in a picture: more than class maps have
        ([0, 255], None),
        ([0, 85, 170, 255], None),
        (list(range(256)), None),
    ],
)
@pytest.mark.parametrize("kind", ["rgb", "grayscale"])
def test_class_numbers_read_as_a_picture_are_a_warning(tmp_path, caplog, levels, words, kind):
    def draw(number):
        return np.random.default_rng(number).choice(levels, (24, 24)).astype(np.uint8)

    save_pairs(tmp_path, a=draw, b=lambda number: noise(number, 24, 24))
    set_up(tmp_path, a={"kind": kind})
    if words is None:
        assert not caplog.records
    else:
        assert f"data.a.kind=label data.a.{words};" in caplog.text
        assert "data.b" not in caplog.text


def test_the_advice_for_class_numbers_of_b_names_the_number_of_no_class(tmp_path, caplog):
    save_pairs(tmp_path, b=lambda number: np.random.default_rng(number).choice([0, 1, 255], (16, 16)).astype(np.uint8))
    set_up(tmp_path, b={"kind": "grayscale"})
    assert "data.b.kind=label data.b.num_classes=2 data.b.ignore_index=255;" in caplog.text


def test_label_images_without_any_class_are_a_warning(tmp_path, caplog):
    save_pairs(tmp_path, b=lambda number: np.where(noise(number)[..., 0] > 127, 1, 255).astype(np.uint8))
    label = {"kind": "label", "num_classes": 2, "ignore_index": 255}
    set_up(tmp_path, b=label)
    assert not caplog.records
    save(tmp_path / "val" / "B" / "val1.png", np.full((16, 16), 255, np.uint8))
    set_up(tmp_path, b=label)
    assert [record.getMessage().split(": ")[-1] for record in caplog.records] == ["val1"]


def test_single_colours_are_a_warning_but_not_for_classes(tmp_path, caplog):
    save_pairs(tmp_path, b=lambda number: np.full((16, 16, 3), 40 + number // 100, np.uint8))
    set_up(tmp_path)
    assert "data.b: 6 of 6 images" in caplog.text
    caplog.clear()
    set_up(tmp_path, b={"kind": "label", "num_classes": 60})
    assert not caplog.records


def test_class_numbers_in_jpeg_files_are_a_warning(tmp_path, caplog):
    save_pairs(tmp_path, b=lambda _: np.zeros((16, 16), np.uint8))
    save(tmp_path / "train" / "B" / "train1.jpg", np.zeros((16, 16), np.uint8))
    (tmp_path / "train" / "B" / "train1.png").unlink()
    set_up(tmp_path, b={"kind": "label", "num_classes": 2})
    assert [record.getMessage().count("train1.jpg") for record in caplog.records] == [1]
    caplog.clear()
    set_up(tmp_path, b={"kind": "label", "palette": [[0, 0, 0], [9, 9, 9]]})
    assert not caplog.records
    save_strips(tmp_path / "strips")
    for path in (tmp_path / "strips").glob("*/*.png"):
        save(path.with_suffix(".jpg"), np.zeros((16, 32), np.uint8))
        path.unlink()
    set_up(tmp_path / "strips", b={"kind": "label", "num_classes": 2}, a={"kind": "label", "num_classes": 3})
    assert sum(" as JPEG, " in line for line in caplog.messages) == 4


@pytest.mark.parametrize("side", [{"kind": "label"}, {"snap_palette": True}])
def test_a_colour_that_the_palette_lacks_is_a_warning(tmp_path, caplog, monkeypatch, side):
    palette = [[0, 0, 0], [255, 255, 255], [200, 0, 0]]

    def draw(number):
        labels = np.random.default_rng(number).integers(0, 2, (50, 50)) * 255
        image = np.repeat(labels[..., None], 3, 2).astype(np.uint8)
        image[0, :10] = 100  # smaller than a part of a class
        if number == 1001:
            image[:, :5] = palette[2]
        return image

    monkeypatch.setattr(check, "_LEAST_REMEMBERED", 0)
    save_pairs(tmp_path, b=draw, a=lambda number: noise(number, 50, 50))
    set_up(tmp_path, b={**side, "palette": palette}, check="full")
    assert not caplog.records
    for _ in ("found", "remembered"):
        caplog.clear()
        set_up(tmp_path, b={**side, "palette": palette[:2]}, check="full")
        [line] = caplog.messages
        assert "data.b: 1 of 6" in line
        assert "[200, 0, 0]" in line
        assert line.endswith("train1")


def test_wrong_labels_are_found_before_training(tmp_path):
    save_pairs(tmp_path, b=lambda _: np.full((16, 16), 7, np.uint8))
    with pytest.raises(UserError, match=r"6 of 6 pairs .*train0\.png, data\.b: .* 7 "):
        set_up(tmp_path, b={"kind": "label", "num_classes": 7})


def test_other_processes_do_not_repeat_it(tmp_path, caplog, monkeypatch):
    save_pairs(tmp_path, b=lambda number: noise(number, 16, 24) if number == 1001 else noise(number))
    monkeypatch.setenv("LOCAL_RANK", "1")
    with caplog.at_level(logging.INFO):
        assert len(list_names(set_up(tmp_path))[0]) == 3
        # which pairs are left out, each process has to know
        assert list_names(set_up(tmp_path, on_error="skip"))[0] == ["train0", "train2"]
    assert not caplog.records
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(UserError, match="train1"):
        set_up(tmp_path)


def test_a_list_is_written_where_the_folder_cannot_be(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    bad = [BadPair("train", index, str(index), f"pair {index} is bad") for index in range(12)]
    with pytest.raises(UserError, match=r"12 of 20 .*listed in (.*\.txt)") as raised:
        Findings({"train": 20}, bad).report(skip=False, folder=tmp_path / "file" / "x")
    path = Path(str(raised.value).rpartition("listed in ")[2])
    assert len(path.read_text().splitlines()) == 12
    path.unlink()


@pytest.mark.parametrize(("key", "value"), [("check", "fast"), ("layout", "strips"), ("on_error", "ignore")])
def test_unknown_choices_are_refused(key, value):
    with pytest.raises(UserError, match=rf"data\.{key}='{value}'"):
        PairedDataModule("pairs", **{key: value})


def test_headers_of_many_files_are_remembered_next_to_them(tmp_path, monkeypatch):
    monkeypatch.setattr(header_cache, "_LEAST_NEW", 4)
    save_pairs(tmp_path)
    set_up(tmp_path)
    names = sorted(path.name for path in (tmp_path / ".pix2pix_cache").iterdir())
    assert names == ["headers_train.npz", "headers_val.npz"]
    monkeypatch.setattr(header_cache, "parse_header", None)  # nothing is read again
    set_up(tmp_path)
