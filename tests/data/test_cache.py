"""The cache: the same batches, built once, and complete even if the process that builds it is killed."""

import fcntl
import logging
import multiprocessing
import os
import pickle
import resource
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from pix2pix_lightning.cli.errors import format_error
from pix2pix_lightning.data import PairAugmentation, PairedDataModule, ProceduralDataModule, cache
from pix2pix_lightning.data.cache import open_cache
from pix2pix_lightning.data.files.image_files import write_image
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.pairs import FilePairs
from pix2pix_lightning.data.sides import build_side
from pix2pix_lightning.data.split_dataset import build_dataset
from pix2pix_lightning.utils.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")

SIZE, LOAD_SIZE = 16, 18
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
    for split, count in (("train", 4), ("val", 2)):
        for index in range(count):
            save(tmp_path / "pairs" / split / f"{split}_{index}.png", noise(index, LOAD_SIZE + 4 * index))
    return tmp_path / "pairs"


def build_data(root, **options):
    options = {"size": SIZE, "batch_size": 2, "num_workers": 0, "seed": 1, "check": "off", **options}
    data = PairedDataModule(root, **options)
    data.setup("fit")
    return data


def read_batches(data):
    """Read two epochs and the validation."""
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


def list_caches(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


# --- the same batches


@pytest.mark.parametrize(
    "options",
    [
        {"jitter": False, "mirror": False},
        {"a": {"kind": "grayscale"}, "b": {"kind": "label", "palette": PALETTE}, "direction": "b_to_a"},
        {"max_pairs": 2, "val_split": "train"},
    ],
    ids=str,
)
def test_batches_are_the_same_bit_for_bit(root, options):
    for file in root.glob("*/*.png") if "b" in options else ():
        strip = np.array(Image.open(file))
        strip[:, LOAD_SIZE:] = np.array(PALETTE)[strip[:, LOAD_SIZE:, 0] % 3]
        save(file, strip)
    plain = read_batches(build_data(root, **options))
    assert_equal(read_batches(build_data(root, cache=True, **options)), plain)  # built
    assert_equal(read_batches(build_data(root, cache=True, **options)), plain)  # opened


def test_maps_hold_the_images_of_the_files(root):
    build_data(root, cache=True)
    (folder,) = (root / ".pix2pix_cache").glob(f"train_{LOAD_SIZE}_*")
    a, b = (np.fromfile(folder / name, np.uint8).reshape(4, LOAD_SIZE, LOAD_SIZE, 3) for name in ("a.bin", "b.bin"))
    np.testing.assert_array_equal(np.hstack([a[0], b[0]]), noise(0))


SIZES = [(20, 30), (24, 16), (17, 19)]
KINDS = {
    "pictures": ({"kind": "rgb"}, {"kind": "label", "num_classes": 3}, "png"),
    "bands": (
        {"kind": "raw", "dtype": "uint16", "num_channels": 5, "nodata": 7},
        {"kind": "raw", "dtype": "float32", "value_range": [-1, 1]},
        "tif",
    ),
}
RESIZED = [
    {"resize": "none"},
    {"resize": "none", "is_whole": True},
    {"resize": "scale_width", "load_size": 12},
    {"load_size": 12},
]


def write_masked(folder, kinds):
    """Write pairs of several sizes: one with a mask of its own size, one without, one with a smaller mask."""
    a, b, suffix = KINDS[kinds]
    generator, files = np.random.default_rng(0), {"a": [], "b": [], "mask": []}
    for number, size in enumerate(SIZES):
        if kinds == "pictures":
            images = {"a": noise(number, *size), "b": generator.integers(0, 3, (*size, 1), np.uint8)}
        else:
            images = {"a": generator.integers(0, 9, (*size, 5), np.uint16), "b": generator.normal(size=(*size, 1))}
            images["b"] = np.where(images["b"] > 1, np.nan, images["b"]).astype(np.float32)
        images["mask"] = generator.integers(0, 2, ((9, 9, 1) if number == 2 else (*size, 1)), np.uint8)
        for key, image in images.items():
            files[key].append(folder / f"{key}_{number}.{suffix}")
            write_image(files[key][-1], image)
    sides = {"source": build_side(**a), "target": build_side(**b)}
    pairs = FilePairs([files["a"]], [files["b"]], ["0", "1", "2"], [files["mask"][0], None, files["mask"][2]])
    pairs.sides = sides["source"], sides["target"]
    return pairs, sides


def build_masked(pairs, spec, crop=8, **options):
    augmentation = PairAugmentation(None if spec.is_whole else crop, mirror=True)
    options = {"split": "train", "seed": 0, "on_error": "raise", "augmentation": augmentation, **options}
    return build_dataset(pairs, range(len(pairs)), spec, **options)


@pytest.mark.parametrize("kinds", KINDS)
def test_parts_of_pairs_of_several_sizes_are_the_same_and_read_no_file(tmp_path, kinds):
    pairs, sides = write_masked(tmp_path, kinds)
    specs = [PairSpec(**sides, size=8, **resized) for resized in RESIZED]
    keys = [(epoch, index) for epoch in range(2) for index in range(3)]
    plain = [[dataset[key] for key in keys] for dataset in (build_masked(pairs, spec) for spec in specs)]
    cached = [build_masked(pairs, spec, cache_folder=tmp_path / "cached") for spec in specs]
    assert len(list_caches(tmp_path / "cached")) == len(specs) - 1  # files as they are serve crops and whole images
    for file in tmp_path.glob("*.*"):
        file.unlink()
    for samples, dataset in zip(plain, cached, strict=True):
        for expected, key in zip(samples, keys, strict=True):
            sample = dataset[key]
            for image in ("source", "target", "mask"):
                np.testing.assert_array_equal(sample[image], expected[image], strict=True)
            assert (sample["name"], sample["mask"].all()) == (str(key[1]), key[1] == 1)


def test_a_cache_of_whole_files_serves_crops_of_any_size(tmp_path):
    pairs, sides = write_masked(tmp_path, "pictures")
    for crop, too_small in ((8, []), (17, [1]), (20, [1, 2])):
        spec, builder = PairSpec(**sides, size=crop, resize="none"), {"cache_folder": tmp_path / "cached"}
        dataset = build_masked(pairs, spec, crop, **builder)
        for index in range(3):
            if index in too_small:
                with pytest.raises(UserError, match=f"pair {index} is {SIZES[index][1]} x {SIZES[index][0]} pixels"):
                    dataset[index]
            else:
                assert dataset[index]["target"].shape == (1, crop, crop)
        assert build_masked(pairs, spec, crop, on_error="replace", **builder)[1]["source"].shape == (3, crop, crop)
    assert len(list_caches(tmp_path / "cached")) == 1


@pytest.mark.parametrize(("resized", "num_pixels"), [(RESIZED[0], 20 * 30 + 24 * 16 + 17 * 19), (RESIZED[2], 12 * 36)])
def test_the_disk_has_to_hold_pairs_of_their_own_sizes(tmp_path, monkeypatch, resized, num_pixels):
    pairs, sides = write_masked(tmp_path, "pictures")
    spec = PairSpec(**sides, size=8, **resized)
    num_bytes = num_pixels * (3 + 1 + 1)
    for free in (num_bytes - 1, num_bytes):
        monkeypatch.setattr(cache.shutil, "disk_usage", lambda folder, free=free: SimpleNamespace(free=free))
        if free < num_bytes:
            with pytest.raises(UserError, match=r"data\.cache"):
                build_masked(pairs, spec, cache_folder=tmp_path / "cached")
        else:
            build_masked(pairs, spec, cache_folder=tmp_path / "cached")
    (folder,) = (tmp_path / "cached").glob("train_*")
    assert sum(file.stat().st_size for file in folder.glob("*.bin")) == num_bytes


def test_pairs_of_another_type_are_refused(tmp_path):
    pairs = [(noise(0, 8, 8), noise(1, 8, 8), "0"), (noise(0, 8, 8), noise(1, 8, 8).astype(np.uint16), "odd one")]
    with pytest.raises(UserError, match="odd one"):
        open_slow(tmp_path / "cached", pairs)
    assert list_caches(tmp_path / "cached") == []


def test_drawn_pairs_are_cached_in_a_folder_that_is_set(tmp_path):
    options = {"num_train": 3, "num_val": 2, "size": 32, "num_workers": 0}
    with pytest.raises(ValueError, match=r"data\.cache=true"):
        ProceduralDataModule(cache=True, **options)
    data = [ProceduralDataModule(cache=folder, **options) for folder in (None, "cached", "cached")]
    for module in data:
        module.setup("fit")
    assert_equal(read_batches(data[0]), read_batches(data[1]))
    (folder,) = (tmp_path / "cached").iterdir()
    assert len(list_caches(folder)) == 2
    ProceduralDataModule(cache=tmp_path / "cached", **options, seed=1).setup("fit")
    assert len(list_caches(tmp_path / "cached")) == 2
    assert len(list_caches(folder)) == 2


# --- when it is built


def overwrite(path):
    """Make a file unreadable without a change of its size and time."""
    status = path.stat()
    path.write_bytes(b"x" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_files_are_not_read_again_until_one_changes(root):
    before = read_batches(build_data(root, cache=True))
    for file in (root / "train").iterdir():
        overwrite(file)
    assert_equal(read_batches(build_data(root, cache=True)), before)
    os.utime(root / "train" / "train_3.png")
    with pytest.raises(ValueError, match="train_"):
        build_data(root, cache=True)


def test_the_cache_of_a_changed_split_is_replaced_and_serves_who_has_it_open(root):
    data = build_data(root, cache=True)
    expected = read_batches(build_data(root))
    before = list_caches(root / ".pix2pix_cache")
    for change in ("another image", "one more", "one less"):
        if change == "one less":
            (root / "train" / "train_2.png").unlink()
        else:
            save(root / "train" / ("train_2.png" if change == "another image" else "train_9.png"), noise(77))
        assert_equal(read_batches(build_data(root, cache=True)), read_batches(build_data(root)))
        after = list_caches(root / ".pix2pix_cache")
        assert len(after) == len(before) == 2
        assert len(set(before) & set(after)) == 1  # that of the validation
        before = after
    assert_equal(read_batches(data), expected)


def test_other_settings_and_other_versions_of_opencv_have_their_own_caches(root, monkeypatch):
    for options in ({}, {"size": 8}, {"max_pairs": 2}, {"b": {"kind": "grayscale"}}):
        assert_equal(read_batches(build_data(root, cache=True, **options)), read_batches(build_data(root, **options)))
    assert_equal(read_batches(build_data(root, cache=True)), read_batches(build_data(root)))
    assert len(list_caches(root / ".pix2pix_cache")) == 8
    build_data(root, cache=True, direction="b_to_a", seed=3, batch_size=1)  # the same images
    assert len(list_caches(root / ".pix2pix_cache")) == 8
    monkeypatch.setattr("cv2.__version__", "0.0")
    build_data(root, cache=True)
    assert len(list_caches(root / ".pix2pix_cache")) == 10


def test_roots_with_the_same_name_can_share_a_cache_folder(tmp_path):
    for number in (1, 2):
        save(tmp_path / str(number) / "pairs" / "train" / "x.png", noise(number))
        save(tmp_path / str(number) / "pairs" / "val" / "x.png", noise(number))
    roots = [tmp_path / str(number) / "pairs" for number in (1, 2)]
    for root in roots + roots:
        assert_equal(read_batches(build_data(root, cache=tmp_path / "cached")), read_batches(build_data(root)))
    assert len(list_caches(tmp_path / "cached")) == 2
    assert not (roots[0] / ".pix2pix_cache").exists()


def test_an_existing_cache_is_opened_without_writing(root):
    build_data(root, cache=True)
    folder = root / ".pix2pix_cache"
    for lock in folder.glob(".*.lock"):
        lock.unlink()
    before = sorted(folder.iterdir()), folder.stat().st_mtime_ns
    build_data(root, cache=True)
    assert (sorted(folder.iterdir()), folder.stat().st_mtime_ns) == before


# --- several processes


class SlowPairs:
    """Three pairs that are read slowly; each reading of a pair leaves a file with the process number."""

    def __init__(self, folder, die_at=None):
        self.folder, self.die_at = folder, die_at
        folder.mkdir(exist_ok=True)

    def __len__(self):
        return 3

    def __getitem__(self, index):
        (self.folder / f"{os.getpid()}_{index}").touch()
        if index == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.03)
        return noise(index, 8, 8), noise(index + 10, 8, 8), str(index)


def open_slow(folder, pairs):
    return open_cache(folder, pairs, title="slow", settings={}, fingerprints=["unchanged"])


def is_complete(pairs):
    return [pairs[index][2] for index in range(len(pairs))] == ["0", "1", "2"] and all(
        np.array_equal(pairs[index][side], noise(index + 10 * side, 8, 8)) for index in range(3) for side in (0, 1)
    )


def open_in_processes(num, folder, pairs):
    def child(results):
        results.put(is_complete(open_slow(folder, pairs)))

    results = FORK.SimpleQueue()
    children = [FORK.Process(target=child, args=(results,)) for _ in range(num)]
    for process in children:
        process.start()
    for process in children:
        process.join(20)
    assert [process.exitcode for process in children] == [0] * num
    return [results.get() for _ in range(num)]


def test_one_of_several_processes_builds_and_all_read(tmp_path):
    folder, pairs = tmp_path / "cached", SlowPairs(tmp_path / "read")
    assert open_in_processes(3, folder, pairs) == [True] * 3
    assert len({path.name.partition("_")[0] for path in pairs.folder.iterdir()}) == 1
    assert len(list_caches(folder)) == 1


def test_without_locks_each_process_builds_and_one_cache_stays(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "lockf", fail)
    folder, pairs = tmp_path / "cached", SlowPairs(tmp_path / "read")
    assert open_in_processes(3, folder, pairs) == [True] * 3
    assert len({path.name.partition("_")[0] for path in pairs.folder.iterdir()}) > 1
    assert len(list_caches(folder)) == 1


def test_processes_with_two_versions_of_the_files_each_read_their_own(tmp_path):
    """Each removes the other's cache as outdated, again and again."""

    def child(version, results):
        for _ in range(5):
            cached = open_cache(folder, pairs[version], title="two", settings={}, fingerprints=[version])
            results.put(all(np.array_equal(cached[index][0], noise(index + 9 * version, 8, 8)) for index in range(2)))

    folder = tmp_path / "cached"
    pairs = [[(noise(index + version, 8, 8), noise(0, 8, 8), str(index)) for index in range(2)] for version in (0, 9)]
    results = FORK.SimpleQueue()
    children = [FORK.Process(target=child, args=(version, results)) for version in (0, 1)]
    for process in children:
        process.start()
    for process in children:
        process.join(20)
    assert [process.exitcode for process in children] == [0, 0]
    assert [results.get() for _ in range(10)] == [True] * 10


def test_waiting_is_logged(tmp_path, caplog):
    folder, pairs = tmp_path / "cached", SlowPairs(tmp_path / "read")
    builder = FORK.Process(target=open_slow, args=(folder, pairs))
    builder.start()
    while not any(pairs.folder.iterdir()):
        time.sleep(0.005)
    with caplog.at_level(logging.INFO):
        assert is_complete(open_slow(folder, pairs))
    builder.join()
    (record,) = caplog.records
    assert str(folder) in record.getMessage()


def test_what_a_killed_process_left_is_ignored_and_removed(tmp_path):
    folder = tmp_path / "cached"
    killed = FORK.Process(target=open_slow, args=(folder, SlowPairs(tmp_path / "read", die_at=2)))
    killed.start()
    killed.join(20)
    assert killed.exitcode == -signal.SIGKILL
    (left,) = list_caches(folder)
    assert left.endswith(".part")
    assert is_complete(open_slow(folder, SlowPairs(tmp_path / "read")))
    assert len(list_caches(folder)) == 1
    assert not list_caches(folder)[0].startswith(".")


def test_a_damaged_file_leaves_no_cache(root):
    overwrite(root / "train" / "train_3.png")
    with pytest.raises(ValueError, match=r"train_3\.png"):
        build_data(root, cache=True)
    assert list_caches(root / ".pix2pix_cache") == []


def test_unreadable_pairs_are_replaced_as_without_a_cache(root, caplog):
    sound = root / "train" / "train_0.png"
    content, times = sound.read_bytes(), sound.stat().st_mtime_ns
    for path in (sound, root / "train" / "train_3.png", root / "val" / "val_1.png"):
        overwrite(path)
    options = {"on_error": "skip"}
    expected = read_batches(build_data(root, **options))
    caplog.clear()
    for _ in range(2):
        assert_equal(read_batches(build_data(root, cache=True, **options)), expected)
    assert sum("train_3.png" in line for line in caplog.messages) == 2
    caches = {path: path.stat().st_ino for path in (root / ".pix2pix_cache").iterdir()}
    with pytest.raises(ValueError, match=r"train_0\.png"):
        build_data(root, cache=True)
    assert {path: path.stat().st_ino for path in (root / ".pix2pix_cache").iterdir()} == caches
    sound.write_bytes(content)  # as a disk that was away for a while gives it again
    os.utime(sound, ns=(times, times))
    names = {name for batch in build_data(root, cache=True, **options).train_dataloader() for name in batch["name"]}
    assert "train_0" in names


def test_a_data_set_that_has_disappeared_leaves_no_cache(root):
    for index in range(30):
        save(root / "train" / f"train_{index}.png", noise(index))
        if index:
            overwrite(root / "train" / f"train_{index}.png")
    with pytest.raises(ValueError, match=r"in a row .*data\.root"):
        build_data(root, cache=True, on_error="skip")
    overwrite(root / "train" / "train_0.png")
    with pytest.raises(ValueError, match=r"in a row .*data\.root"):
        build_data(root, cache=True, on_error="skip")
    assert list_caches(root / ".pix2pix_cache") == []


def test_pickling_leaves_the_maps_out(tmp_path):
    pairs = open_slow(tmp_path / "cached", SlowPairs(tmp_path / "read"))
    assert is_complete(pairs)
    pickled = pickle.dumps(pairs)
    assert len(pickled) < 1000
    assert is_complete(pickle.loads(pickled))
    assert not pairs[0][0].flags.writeable


# --- user errors


def catch_message(call):
    with pytest.raises((ValueError, OSError)) as raised:
        call()
    message = format_error(raised.value, "train")
    assert message is not None
    assert "\n" not in message
    assert "data.cache=<folder>" in message
    assert "data.cache=false" in message
    return message


def test_a_disk_that_is_too_small_is_refused_before_writing(root, monkeypatch):
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda folder: SimpleNamespace(free=2**10))
    assert str(root / ".pix2pix_cache") in catch_message(lambda: build_data(root, cache=True))
    assert list_caches(root / ".pix2pix_cache") == []


def test_a_disk_that_fills_up_is_one_line_and_leaves_no_cache(root):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        message = catch_message(lambda: build_data(root, cache=True))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "too large" in message.lower()
    assert list_caches(root / ".pix2pix_cache") == []


def test_a_folder_that_cannot_be_created_is_one_line(root):
    Path("taken").write_text("")
    assert "taken" in catch_message(lambda: build_data(root, cache="taken"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_one_line(root):
    root.chmod(0o500)
    try:
        assert ".pix2pix_cache: permission denied" in catch_message(lambda: build_data(root, cache=True))
    finally:
        root.chmod(0o700)


def test_pairs_without_fingerprints_are_refused(root):
    class Own(PairedDataModule):
        def open_split(self, split):
            return [(noise(0, 8, 8), noise(1, 8, 8), "x")]

    with pytest.raises(ValueError, match="compute_fingerprints"):
        Own(root, cache=True).setup("fit")
    Own(root, cache=False).setup("fit")


DAMAGES = {
    "a cut map": ("a.bin", lambda content: content[:200]),
    "an empty map": ("b.bin", lambda content: b""),
    "no map": ("a.bin", None),
    "a map of more": ("b.bin", lambda content: content * 2),
    "another type": ("pairs.json", lambda content: content.replace(b"uint8", b"int16", 1)),
    "objects": ("pairs.json", lambda content: content.replace(b"uint8", b"O", 1)),
    "no index": ("pairs.json", None),
    "a cut index": ("pairs.json", lambda content: content[:-5]),
    "another index": ("pairs.json", lambda content: b"[1]"),
    "an index of numbers": ("pairs.json", lambda content: content.replace(b'"names": ["0"', b'"names": [0')),
    "sizes of others": ("pairs.json", lambda content: content.replace(b'"heights": [8', b'"heights": [9')),
    "sizes of fewer": ("pairs.json", lambda content: content.replace(b"[8, 8, 8]", b"[8, 16]")),
    "negative sizes": ("pairs.json", lambda content: content.replace(b"[8, 8, 8]", b"[-8, -8, -8]")),
    "one size": ("pairs.json", lambda content: content.replace(b"[8, 8, 8]", b"[8]", 1)),
    "sizes that are none": ("pairs.json", lambda content: content.replace(b"[8, 8, 8]", b"[8, 8, null]")),
    "great sizes": ("pairs.json", lambda content: content.replace(b"[8, 8, 8]", b"[8, 8, 1e400]")),
    "an index of nothing": ("pairs.json", lambda content: b"[" * 100_000),
}  # fmt: skip


def test_a_damaged_cache_is_built_again(tmp_path, caplog):
    folder, pairs = tmp_path / "cached", [(noise(i, 8, 8), noise(i + 10, 8, 8), str(i)) for i in range(3)]
    cached = open_slow(folder, pairs).folder
    for damage, (name, change) in DAMAGES.items():
        path = cached / name
        content = path.read_bytes()
        path.unlink()
        if change is not None:
            path.write_bytes(change(content))
        with caplog.at_level(logging.WARNING):
            assert is_complete(open_slow(folder, pairs)), damage
        assert str(cached) in caplog.text, damage
        assert path.read_bytes() == content, damage
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            open_slow(folder, pairs)
        assert caplog.text == "", damage


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_no_utf8_is_kept(root):
    name = os.fsdecode(b"\xfc")
    next(iter(sorted((root / "train").iterdir()))).rename(root / "train" / f"{name}.png")
    for _ in ("built", "opened"):
        batches = read_batches(build_data(root, cache=True))
        assert any(name in batch["name"] for batch in batches)
