"""The cache: the same batches, built once, and whole whatever happens to who builds it."""

import logging
import multiprocessing
import os
import pickle
import resource
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from pix2pix_lightning.cli.errors import format_error
from pix2pix_lightning.data import PairedDataModule, ProceduralDataModule, cache
from pix2pix_lightning.data.cache import cached

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")

SIZE, LOAD_SIZE = 32, 36
FORK = multiprocessing.get_context("fork")
PALETTE = [[0, 0, 0], [255, 255, 255], [255, 0, 0]]


def noise(seed, height=LOAD_SIZE, width=2 * LOAD_SIZE):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def root(tmp_path):
    """Strips of noise of several sizes; the first of a split needs no resizing."""
    for split, count in (("train", 5), ("val", 3)):
        for index in range(count):
            save(tmp_path / "pairs" / split / f"{split}_{index}.png", noise(index, LOAD_SIZE + 9 * index))
    return tmp_path / "pairs"


def opened(root, **options):
    data = PairedDataModule(root, **{"size": SIZE, "batch_size": 2, "num_workers": 0, "seed": 1, **options})
    data.setup("fit")
    return data


def batches(data):
    """Two epochs and the validation."""
    loader = data.train_dataloader()
    result = list(loader)
    loader.sampler.set_epoch(1)
    return result + list(loader) + list(data.val_dataloader())


def assert_equal(one, other):
    assert len(one) == len(other) > 0
    for a, b in zip(one, other, strict=True):
        assert a["name"] == b["name"]
        assert torch.equal(a["source"], b["source"])
        assert torch.equal(a["target"], b["target"])


def caches(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


# --- the same batches


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"direction": "b_to_a", "num_workers": 1},
        {"jitter": False, "mirror": False},
        {"a": {"kind": "grayscale"}, "b": {"kind": "label", "palette": PALETTE}, "direction": "b_to_a"},
        {"max_pairs": 2, "val_split": "train"},
    ],
    ids=str,
)
def test_batches_are_the_same_bit_for_bit(root, options):
    for path in (root / "train", root / "val"):  # in the colours of the palette, where B is to be a label
        for file in path.iterdir():
            strip = np.array(Image.open(file))
            if "b" in options:
                strip[:, LOAD_SIZE:] = np.array(PALETTE)[strip[:, LOAD_SIZE:, 0] % 3]
            save(file, strip)
    plain = batches(opened(root, **options))
    assert_equal(batches(opened(root, cache=True, **options)), plain)  # as it is built
    assert_equal(batches(opened(root, cache=True, **options)), plain)  # as it is found


def test_the_maps_hold_what_the_files_do(root):
    opened(root, cache=True)
    (folder,) = (root / ".pix2pix_cache").glob(f"train_{LOAD_SIZE}_*")
    a, b = np.load(folder / "a.npy"), np.load(folder / "b.npy")
    assert a.shape == b.shape == (5, LOAD_SIZE, LOAD_SIZE, 3)
    np.testing.assert_array_equal(np.hstack([a[0], b[0]]), noise(0))


def test_drawn_pairs_are_kept_in_a_folder_that_is_named(tmp_path):
    options = {"num_train": 3, "num_val": 2, "size": SIZE, "num_workers": 0}
    with pytest.raises(ValueError, match=r"data\.cache=true: .* data\.cache=<folder>"):
        ProceduralDataModule(cache=True, **options)
    data = [ProceduralDataModule(cache=kept, **options) for kept in (None, tmp_path / "kept", tmp_path / "kept")]
    for module in data:
        module.setup("fit")
    assert_equal(batches(data[0]), batches(data[1]))
    (folder,) = (tmp_path / "kept").iterdir()
    assert len(caches(folder)) == 2
    ProceduralDataModule(cache=tmp_path / "kept", **options, seed=1).setup("fit")
    assert len(caches(tmp_path / "kept")) == 2
    assert len(caches(folder)) == 2


# --- when it is built


def scribble(path):
    """Make a file unreadable, but leave its size and time."""
    status = path.stat()
    path.write_bytes(b"x" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_what_is_cached_is_read_no_more_until_its_file_changes(root):
    before = batches(opened(root, cache=True))
    for file in (root / "train").iterdir():
        scribble(file)
    assert_equal(batches(opened(root, cache=True)), before)
    os.utime(root / "train" / "train_3.png")
    with pytest.raises(ValueError, match="cannot be decoded"):
        opened(root, cache=True)


@pytest.mark.parametrize("change", ["another image", "one more", "one less"])
def test_a_changed_split_is_cached_anew_in_place_of_the_old(root, change):
    opened(root, cache=True)
    before = caches(root / ".pix2pix_cache")
    if change == "one less":
        (root / "train" / "train_2.png").unlink()
    else:
        save(root / "train" / ("train_2.png" if change == "another image" else "train_9.png"), noise(77))
    assert_equal(batches(opened(root, cache=True)), batches(opened(root)))
    after = caches(root / ".pix2pix_cache")
    assert len(after) == len(before) == 2
    assert len(set(before) & set(after)) == 1  # that of the validation


def test_other_settings_have_caches_of_their_own(root):
    for _ in range(2):
        for options in ({}, {"size": 16}, {"max_pairs": 2}, {"b": {"kind": "grayscale"}}):
            assert_equal(batches(opened(root, cache=True, **options)), batches(opened(root, **options)))
    assert len(caches(root / ".pix2pix_cache")) == 8
    opened(root, cache=True, direction="b_to_a", seed=3, batch_size=1)  # the same images
    assert len(caches(root / ".pix2pix_cache")) == 8


def test_another_version_of_what_decodes_and_resizes_has_another_cache(root, monkeypatch):
    opened(root, cache=True)
    before = caches(root / ".pix2pix_cache")
    monkeypatch.setattr("cv2.__version__", "0.0")
    opened(root, cache=True)
    assert len(caches(root / ".pix2pix_cache")) == 2 * len(before)


def test_a_cache_that_is_replaced_serves_who_has_it_open(root):
    data = opened(root, cache=True)
    before = batches(opened(root))
    save(root / "train" / "train_2.png", noise(77))
    opened(root, cache=True)
    assert_equal(batches(data), before)


def test_roots_of_one_name_share_a_folder_of_caches(tmp_path):
    for number in (1, 2):
        save(tmp_path / str(number) / "pairs" / "train" / "x.png", noise(number))
        save(tmp_path / str(number) / "pairs" / "val" / "x.png", noise(number))
    roots = [tmp_path / str(number) / "pairs" for number in (1, 2)]
    for root in roots + roots:
        assert_equal(batches(opened(root, cache=tmp_path / "kept")), batches(opened(root)))
    assert len(caches(tmp_path / "kept")) == 2
    assert not (roots[0] / ".pix2pix_cache").exists()


def test_a_cache_that_is_there_is_used_without_writing(root):
    opened(root, cache=True)
    folder = root / ".pix2pix_cache"
    for lock in folder.glob(".*.lock"):
        lock.unlink()
    before = sorted(folder.iterdir()), folder.stat().st_mtime_ns
    opened(root, cache=True)
    assert (sorted(folder.iterdir()), folder.stat().st_mtime_ns) == before


# --- several processes, and their end


class SlowPairs:
    """Three pairs, read so slowly that others come meanwhile; who reads one leaves a file."""

    def __init__(self, folder, die_at=None):
        self.folder, self.die_at = folder, die_at
        folder.mkdir(exist_ok=True)

    def __len__(self):
        return 3

    def __getitem__(self, index):
        (self.folder / f"{os.getpid()}_{index}").touch()
        if index == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.05)
        return noise(index, 8, 8), noise(index + 10, 8, 6), str(index)


def take(folder, pairs):
    return cached(folder, pairs, title="slow", settings={}, stamps=["as ever"])


def is_right(pairs):
    return [pairs[index][2] for index in range(len(pairs))] == ["0", "1", "2"] and all(
        np.array_equal(pairs[index][side], noise(index + 10 * side, 8, 8 - 2 * side))
        for index in range(3)
        for side in (0, 1)
    )


def in_processes(num, folder, pairs):
    def child(results):
        results.put(is_right(take(folder, pairs)))

    results = FORK.SimpleQueue()
    children = [FORK.Process(target=child, args=(results,)) for _ in range(num)]
    for process in children:
        process.start()
    for process in children:
        process.join(20)
    assert [process.exitcode for process in children] == [0] * num
    return [results.get() for _ in range(num)]


def test_of_several_processes_one_builds_and_all_have_it(tmp_path):
    folder, pairs = tmp_path / "kept", SlowPairs(tmp_path / "read")
    assert in_processes(3, folder, pairs) == [True] * 3
    assert len({path.name.partition("_")[0] for path in pairs.folder.iterdir()}) == 1
    assert len(caches(folder)) == 1


def test_where_there_are_no_locks_each_builds_and_one_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_locked", lambda file, folder: False)
    folder, pairs = tmp_path / "kept", SlowPairs(tmp_path / "read")
    assert in_processes(3, folder, pairs) == [True] * 3
    assert len({path.name.partition("_")[0] for path in pairs.folder.iterdir()}) > 1
    assert len(caches(folder)) == 1


def test_waiting_is_said(tmp_path, caplog):
    folder, pairs = tmp_path / "kept", SlowPairs(tmp_path / "read")
    builder = FORK.Process(target=take, args=(folder, pairs))
    builder.start()
    while not any(pairs.folder.iterdir()):
        time.sleep(0.005)
    with caplog.at_level(logging.INFO):
        assert is_right(take(folder, pairs))
    builder.join()
    assert [record.getMessage() for record in caplog.records] == [
        f"another process is building a cache in {folder}: waiting for it"
    ]


def test_what_a_killed_process_left_is_taken_for_nothing_and_removed(tmp_path):
    folder = tmp_path / "kept"
    killed = FORK.Process(target=take, args=(folder, SlowPairs(tmp_path / "read", die_at=2)))
    killed.start()
    killed.join(20)
    assert killed.exitcode == -signal.SIGKILL
    (left,) = caches(folder)
    assert left.endswith(".part")
    assert is_right(take(folder, SlowPairs(tmp_path / "read")))
    assert len(caches(folder)) == 1
    assert not caches(folder)[0].startswith(".")


def test_a_damaged_file_leaves_nothing(root):
    scribble(root / "train" / "train_4.png")
    with pytest.raises(ValueError, match=r"train_4\.png cannot be decoded"):
        opened(root, cache=True)
    assert caches(root / ".pix2pix_cache") == []


def test_loader_processes_are_not_sent_the_maps(tmp_path):
    pairs = take(tmp_path / "kept", SlowPairs(tmp_path / "read"))
    assert is_right(pairs)
    sent = pickle.dumps(pairs)
    assert len(sent) < 1000
    assert is_right(pickle.loads(sent))
    assert not pairs[0][0].flags.writeable


# --- user errors


def line(call):
    with pytest.raises((ValueError, OSError)) as raised:
        call()
    said = format_error(raised.value, "train")
    assert said is not None
    assert "\n" not in said
    assert "data.cache=<folder>" in said
    assert "data.cache=false" in said
    return said


def test_a_disk_that_is_too_small_is_seen_before(root, monkeypatch):
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda folder: SimpleNamespace(free=2**10))
    assert "needs 0.0 GiB, 0.0 GiB are free there: make room" in line(lambda: opened(root, cache=True))
    assert caches(root / ".pix2pix_cache") == []


def test_a_disk_that_fills_up_meanwhile_is_one_line(root):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    try:
        said = line(lambda: opened(root, cache=True))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "too large" in said
    assert caches(root / ".pix2pix_cache") == []


def test_a_folder_that_cannot_be_made_is_one_line(root):
    Path("taken").write_text("")
    assert "taken" in line(lambda: opened(root, cache="taken"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_one_line(root):
    root.chmod(0o500)
    try:
        assert ".pix2pix_cache: permission denied" in line(lambda: opened(root, cache=True))
    finally:
        root.chmod(0o700)


def test_pairs_that_say_nothing_of_their_files_are_refused(root):
    class Own(PairedDataModule):
        def open_split(self, split):
            return [(noise(0, 8, 8), noise(1, 8, 8), "x")]

    with pytest.raises(ValueError, match=r"data\.cache: list has no stamps\(\).* data\.cache=false"):
        Own(root, cache=True).setup("fit")
    Own(root, cache=False).setup("fit")
