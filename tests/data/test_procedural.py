"""Drawn pairs: functions of their arguments, in the palette's colours, with edges where the labels have them."""

import hashlib
import itertools
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from pix2pix_lightning.data.procedural import PALETTE, ProceduralPairs

NUM = 40


def digest(size: int, seed: int, split: str, index: int) -> str:
    photo, labels, name = ProceduralPairs(NUM, size=size, seed=seed, split=split)[index]
    return hashlib.sha256(photo.tobytes() + labels.tobytes() + name.encode()).hexdigest()


def digest_in_process(*case: object) -> list[str]:
    """Compute ``digest`` in a fresh interpreter, which has other string hashes; and list what it imported."""
    lines = (
        "import hashlib, sys",
        "from pix2pix_lightning.data import pairs, procedural",
        "size, seed, split, index = sys.argv[1:]",
        f"pairs = procedural.ProceduralPairs({NUM}, size=int(size), seed=int(seed), split=split)",
        "a, b, name = pairs[int(index)]",
        "print(hashlib.sha256(a.tobytes() + b.tobytes() + name.encode()).hexdigest())",
        "print(*({'torch', 'lightning', 'hydra', 'albumentations'} & sys.modules.keys()))",
    )
    command = [sys.executable, "-c", "\n".join(lines), *map(str, case)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n")


def mask(labels: np.ndarray, part: str) -> np.ndarray:
    return (labels == PALETTE[part]).all(-1)


@pytest.fixture(scope="module")
def pairs() -> list[tuple[np.ndarray, np.ndarray, str]]:
    return list(ProceduralPairs(NUM, size=96))


def test_names_shapes_and_layout_in_memory():
    for size in (32, 101, 256):
        photo, labels, name = ProceduralPairs(NUM, size=size, split="val")[7]
        assert name == "val_00007"
        for image in (photo, labels):
            assert image.shape == (size, size, 3)
            assert image.dtype == np.uint8
            assert image.flags.c_contiguous


def test_a_pair_is_a_function_of_seed_split_and_index():
    dataset = ProceduralPairs(3, size=32, seed=3)
    assert len(dataset) == 3
    np.random.seed(1)
    state = np.random.get_state()[1].copy()
    forwards = list(dataset)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    np.random.seed(2)
    longer = ProceduralPairs(1000, size=32, seed=3)
    for index in reversed(range(3)):
        assert longer[index][2] == f"train_{index:05d}"
        for one, other in zip(forwards[index], longer[index], strict=True):
            np.testing.assert_array_equal(one, other)


def test_other_processes_and_numbers_of_threads_draw_the_same_and_import_neither_torch_nor_lightning():
    case = 128, 5, "val", 4
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        expected = digest(*case)
    finally:
        cv2.setNumThreads(threads)
    assert digest(*case) == expected
    assert digest_in_process(*case)[:2] == [expected, ""]


def test_seeds_splits_and_indices_differ():
    photos, labels = set(), set()
    for seed, split, index in itertools.product((0, 1, 2**40), ("train", "val", "test"), (0, 1, 2)):
        photo, label, _ = ProceduralPairs(NUM, size=32, seed=seed, split=split)[index]
        photos.add(photo.tobytes())
        labels.add(label.tobytes())
    assert len(photos) == len(labels) == 27


def test_the_palette_is_small_and_its_colours_lie_apart():
    assert len(PALETTE) <= 12
    for one, other in itertools.combinations(PALETTE.values(), 2):
        assert np.linalg.norm(np.subtract(one, other)) > 60


def test_labels_have_the_colours_of_the_palette_only_and_all_of_them(pairs):
    codes = {part: r << 16 | g << 8 | b for part, (r, g, b) in PALETTE.items()}
    counts = dict.fromkeys(PALETTE, 0)
    for labels in [labels for _, labels, _ in pairs] + [ProceduralPairs(1, size=256, seed=1)[0][1]]:
        found = set(np.unique(labels.astype(np.int32) @ (1 << 16, 1 << 8, 1)).tolist())
        assert found <= set(codes.values())
        for part, code in codes.items():
            counts[part] += code in found
    assert min(counts.values()) >= 4, counts
    assert counts["window"] >= 0.95 * NUM
    areas = [mask(labels, "window").mean() for _, labels, _ in pairs]
    assert 0.05 < np.mean(areas) < 0.3


def test_the_same_building_at_another_size():
    smalls = list(itertools.islice(ProceduralPairs(NUM, size=64), 5))
    for index in range(4):
        large, small = ProceduralPairs(NUM, size=128)[index], smalls[index]
        same = (large[1][1::2, 1::2] == small[1]).all(-1).mean()
        other = (large[1][1::2, 1::2] == smalls[index + 1][1]).all(-1).mean()
        assert same > 0.85
        assert other < 0.8
        shrunk = cv2.resize(large[0], (64, 64), interpolation=cv2.INTER_AREA)
        assert np.abs(shrunk.mean((0, 1)) - small[0].mean((0, 1))).max() < 12


def test_windows_and_walls_look_different(pairs):
    distances = [
        np.linalg.norm(photo[mask(labels, "window")].mean(0) - photo[mask(labels, "wall")].mean(0))
        for photo, labels, _ in pairs
    ]
    assert np.mean(np.array(distances) > 15) > 0.7


def test_edges_of_the_photo_lie_on_those_of_the_labels(pairs):
    shifted, ratios = [], []
    for photo, labels, _ in pairs:
        gray = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32)
        slope = np.hypot(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1))
        edge = np.zeros(gray.shape, bool)
        edge[:, 1:] |= (labels[:, 1:] != labels[:, :-1]).any(-1)
        edge[1:] |= (labels[1:] != labels[:-1]).any(-1)
        near = cv2.dilate(edge.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
        ratios.append(slope[edge].mean() / slope[~near].mean())
        shifted.append(slope[edge].mean() / slope[np.roll(edge, (3, 3), (0, 1))].mean())
    assert np.median(ratios) > 1.7
    assert min(ratios) > 1.1
    assert np.median(shifted) > 1.2


def test_there_is_more_than_one_right_photo(pairs):
    for part in ("sky", "roof", "wall", "window", "shutter", "door", "shop"):
        masks = [mask(labels, part) for _, labels, _ in pairs]
        means = [photo[where].mean(0) for (photo, _, _), where in zip(pairs, masks, strict=True) if where.any()]
        assert np.std(means, axis=0).mean() > 12, part


def test_windows_of_one_building_differ(pairs):
    spreads = []
    for photo, labels, _ in pairs[:10]:
        num, panes = cv2.connectedComponents(mask(labels, "window").astype(np.uint8), connectivity=4)
        spreads.append(np.std([photo[panes == pane].mean() for pane in range(1, num)]))
    assert np.median(spreads) > 8


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num": 0}, "num=0"),
        ({"num": 4, "size": 31}, "size=31"),
        ({"num": 4, "seed": -1}, "seed=-1"),
        ({"num": 4, "num_looks": 0}, "num_looks=0"),
    ],
)
def test_arguments_out_of_range_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        ProceduralPairs(**options)


def test_an_index_out_of_range():
    for index in (-1, 4):
        with pytest.raises(IndexError, match=str(index)):
            ProceduralPairs(4)[index]


def test_buildings_of_one_street_share_what_does_not_follow_from_the_labels():
    def wall_colours(num_looks, seed=0):
        pairs = ProceduralPairs(6, size=64, seed=seed, num_looks=num_looks)
        wall = PALETTE["wall"]
        return np.array([np.median(photo[(labels == wall).all(2)], 0) for photo, labels, _ in pairs])

    one, two, own = (wall_colours(num_looks).astype(float) for num_looks in (1, 2, None))
    assert one.std(0).max() < 6
    assert two[::2].std(0).max() < 6
    assert two[1::2].std(0).max() < 6
    assert np.abs(two[0] - two[1]).max() > 20
    assert own.std(0).max() > 20
    assert np.abs(wall_colours(1, seed=5).mean(0) - one.mean(0)).max() < 6  # the same street
    assert (ProceduralPairs(2, size=64, seed=5, num_looks=1)[0][1] != ProceduralPairs(2, size=64)[0][1]).any()


def test_fingerprints_change_with_the_arguments_and_the_code(monkeypatch):
    def compute(**options):
        return [tuple(f) for f in ProceduralPairs(**{"num": 3, "size": 32, **options}).compute_fingerprints()]

    before = compute()
    assert len(set(before)) == 3
    assert compute(num=5)[:3] == before
    for other in ({"size": 40}, {"seed": 1}, {"split": "val"}, {"num_looks": 2}):
        assert not set(compute(**other)) & set(before)
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b"#" * (path.name == "photo.py"))
    assert compute() != before
