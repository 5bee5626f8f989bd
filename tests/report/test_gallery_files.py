"""Which pictures a gallery keeps when there are too many bytes."""

import json
import shutil

import cv2
import numpy as np
import pytest

from pix2pix_lightning.data.files.image_files import read_image
from pix2pix_lightning.report import UNTRAINED, GalleryFolder
from pix2pix_lightning.report.gallery_files import find_newest_pictures, list_outputs

SIDE = 32
NAMES = ["one", "two"]


def draw(number):
    """A picture with noise, of some 3 KB as PNG and 1 KB as JPEG."""
    random = np.random.default_rng(number + 1)
    coarse = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return cv2.resize(coarse, (SIDE, SIDE)) // 2 + random.integers(0, 16, (SIDE, SIDE, 3), dtype=np.uint8)


SOURCE, TARGET = draw(1000), draw(2000)


def train(folder, epochs, *, limit, page=True):
    """Add these epochs to a gallery as a training does, and return the largest sizes: of all times, and after pages."""
    gallery = GalleryFolder(folder, max_megabytes=limit / 1e6)
    sizes = [[], []]
    for epoch in epochs:
        for position, name in enumerate(NAMES):
            gallery.add(position, name, epoch, {"input": SOURCE, "output": draw(epoch), "target": TARGET})
            sizes[0].append(measure(folder))
        if page:
            gallery.write_page({"step": epoch, "epoch": epoch})
        sizes[1].append(measure(folder))
    return max(sizes[0]), max(sizes[1])


def measure(folder):
    return sum(path.stat().st_size for path in (folder / "images").rglob("*.*"))


def read_all(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*") if path.suffix != ".html"}


def epochs_of(folder):
    return list(list_outputs(folder / "images/000_one"))


def test_a_training_that_begins_again_shows_its_own_pairs(tmp_path):
    for source in (SOURCE, TARGET[:16]):  # data.size may have changed
        for epoch in (UNTRAINED, 0):
            GalleryFolder(tmp_path).add(0, "one", epoch, {"input": source, "output": draw(0), "target": TARGET})
    assert np.array_equal(read_image(tmp_path / "images/000_one/input.png"), TARGET[:16])


def test_without_need_nothing_changes(tmp_path):
    train(tmp_path, range(20), limit=10**9)
    assert {path.suffix for path in (tmp_path / "images").rglob("*.*")} == {".png"}
    assert epochs_of(tmp_path) == list(range(20))
    assert not (tmp_path / "thinning.json").exists()
    assert "data-jpeg" not in (tmp_path / "index.html").read_text()


@pytest.mark.parametrize("limit", [30_000, 50_000])
def test_a_long_run_stays_below_the_limit_with_even_steps_and_exact_newest_outputs(tmp_path, limit):
    highest, settled = train(tmp_path, [UNTRAINED, *range(40)], limit=limit)
    one = len(cv2.imencode(".png", draw(0))[1])
    assert settled <= limit
    assert highest <= limit + len(NAMES) * one  # before the page of an epoch is written
    epochs = epochs_of(tmp_path)
    every = 2 ** (json.loads((tmp_path / "thinning.json").read_text())["level"] - 1)
    assert every in (2, 4, 8)
    assert epochs == [UNTRAINED, *(epoch for epoch in range(39) if (epoch + 1) % every == 0), 39]
    for folder in sorted((tmp_path / "images").iterdir()):
        outputs = list_outputs(folder)
        assert [path.suffix for path in outputs.values()] == [".jpg"] * (len(outputs) - 1) + [".png"]
        assert np.array_equal(read_image(outputs[39]), draw(39))
        for epoch, path in outputs.items():
            assert np.abs(read_image(path).astype(int) - draw(epoch)).mean() < 12  # of 256: the picture of that epoch
    page = (tmp_path / "index.html").read_text()
    assert f'data-epochs="{" ".join(map(str, epochs))}"' in page
    assert f'data-jpeg="{" ".join(map(str, epochs[:-1]))}"' in page
    assert f"every {every}" in page


@pytest.mark.parametrize("killed_in", ["pictures", "page"])
def test_a_run_that_is_resumed_keeps_what_one_that_was_not_stopped_keeps(tmp_path, killed_in):
    for stop in (6, 12):
        whole, parts = tmp_path / f"whole_{stop}", tmp_path / f"parts_{stop}"
        train(whole, range(16), limit=25_000)
        train(parts, range(stop), limit=25_000)
        train(parts, [stop], limit=25_000, page=killed_in == "page")  # beyond the checkpoint, and killed
        train(parts, range(stop - 2, 16), limit=25_000)
        assert read_all(parts) == read_all(whole)
        assert json.loads((whole / "thinning.json").read_text())["level"] > 1


def test_a_gallery_of_png_files_is_shown_and_thinned_when_its_run_goes_on(tmp_path):
    train(tmp_path, range(30), limit=10**9)
    GalleryFolder(tmp_path).write_page()
    assert f'data-epochs="{" ".join(map(str, range(30)))}"' in (tmp_path / "index.html").read_text()
    assert measure(tmp_path) > 60_000
    train(tmp_path, [30], limit=60_000)
    assert measure(tmp_path) <= 60_000
    assert np.array_equal(read_image(list_outputs(tmp_path / "images/000_one")[30]), draw(30))


def test_pictures_of_a_run_that_this_one_replaces_go(tmp_path):
    train(tmp_path, range(10), limit=10**9)
    train(tmp_path, [4], limit=10**9)
    assert epochs_of(tmp_path) == [0, 1, 2, 3, 4]


def test_label_maps_stay_png_and_no_limit_keeps_all(tmp_path):
    flat = np.zeros((SIDE, SIDE, 3), np.uint8)
    for limit, level in ((3e-6, True), (None, False)):
        folder = tmp_path / str(level)
        gallery = GalleryFolder(folder, max_megabytes=limit)
        for epoch in range(4):
            gallery.add(0, "one", epoch, {"input": flat, "output": flat, "target": flat})
            gallery.write_page()
        assert {path.suffix for path in (folder / "images").rglob("*.*")} == {".png"}
        assert (folder / "thinning.json").exists() == level


def test_exact_pictures_that_are_too_large_alone_become_jpeg_but_for_the_newest_output(tmp_path, caplog):
    train(tmp_path, range(5), limit=12_000)
    pairs = find_newest_pictures(tmp_path)
    assert [path.name for path in pairs["000_one"]] == ["input.jpg", "epoch_0004.png", "target.jpg"]
    shutil.rmtree(tmp_path / "images")
    train(tmp_path, range(5), limit=2_000)
    assert len([record for record in caplog.records if "max_megabytes" in record.getMessage()]) == 1
