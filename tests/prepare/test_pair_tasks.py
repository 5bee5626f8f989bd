"""The tasks of prepare that write pairs, on pictures of a few pixels."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from pix2pix_lightning import compose
from pix2pix_lightning.data.edges import detect_edges
from pix2pix_lightning.data.holes import draw_hole
from pix2pix_lightning.data.pair_folder import PairFolder
from pix2pix_lightning.data.pairs import StripPairs
from pix2pix_lightning.prepare import __main__ as command
from pix2pix_lightning.prepare import write_pairs
from pix2pix_lightning.prepare.run_jobs import choose_num_workers
from pix2pix_lightning.utils.errors import Interrupted, UserError


def draw(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1])


def load(path):
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return image[..., None] if image.ndim == 2 else image[..., ::-1]


def run(*words):
    command.prepare(compose("prepare", list(words)))


def read_tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def pairs(tmp_path):
    """A and B with a split and a folder below it."""
    images = {}
    for seed, name in enumerate(("train/1", "train/more/2", "val/1")):
        for side, shift in (("A", 0), ("B", 10)):
            images[side, name] = draw(4, 6, seed=seed + shift)
            save(tmp_path / "pairs" / side / f"{name}.png", images[side, name])
    return images


def test_strips_of_folders_and_back_are_equal_bit_for_bit(pairs, tmp_path, capsys):
    run("task=combine", "input=pairs", "output=strips")
    for name in ("train/1", "train/more/2", "val/1"):
        strip = load(tmp_path / f"strips/{name}.png")
        assert (strip == np.hstack([pairs["A", name], pairs["B", name]])).all()
    assert isinstance(PairFolder(tmp_path / "strips").open("train"), StripPairs)
    run("task=split", "input=strips", "output=back")
    for (side, name), image in pairs.items():
        assert (load(tmp_path / f"back/{side}/{name}.png") == image).all()
    assert len(PairFolder(tmp_path / "back").open("train")) == 2
    report = json.loads((tmp_path / "back/prepare.json").read_text())
    assert (report["num_written"], report["skipped"], report["is_finished"]) == (3, [], True)
    assert "3 pairs" in capsys.readouterr().out


def test_folders_may_be_given_and_lie_in_splits(pairs, tmp_path):
    run("task=combine", "input=[pairs/A/train,pairs/B/train]", "output=one")
    assert (load(tmp_path / "one/1.png") == np.hstack([pairs["A", "train/1"], pairs["B", "train/1"]])).all()
    for side in "AB":
        (tmp_path / "other/train").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"pairs/{side}/train").rename(tmp_path / f"other/train/{side}")
    run("task=combine", "input=other", "output=two")
    assert sorted(read_tree(tmp_path / "two")) == ["prepare.json", "train/1.png", "train/more/2.png"]
    for words in (["input=[pairs]"], ["input=two"], ["input=nothing"], ["input=[pairs/A,pairs/B]", "output=pairs"]):
        with pytest.raises(UserError, match="input="):
            run("task=combine", "output=three", *words)
    assert not (tmp_path / "three").exists()


def test_what_cannot_be_combined_is_reported(pairs, tmp_path, capsys):
    save(tmp_path / "pairs/A/alone.png", draw(4, 6))
    save(tmp_path / "pairs/A/unequal.png", draw(4, 6))
    save(tmp_path / "pairs/B/unequal.png", draw(8, 6))
    for side in "AB":
        save(tmp_path / f"pairs/{side}/gray.png", draw(4, 6, 1))
        save(tmp_path / f"pairs/{side}/deep.png", draw(4, 6).astype(np.uint16))
        save(tmp_path / f"pairs/{side}/twice.png", draw(4, 6))
    save(tmp_path / "pairs/B/twice.bmp", draw(4, 6))
    (tmp_path / "pairs/A/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    save(tmp_path / "pairs/B/broken.png", draw(4, 6))
    assert command.main(["task=combine", "input=pairs", "output=strips"]) == 0
    printed = capsys.readouterr()
    report = json.loads((tmp_path / "strips/prepare.json").read_text())
    reasons = {file: one["reason"] for one in report["skipped"] for file in one["files"]}
    assert {Path(file).stem for file in reasons} == {"alone", "unequal", "deep", "twice", "broken"}
    assert "resize=" in reasons["pairs/A/unequal.png"]
    assert "4 x 6" not in reasons["pairs/A/unequal.png"]
    assert "6 x 8" in reasons["pairs/A/unequal.png"]
    assert len(report["skipped"]) == printed.err.count("skipped: ")
    assert report["num_written"] == 4
    assert load(tmp_path / "strips/gray.png").shape == (4, 12, 1)
    assert command.main(["task=combine", "input=pairs", "output=strips", "strict=true"]) == 1
    assert "strict=true" in capsys.readouterr().err


def test_sides_of_unequal_sizes_are_resized_if_asked_for(tmp_path):
    a, b = draw(4, 6), np.kron(draw(4, 6, 1, seed=1), np.ones((2, 2, 1), np.uint8))
    save(tmp_path / "pairs/A/1.png", a)
    save(tmp_path / "pairs/B/1.png", b)
    run("task=combine", "input=pairs", "output=as_a", "resize=a", "interpolation=[bicubic,nearest]")
    assert (load(tmp_path / "as_a/1.png") == np.hstack([a, np.repeat(b[::2, ::2], 3, 2)])).all()
    run("task=combine", "input=pairs", "output=as_b", "resize=b", "interpolation=nearest")
    assert (load(tmp_path / "as_b/1.png")[:, :12] == a.repeat(2, 0).repeat(2, 1)).all()
    run("task=combine", "input=pairs", "output=sized", "size=[8,4]")
    assert load(tmp_path / "sized/1.png").shape == (8, 8, 3)


@pytest.fixture
def photos(tmp_path):
    images = {
        name: cv2.GaussianBlur(draw(20, 24, seed=seed), (0, 0), 2)
        for seed, name in enumerate(("x", "train/y", "val/z"))
    }
    for name, image in images.items():
        image[5:15, 6:18] = [200, 30, 60]
        save(tmp_path / f"photos/{name}.png", image)
    return images


def test_edges_of_photos(photos, tmp_path):
    words = ["task=edges", "input=photos", "canny.sigma=1", "canny.min_pixels=3"]
    run(*words, "output=pairs")
    run(*words, "output=sides", "layout=folders")
    for name, photo in photos.items():
        drawing = detect_edges(photo, "canny", sigma=1.0, min_pixels=3)
        assert {0, 255} == set(np.unique(drawing))
        assert (load(tmp_path / f"pairs/{name}.png") == np.hstack([np.repeat(drawing, 3, 2), photo])).all()
        assert (load(tmp_path / f"sides/A/{name}.png") == drawing).all()
        assert (load(tmp_path / f"sides/B/{name}.png") == photo).all()
    words = ["method=xdog", "xdog.epsilon=-0.03", "xdog.threshold=null", "size=16"]
    assert command.main(["task=edges", "input=photos", "output=xdog", *words]) == 0
    strip = load(tmp_path / "xdog/x.png")
    assert strip.shape == (16, 32, 3)
    tones = detect_edges(strip[:, 16:], "xdog", epsilon=-0.03, threshold=None)
    assert (strip[:, :16] == tones).all()


def test_colours_are_removed(photos, tmp_path):
    save(tmp_path / "photos/gray.png", np.repeat(draw(4, 4, 1), 3, 2))
    run("task=colorization", "input=photos", "output=pairs")
    strip = load(tmp_path / "pairs/x.png").astype(float)
    assert (strip[:, 24:] == photos["x"]).all()
    assert np.abs(strip[:, :24] - (photos["x"] @ [0.299, 0.587, 0.114])[..., None]).max() <= 0.51
    report = json.loads((tmp_path / "pairs/prepare.json").read_text())
    assert [one["files"] for one in report["skipped"]] == [["photos/gray.png"]]


def test_holes_depend_on_names_and_seed_alone(photos, tmp_path):
    run("task=inpainting", "input=photos", "output=centre", "fill=[1,2,3]")
    strip, hole = load(tmp_path / "centre/x.png"), draw_hole(20, 24, "centre")
    assert (strip[:, :24][hole] == [1, 2, 3]).all()
    assert (strip[:, :24][~hole] == photos["x"][~hole]).all()
    (tmp_path / "fewer").mkdir()
    (tmp_path / "fewer/x.png").write_bytes((tmp_path / "photos/x.png").read_bytes())
    for words in (
        ["output=all", "input=photos"],
        ["output=one", "input=fewer"],
        ["output=other", "input=fewer", "seed=1"],
    ):
        run("task=inpainting", "mask=random", "fill=gray", *words)
    holes = {name: load(tmp_path / f"{name}/x.png")[:, :24] for name in ("all", "one", "other")}
    assert (holes["all"] == holes["one"]).all()
    assert (holes["all"] != holes["other"]).any()
    is_hole = (holes["all"] != photos["x"]).any(2)
    assert (holes["all"][is_hole] == 128).all()
    assert 0 < is_hole.mean() <= 0.25


def test_formats(photos, tmp_path):
    run("task=colorization", "input=photos", "output=jpeg", "suffix=.jpg", "quality=100", "layout=folders")
    decoded = load(tmp_path / "jpeg/B/x.jpg").astype(int)
    assert 0 < np.abs(decoded - photos["x"]).max() < 8
    run("task=split", "input=jpeg/B", "output=webp", "suffix=.webp")
    assert (np.hstack([load(tmp_path / f"webp/{side}/x.webp") for side in "AB"]) == decoded).all()
    for words in (
        ["suffix=.gif"],
        ["quality=90"],
        ["quality=0", "suffix=.jpg"],
        ["size=0"],
        ["size=[1,2,3]"],
        ["workers=0"],
    ):
        with pytest.raises(UserError) as error:
            run("task=colorization", "input=photos", "output=no", *words)
        assert words[0].partition("=")[0] in str(error.value)
    assert not (tmp_path / "no").exists()


def test_several_processes_write_the_same_files(photos, tmp_path, capfd):
    (tmp_path / "photos/broken.png").write_text("no picture")
    clear = np.dstack([draw(6, 6), np.full((6, 6), 128, np.uint8)])
    assert cv2.imwrite(str(tmp_path / "photos/clear.png"), clear)
    for workers in (1, 2):
        run("task=edges", "input=photos", f"output=with_{workers}", f"workers={workers}", "canny.min_pixels=3")
    one, two = (read_tree(tmp_path / f"with_{workers}") for workers in (1, 2))
    assert one == two
    assert len(one) == 5
    assert capfd.readouterr().out.count("1 pairs have transparent pixels") == 2


def test_a_stopped_command_continues(photos, tmp_path, monkeypatch, capsys):
    convert, calls = write_pairs.run_jobs, []

    def stop_after_two(*arguments):
        for outcome in convert(*arguments):
            calls.append(outcome)
            yield outcome
            if len(calls) == 2:
                raise KeyboardInterrupt

    words = ["task=colorization", "input=photos", "output=pairs", "layout=folders"]
    monkeypatch.setattr(write_pairs, "run_jobs", stop_after_two)
    with pytest.raises(Interrupted, match="2 of 3"):
        run(*words)
    before = read_tree(tmp_path / "pairs")
    assert len(before) == 5
    assert not json.loads(before["prepare.json"])["is_finished"]
    assert not [name for name in before if "part" in name]
    with pytest.raises(UserError, match="layout=folders"):
        run(*words[:3])
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    written = tmp_path / "pairs/A/val/z.png"
    written.write_bytes(b"kept")
    os.utime(written, (0, 0))
    (tmp_path / "pairs/B/train/y.png").unlink()
    run(*words)
    assert written.read_bytes() == b"kept"
    after = read_tree(tmp_path / "pairs")
    assert after.keys() == {*before, "A/x.png", "B/x.png"}
    for name in before.keys() - {"prepare.json", "A/val/z.png"}:
        assert after[name] == before[name]
    out = capsys.readouterr().out
    assert "1 pairs are older than their inputs" in out
    run(*words, "overwrite=true")
    assert load(written).shape == (20, 24, 1)


def test_files_of_others_stay(photos, tmp_path, capsys):
    save(tmp_path / "pairs/mine.png", draw(4, 4))
    with pytest.raises(FileExistsError, match="overwrite=true"):
        run("task=colorization", "input=photos", "output=pairs")
    with pytest.raises(UserError, match="input=photos"):
        run("task=colorization", "input=photos", "output=photos", "overwrite=true")
    with pytest.raises(UserError, match="output"):
        run("task=colorization", "input=photos")
    run("task=colorization", "input=photos", "output=pairs", "overwrite=true")
    assert (load(tmp_path / "pairs/mine.png") == draw(4, 4)).all()
    assert "mine.png" in capsys.readouterr().out


def test_nothing_to_write_is_an_error(tmp_path):
    (tmp_path / "empty").mkdir()
    save(tmp_path / "odd/1.png", draw(4, 5))
    for folder, hint in (("empty", "no image"), ("odd", "even width")):
        with pytest.raises(UserError, match=hint):
            run("task=split", f"input={folder}", "output=out")


def test_names_that_differ_in_their_ending_alone(tmp_path):
    save(tmp_path / "photos/a.png", draw(4, 4))
    save(tmp_path / "photos/A.bmp", draw(4, 4, seed=1))
    run("task=colorization", "input=photos", "output=pairs")
    report = json.loads((tmp_path / "pairs/prepare.json").read_text())
    assert report["num_written"] == 1
    assert [one["files"] for one in report["skipped"]] == [["photos/a.png"]]


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["task=combine", "mask=random"], "mask=random"),
        (["task=split", "size=8"], "size=8"),
        (["task=edges", "xdog.sigma=2"], "xdog.sigma=2"),
        (["task=edges", "method=xdog", "canny.low=3"], "canny.low=3"),
        (["task=edges", "edges_model=x.onnx"], "edges_model=x.onnx"),
        (["task=inpainting", "seed=3"], "seed=3"),
        (["task=inpainting", "interpolation=[bicubic,nearest]"], "interpolation"),
        (["task=index", "workers=2"], "workers=2"),
        (["task=from_junyanz", "overwrite=true"], "overwrite=True"),
    ],
)
def test_keys_without_effect_are_refused(words, key):
    with pytest.raises(UserError) as error:
        run("input=x", *(["output=y"] if "task=from_junyanz" not in words else []), *words)
    assert str(error.value).startswith(key)


def test_number_of_processes():
    assert choose_num_workers(None, 1000, 4) == 4
    assert choose_num_workers(None, 40, 4) == 2
    assert choose_num_workers(None, 3, 4) == 1
    assert choose_num_workers(3, 2, 1) == 2
    assert choose_num_workers(5, 0, 4) == 1


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_manifest_lists_the_pairs_of_any_layout(pairs, tmp_path, suffix):
    run("task=index", "input=pairs", f"output=lists/all{suffix}")
    listed, folder = PairFolder(tmp_path / f"lists/all{suffix}"), PairFolder(tmp_path / "pairs")
    for split in ("train", "val"):
        expected = folder.open(split)
        found = listed.open(split)
        assert len(found) == len(expected)
        for (a, b, _), (other_a, other_b, _) in zip(found, expected, strict=True):
            assert (a == other_a).all()
            assert (b == other_b).all()
    with pytest.raises(FileExistsError):
        run("task=index", "input=pairs", f"output=lists/all{suffix}")
    run("task=index", "input=pairs", f"output=lists/all{suffix}", "overwrite=true")


def test_a_manifest_of_pairs_without_splits_divides_them(tmp_path):
    for number in range(12):
        for side in "AB":
            save(tmp_path / f"pairs/{side}/{number}, x.png", draw(2, 2))
    run("task=index", "input=pairs", "output=manifest.csv")
    folder = PairFolder(tmp_path / "pairs")
    lines = (tmp_path / "manifest.csv").read_text().splitlines()
    assert lines[0] == "source,target,split"
    val = [f'"pairs/A/{name}.png","pairs/B/{name}.png",val' for name in folder.open("val").names]
    assert [line for line in lines if line.endswith(",val")] == val
    assert len(lines) == 13
    run("task=index", "input=manifest.csv", "output=again.jsonl")
    assert json.loads((tmp_path / "again.jsonl").read_text().splitlines()[0]).keys() == {"source", "target", "split"}


def test_what_no_manifest_can_list_is_refused(tmp_path):
    save(tmp_path / "strips/train/1.png", draw(2, 4))
    for words in (["input=strips", "output=a.csv"], ["input=strips", "output=a.txt"], ["input=no", "output=a.csv"]):
        with pytest.raises(UserError):
            run("task=index", *words)
    assert not (tmp_path / "a.csv").exists()
