"""The paper's crop and mirror, and the transforms that a configuration adds."""

import re
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from pix2pix_lightning import data
from pix2pix_lightning.data import PairAugmentation, PairDataset, PairedDataModule, PairTransform
from pix2pix_lightning.data.dataset import collate
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.sides import build_side
from pix2pix_lightning.utils.seeding import Purpose, seed_sequence

SIZE = 16
LABEL = build_side(kind="label", num_classes=256)
SMOOTH = cv2.resize(np.random.default_rng(0).integers(0, 256, (4, 4), np.uint8), (SIZE, SIZE))[..., None]
CLASSES = np.kron(np.array([[0, 40], [90, 250]], np.uint8), np.ones((8, 8), np.uint8))[..., None]
RGB = np.random.default_rng(1).integers(0, 256, (SIZE, SIZE, 3), np.uint8)


def build_spec(source=None, target=None):
    return PairSpec(source=source or build_side(), target=target or build_side(), size=SIZE, load_size=SIZE)


def build_entry(name, sides=None, **options):
    return {"_target_": f"albumentations.{name}", **options, **({"sides": sides} if sides else {})}


def apply(entry, source, target, spec=None, seed=0):
    return PairTransform(entry, spec or build_spec())(source, target, np.random.SeedSequence(seed))


def coordinates(height, width):
    """Red is the column, green the row."""
    y, x = np.mgrid[:height, :width]
    return np.dstack([x, y, 0 * x]).astype(np.uint8)


def test_crop_and_mirror_are_uniform_and_independent():
    """All 3 x 3 offsets and both directions are equally likely, in both sides alike."""
    augmentation = PairAugmentation(14, mirror=True)
    image = coordinates(16, 16)
    draws = []
    for number in range(1800):
        source, target = augmentation(image, image[..., :1], np.random.SeedSequence(number))
        np.testing.assert_array_equal(source[..., :1], target)
        is_mirrored = source[0, 0, 0] > source[0, 1, 0]
        left, top = int(source[..., 0].min()), int(source[..., 1].min())
        window = image[top : top + 14, left : left + 14]
        np.testing.assert_array_equal(source, window[:, ::-1] if is_mirrored else window)
        draws.append((left, top, bool(is_mirrored)))
    counts = np.array([draws.count((x, y, m)) for x in range(3) for y in range(3) for m in (False, True)])
    assert counts.sum() == 1800
    assert ((counts - 100) ** 2 / 100).sum() < 45  # chi-squared of 17 degrees: 1 in 4000 by chance


def test_without_mirror_the_crop_stays_random():
    augmentation = PairAugmentation(14, mirror=False)
    image = coordinates(16, 16)
    corners = {tuple(augmentation(image, image, np.random.SeedSequence(n))[0][0, 0, :2]) for n in range(100)}
    assert corners == {(x, y) for x in range(3) for y in range(3)}


def test_both_sides_get_the_same_geometry_and_masks_are_not_blended():
    """Rotation interpolates the image; the class numbers stay those that were there, and follow the image."""
    entry = build_entry("Affine", rotate=[20, 20], p=1, fill=[0, 0, 0])
    image = np.where(CLASSES == 250, 250, 0).astype(np.uint8).repeat(3, 2)
    for spec, pair in (
        (build_spec(target=LABEL), (image, CLASSES)),
        (build_spec(source=LABEL), (CLASSES, image)),
    ):
        result = apply(entry, *pair, spec)
        photo, labels = result if spec.target.kind == "label" else result[::-1]
        assert set(np.unique(labels)) <= {0, 40, 90, 250}
        assert labels.shape == (SIZE, SIZE, 1)
        assert len(np.unique(photo)) > 4
        assert ((photo[..., :1] > 125) == (labels == 250)).mean() > 0.97
    both = apply(entry, CLASSES, CLASSES, build_spec(LABEL, LABEL))
    np.testing.assert_array_equal(both[0], both[1])
    np.testing.assert_array_equal(both[0], labels)


def test_resizing_does_not_shift_masks_and_never_blends_them():
    """A crop of 10 columns from column 3 to 16 columns: nearest exact picks the pixel under the centre."""
    entry = build_entry(
        "Compose",
        transforms=[
            build_entry("Crop", x_min=3, y_min=2, x_max=13, y_max=12),
            build_entry("Resize", height=SIZE, width=SIZE, mask_interpolation=cv2.INTER_LINEAR),
        ],
    )
    columns = np.tile(np.arange(SIZE, dtype=np.uint8)[None, :, None] * 16, (SIZE, 1, 1))
    for source, spec in ((RGB, build_spec(target=LABEL)), (columns, build_spec(LABEL, LABEL))):
        target = apply(entry, source, columns, spec)[1]
        expected = 16 * (3 + ((np.arange(SIZE) + 0.5) * 10 / SIZE).astype(int))
        np.testing.assert_array_equal(target[0, :, 0], expected)


def test_a_transform_of_the_source_does_not_change_the_target():
    entry = build_entry("InvertImg", "source", p=1)
    source, target = apply(entry, RGB, RGB)
    np.testing.assert_array_equal(source, 255 - RGB)
    np.testing.assert_array_equal(target, RGB)
    source, target = apply(
        build_entry("InvertImg", "target", p=1), SMOOTH, RGB, build_spec(build_side(kind="grayscale"))
    )
    np.testing.assert_array_equal(source, SMOOTH)
    np.testing.assert_array_equal(target, 255 - RGB)
    np.testing.assert_array_equal(apply(entry, CLASSES, RGB, build_spec(LABEL))[0], CLASSES)  # no colours to change
    for image, inverted in zip((RGB, RGB), apply(A.InvertImg(p=1), RGB, RGB), strict=True):
        np.testing.assert_array_equal(inverted, 255 - image)


def test_entries_are_applied_in_order_and_draw_independently():
    """Two mirrors of probability 1/2: all four outcomes, also inside of a composition; each a function of the seed."""
    spec = build_spec()
    flips = [build_entry("HorizontalFlip"), build_entry("VerticalFlip")]
    outcomes = {
        (a, b): RGB[:: -1 if b else 1, :: -1 if a else 1].tobytes() for a in (False, True) for b in (False, True)
    }
    for entries in (flips, [build_entry("Compose", transforms=flips)]):
        augmentation = PairAugmentation(SIZE, mirror=False, transforms=[PairTransform(e, spec) for e in entries])
        seeds = [np.random.SeedSequence(number) for number in range(80)]
        seen = [augmentation(RGB, RGB, seed)[0].tobytes() for seed in seeds]
        assert {outcome: seen.count(image) > 8 for outcome, image in outcomes.items()} == dict.fromkeys(outcomes, True)
        assert [augmentation(RGB, RGB, seed)[0].tobytes() for seed in reversed(seeds)] == seen[::-1]
    flips = [build_entry("HorizontalFlip", p=1), build_entry("VerticalFlip", p=1)]
    one_of = build_entry("OneOf", p=1, transforms=flips)
    seen = {apply(one_of, RGB, RGB, seed=number)[0].tobytes() for number in range(20)}
    assert seen == {outcomes[True, False], outcomes[False, True]}


class OwnTransform(A.ImageOnlyTransform):
    """A transform of a user's own package."""

    def __init__(self, value=1, p=1.0):
        super().__init__(p=p)
        self.value = value

    def apply(self, img, **params):
        return np.full_like(img, self.value)


def test_a_transform_of_another_package_is_found_by_its_name():
    entry = {"_target_": f"{__name__}.OwnTransform", "value": 7, "sides": "source"}
    source, target = apply(entry, RGB, RGB)
    assert (source == 7).all()
    np.testing.assert_array_equal(target, RGB)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (build_entry("NoSuchTransform"), "NoSuchTransform"),
        (build_entry("Rotate", limit="abc"), r"augmentation.*Rotate.*limit"),
        (build_entry("Rotate", limits=3), "limits"),
        (build_entry("HorizontalFlip", "left"), r"sides='left'"),
        (build_entry("HorizontalFlip", ["source"]), r"sides=\['source'\]"),
        ({"p": 1}, "_target_"),
        ("albumentations.HorizontalFlip", "albumentations.HorizontalFlip"),
        ({"_target_": "builtins.dict"}, "no transform"),
        (build_entry("Resize", height=8, width=16), r"Resize.*\(8, 16, 3\) uint8.*data\.size=16"),
        (build_entry("ToFloat", "source", p=1), r"ToFloat.*source.*float32"),
        (build_entry("Crop", "target", x_max=9, y_max=9), r"Crop.*target.*\(9, 9, 3\)"),
        (build_entry("RandomCrop", height=40, width=40), r"RandomCrop"),
    ],
    ids=str,
)
def test_a_wrong_entry_is_named_in_one_line(entry, message):
    with pytest.raises(ValueError, match=message) as raised:
        apply(entry, RGB, RGB)
    assert "\n" not in str(raised.value)


def test_the_list_is_checked():
    for value in ("abc", {"_target_": "albumentations.HorizontalFlip"}, 3):
        with pytest.raises(ValueError, match=r"data\.augmentation="):
            PairedDataModule("pairs", augmentation=value)


def test_augmented_pairs_depend_on_seed_epoch_and_index_alone():
    pairs = [(RGB, RGB, str(index)) for index in range(2)]
    spec = PairSpec(size=SIZE, load_size=SIZE)
    transforms = [PairTransform(build_entry("GaussNoise", p=1), spec)]

    def image(seed, *key):
        augmentation = PairAugmentation(SIZE, mirror=False, transforms=transforms)
        return PairDataset(pairs, spec, augmentation=augmentation, seed=seed)[key]["source"]

    images = [image(0, 0, 0), image(1, 0, 0), image(0, 1, 0), image(0, 0, 1)]
    assert len({bytes(i.numpy()) for i in images}) == 4
    assert torch.equal(image(0, 1, 0), images[2])


def test_albumentations_is_imported_on_first_use_and_by_one_file():
    files = {path: path.read_text() for path in Path(data.__file__).parent.glob("*.py")}
    assert not [path for path, text in files.items() if re.search("^(import|from) albumentations", text, re.M)]
    assert [path.name for path, text in files.items() if "import albumentations" in text] == ["transforms.py"]
    assert set(data.__all__) <= set(dir(data))


def test_crops_are_drawn_as_by_a_generator_of_the_seed():
    augmentation = PairAugmentation((8, 6), mirror=True)
    for index, (height, width) in enumerate([(38, 36), (8, 9), (9, 6), (300, 5000)] * 10):
        seed = seed_sequence(2**32 - 1, Purpose.AUGMENTATION, 3, index)
        expected = np.random.default_rng(np.random.SeedSequence([2**32 - 1, int(Purpose.AUGMENTATION), 3, index]))
        corner = expected.integers(0, (height - 7, width - 5)).tolist()
        placement = augmentation.place(height, width, seed)
        assert [placement.window.top, placement.window.left] == corner
        assert placement.is_mirrored == expected.integers(2)


def test_a_batch_of_one_is_collated_without_a_copy():
    sample = {"source": torch.zeros(3, 2, 2), "target": torch.ones(1, 2, 2), "name": "x", "mask": torch.ones(1, 2, 2)}
    batch, expected = collate([sample]), default_collate([sample])
    assert batch.keys() == expected.keys()
    assert batch["name"] == expected["name"]
    assert all(torch.equal(batch[key], expected[key]) for key in ("source", "target", "mask"))
    assert batch["source"].data_ptr() == sample["source"].data_ptr()
    samples = [{**sample, "source": torch.arange(24).reshape(3, 2, 4) + 24 * number} for number in range(2)]
    batch, expected = collate(samples), default_collate(samples)
    assert all(torch.equal(batch[key], expected[key]) for key in ("source", "target", "mask"))
    assert batch["source"].is_contiguous(memory_format=torch.channels_last)
