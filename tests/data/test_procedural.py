import hashlib
import itertools
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from pix2pix_lightning.data import procedural
from pix2pix_lightning.data.procedural import PALETTE, ProceduralPairs

NUM = 50


def digest(size: int, seed: int, split: str, index: int) -> str:
    photo, labels, name = ProceduralPairs(NUM, size=size, seed=seed, split=split)[index]
    return hashlib.sha256(photo.tobytes() + labels.tobytes() + name.encode()).hexdigest()


def digest_elsewhere(size: int, seed: int, split: str, index: int) -> str:
    """In a fresh interpreter, with other string hashes; the package's folder stands in for the package, whose
    import would load torch."""
    folder = Path(procedural.__file__).parent
    lines = (
        "import hashlib, sys, types",
        "package = sys.modules['pix2pix_lightning.data'] = types.ModuleType('data')",
        f"package.__path__ = [{str(folder)!r}]",
        f"sys.path.insert(0, {str(folder.parents[1])!r})",
        "from pix2pix_lightning.data.procedural import ProceduralPairs",
        f"a, b, name = ProceduralPairs({NUM}, size={size}, seed={seed}, split={split!r})[{index}]",
        "print(hashlib.sha256(a.tobytes() + b.tobytes() + name.encode()).hexdigest())",
    )
    command = [sys.executable, "-c", "\n".join(lines)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def mask(labels: np.ndarray, part: str) -> np.ndarray:
    return (labels == PALETTE[part]).all(-1)


@pytest.fixture(scope="module")
def pairs() -> list[tuple[np.ndarray, np.ndarray, str]]:
    return list(ProceduralPairs(NUM, size=128))


def test_names_shapes_and_layout_in_memory():
    for size in (32, 64, 101, 128, 256):
        photo, labels, name = ProceduralPairs(NUM, size=size, split="val")[7]
        assert name == "val_00007"
        for image in (photo, labels):
            assert image.shape == (size, size, 3)
            assert image.dtype == np.uint8
            assert image.flags.c_contiguous


def test_length_and_iteration():
    dataset = ProceduralPairs(3, size=32)
    assert len(dataset) == 3
    assert [name for _, _, name in dataset] == ["train_00000", "train_00001", "train_00002"]


def test_a_pair_depends_on_nothing_but_seed_split_and_index():
    dataset = ProceduralPairs(NUM, size=64, seed=3)
    forwards = [dataset[index] for index in range(6)]
    longer = ProceduralPairs(1000, size=64, seed=3)
    for index in reversed(range(6)):
        for one, other in zip(forwards[index], longer[index], strict=True):
            np.testing.assert_array_equal(one, other)


def test_another_process_and_number_of_threads_draw_the_same():
    cases = [(128, 5, "train", 4), (64, 5, "val", 11)]
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        here = [digest(*case) for case in cases]
    finally:
        cv2.setNumThreads(threads)
    assert [digest(*case) for case in cases] == here
    assert [digest_elsewhere(*case) for case in cases] == here


def test_seeds_splits_and_indices_differ():
    photos, labels = set(), set()
    for seed, split, index in itertools.product((0, 1, 2**40), ("train", "val", "test"), (0, 1, 2)):
        photo, label, _ = ProceduralPairs(NUM, size=64, seed=seed, split=split)[index]
        photos.add(photo.tobytes())
        labels.add(label.tobytes())
    assert len(photos) == len(labels) == 27


def test_the_global_generator_is_left_alone():
    np.random.seed(1)
    state = np.random.get_state()[1].copy()
    first = ProceduralPairs(NUM, size=64)[0][0]
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    np.random.seed(2)
    np.testing.assert_array_equal(ProceduralPairs(NUM, size=64)[0][0], first)


def test_the_palette_is_small_and_its_colours_lie_apart():
    assert len(PALETTE) <= 12
    for one, other in itertools.combinations(PALETTE.values(), 2):
        assert np.linalg.norm(np.subtract(one, other)) > 60


@pytest.mark.parametrize("size", [64, 128, 256])
def test_labels_are_colours_of_the_palette_exactly(size):
    allowed = {r << 16 | g << 8 | b for r, g, b in PALETTE.values()}
    for _, labels, _ in itertools.islice(ProceduralPairs(NUM, size=size, seed=1), 20):
        codes = labels.astype(np.int32) @ (1 << 16, 1 << 8, 1)
        assert set(np.unique(codes).tolist()) <= allowed


def test_every_class_appears_and_windows_nearly_everywhere(pairs):
    counts = {part: sum(bool(mask(labels, part).any()) for _, labels, _ in pairs) for part in PALETTE}
    assert min(counts.values()) >= 5, counts
    assert counts["window"] >= 0.95 * NUM
    areas = [mask(labels, "window").mean() for _, labels, _ in pairs]
    assert 0.05 < np.mean(areas) < 0.3


def test_the_same_building_at_another_size():
    for index in range(8):
        large, small = (ProceduralPairs(NUM, size=size)[index] for size in (256, 128))
        same = (large[1][1::2, 1::2] == small[1]).all(-1).mean()
        other = (large[1][1::2, 1::2] == ProceduralPairs(NUM, size=128)[index + 1][1]).all(-1).mean()
        assert same > 0.85
        assert other < 0.8
        shrunk = cv2.resize(large[0], (128, 128), interpolation=cv2.INTER_AREA)
        assert np.abs(shrunk.mean((0, 1)) - small[0].mean((0, 1))).max() < 12


def test_windows_look_other_than_walls(pairs):
    distances = [
        np.linalg.norm(photo[mask(labels, "window")].mean(0) - photo[mask(labels, "wall")].mean(0))
        for photo, labels, _ in pairs
    ]
    assert np.mean(np.array(distances) > 15) > 0.7


def test_edges_of_the_photo_lie_on_those_of_the_labels(pairs):
    shifted, ratios = [], []
    for photo, labels, _ in pairs:
        grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32)
        slope = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
        edge = np.zeros(grey.shape, bool)
        edge[:, 1:] |= (labels[:, 1:] != labels[:, :-1]).any(-1)
        edge[1:] |= (labels[1:] != labels[:-1]).any(-1)
        near = cv2.dilate(edge.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
        ratios.append(slope[edge].mean() / slope[~near].mean())
        shifted.append(slope[edge].mean() / slope[np.roll(edge, (3, 3), (0, 1))].mean())
    assert np.median(ratios) > 1.7
    assert min(ratios) > 1.1
    assert np.median(shifted) > 1.2


@pytest.mark.parametrize("part", ["sky", "roof", "wall", "window", "shutter", "door", "shop"])
def test_there_is_more_than_one_right_photo(pairs, part):
    means = [photo[mask(labels, part)].mean(0) for photo, labels, _ in pairs if mask(labels, part).any()]
    assert np.std(means, axis=0).mean() > 12


def test_windows_of_one_building_differ():
    spreads = []
    for photo, labels, _ in itertools.islice(ProceduralPairs(NUM, size=128), 20):
        num, panes = cv2.connectedComponents(mask(labels, "window").astype(np.uint8), connectivity=4)
        spreads.append(np.std([photo[panes == pane].mean() for pane in range(1, num)]))
    assert np.median(spreads) > 8


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num": 0}, "num of the procedural pairs is 0: give 1 or more"),
        ({"num": 4, "size": 31}, "size of the procedural pairs is 31: give 32 or more"),
        ({"num": 4, "seed": -1}, "seed of the procedural pairs is -1: give 0 or more"),
    ],
)
def test_mistakes_are_told_in_one_line(options, words):
    with pytest.raises(ValueError, match=f"^{words}$"):
        ProceduralPairs(**options)


@pytest.mark.parametrize("index", [-1, 4, 100])
def test_an_index_out_of_range(index):
    with pytest.raises(IndexError, match=rf"pair {index} of split 'train': there are pairs 0 to 3"):
        ProceduralPairs(4)[index]


def test_buildings_of_one_street_share_what_does_not_follow_from_the_labels():
    def wall_colours(num_looks, seed=0):
        pairs = ProceduralPairs(8, size=64, seed=seed, num_looks=num_looks)
        wall = PALETTE["wall"]
        return np.array(
            [np.median(photo[(labels == wall).all(2)], 0) for photo, labels, _ in map(pairs.__getitem__, range(8))]
        )

    one, two, own = (wall_colours(num_looks).astype(float) for num_looks in (1, 2, None))
    assert one.std(0).max() < 6
    assert two[::2].std(0).max() < 6
    assert two[1::2].std(0).max() < 6
    assert np.abs(two[0] - two[1]).max() > 20
    assert own.std(0).max() > 20
    assert np.abs(wall_colours(1, seed=5).mean(0) - one.mean(0)).max() < 6  # the same street
    assert (
        ProceduralPairs(2, size=64, seed=5, num_looks=1)[0][1] != ProceduralPairs(2, size=64, num_looks=1)[0][1]
    ).any()


@pytest.mark.parametrize("other", [{"size": 40}, {"seed": 1}, {"split": "val"}, {"num_looks": 2}])
def test_stamps_change_with_what_a_pair_is_a_function_of(other, monkeypatch):
    def stamps(**options):
        return ProceduralPairs(**{"num": 3, "size": 32, **options}).stamps()

    before = stamps()
    assert len({tuple(stamp) for stamp in before}) == 3
    assert stamps(num=5)[:3] == before
    assert not {tuple(stamp) for stamp in stamps(**other)} & {tuple(stamp) for stamp in before}
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b"#" * path.name.startswith("facade_photo"))
    assert stamps() != before
