"""Headers are remembered by path, size and time; what remembers them may be missing, damaged or foreign."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pix2pix_lightning.data.check import header_cache
from pix2pix_lightning.data.check.header_cache import HeaderCache
from pix2pix_lightning.data.files.image_header import ImageHeader


@pytest.fixture
def read(monkeypatch):
    """Names of the files whose headers were read. Single new files are remembered too."""
    names = []
    parse = header_cache.parse_header
    monkeypatch.setattr(header_cache, "parse_header", lambda file, path: names.append(path.name) or parse(file, path))
    monkeypatch.setattr(header_cache, "_LEAST_NEW", 0)
    return names


def save(path, width=8, height=6):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(path)
    return str(path)


def open_sizes(files, root, memory):
    cache = HeaderCache(files, root, memory)
    return [cache.entries[code].upright_size for code in cache.codes]


def test_only_what_has_changed_is_read_again(tmp_path, read):
    files = [save(tmp_path / "x" / f"{number}.png", 8 + number) for number in range(4)]
    memory = tmp_path / "memory" / "headers.npz"
    expected = [(8, 6), (9, 6), (10, 6), (11, 6)]
    assert open_sizes(files, tmp_path, memory) == expected
    assert sorted(read) == ["0.png", "1.png", "2.png", "3.png"]
    del read[:]
    assert open_sizes(files, tmp_path, memory) == expected
    assert not read

    save(Path(files[1]), 31)
    status = Path(files[2]).stat()
    os.utime(files[2], ns=(0, status.st_mtime_ns + 1))
    added = save(tmp_path / "x" / "05.png", 5)
    assert open_sizes([added, *files[1:]], tmp_path, memory) == [(5, 6), (31, 6), (10, 6), (11, 6)]
    assert sorted(read) == ["05.png", "1.png", "2.png"]


def test_a_moved_folder_keeps_its_memory_and_another_one_has_its_own(tmp_path, read):
    files = [save(tmp_path / "here" / "a.png"), save(tmp_path / "here" / "b.png")]
    memory = tmp_path / "here" / "headers.npz"
    HeaderCache(files, tmp_path / "here", memory)
    (tmp_path / "here").rename(tmp_path / "there")
    moved = [str(tmp_path / "there" / name) for name in ("a.png", "b.png")]
    del read[:]
    assert open_sizes(moved, tmp_path / "there", tmp_path / "there" / "headers.npz") == [(8, 6)] * 2
    assert not read
    # the same names with other content
    other = [save(tmp_path / "other" / "a.png", 70), save(tmp_path / "other" / "b.png", 71)]
    assert open_sizes(other, tmp_path / "other", tmp_path / "there" / "headers.npz") == [(70, 6), (71, 6)]


@pytest.mark.parametrize("how", ["cut", "flipped", "text", "empty", "version"])
def test_a_damaged_memory_is_built_anew(tmp_path, read, how):
    files = [save(tmp_path / f"{number}.png", 8 + number) for number in range(2)]
    memory = tmp_path / "headers.npz"
    HeaderCache(files, tmp_path, memory)
    content = bytearray(memory.read_bytes())
    if how == "version":
        content = memory.read_bytes().replace(b'"format": %d' % header_cache._FORMAT, b'"format": 0')
    elif how == "flipped":
        content[len(content) // 2] ^= 255
    else:
        content = {"cut": content[: len(content) // 2], "text": b"hello", "empty": b""}[how]
    memory.write_bytes(content)
    del read[:]
    assert open_sizes(files, tmp_path, memory) == [(8, 6), (9, 6)]
    assert len(read) == 2
    del read[:]
    assert open_sizes(files, tmp_path, memory) == [(8, 6), (9, 6)]
    assert not read


def test_a_memory_that_cannot_be_written_is_left_out(tmp_path, read):
    files = [save(tmp_path / "a.png")]
    (tmp_path / "file").write_text("in the way")
    assert open_sizes(files, tmp_path, tmp_path / "file" / "headers.npz") == [(8, 6)]


def test_unreadable_files_are_named_and_tried_again(tmp_path, read):
    save(tmp_path / "whole.png", 300, 200)
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "text.png").write_text("text")
    (tmp_path / "cut.png").write_bytes(content[:-20])
    files = [str(tmp_path / name) for name in ("text.png", "whole.png", "cut.png", "gone.png")]
    memory = tmp_path / "headers.npz"
    cache = HeaderCache(files, tmp_path, memory)
    entries = [cache.entries[code] for code in cache.codes]
    assert entries[1].upright_size == (300, 200)
    for number, name in ((0, "text.png"), (2, "cut.png"), (3, "gone.png")):
        assert name in entries[number]
    (tmp_path / "text.png").write_bytes(content)
    cache = HeaderCache(files, tmp_path, memory)
    assert cache.entries[cache.codes[0]].upright_size == (300, 200)


def test_checksums_tell_files_apart_and_are_remembered(tmp_path, read):
    contents = [bytes(100_000), bytes(99_999) + b"x", bytes(50_000) + b"x" + bytes(49_999), b"x" + bytes(99_999)]
    for number, content in enumerate([*contents, contents[0]]):
        (tmp_path / f"{number}.png").write_bytes(content)
    cache = HeaderCache([str(tmp_path / f"{number}.png") for number in range(5)], tmp_path)
    sums = cache.compute_checksums(np.arange(5)).tolist()
    assert len(set(sums)) == 4
    assert sums[4] == sums[0] >= 0
    assert cache.compute_checksums(np.array([1])).tolist() == [sums[1]]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("x.bmp", {}),
        ("x.ppm", {}),
        ("x.tif", {}),
        ("y.tif", {"compression": "tiff_lzw"}),
        ("x.webp", {}),
        ("x.jpg", {}),
    ],
)
def test_a_file_that_is_cut_short_is_found_by_its_header(tmp_path, name, options):
    path = tmp_path / name
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)).save(path, **options)
    assert isinstance(HeaderCache([str(path)], tmp_path).entries[0], ImageHeader)
    size = path.stat().st_size
    os.truncate(path, size - 4)
    (entry,) = HeaderCache([str(path)], tmp_path).entries
    assert isinstance(entry, str)
    assert name in entry
