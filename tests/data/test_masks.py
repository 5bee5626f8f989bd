"""Masks of pairs: from a file to a batch, by the way that both sides go."""

import numpy as np
import pytest

from pix2pix_lightning import PairSpec
from pix2pix_lightning.data.augmentation import PairAugmentation
from pix2pix_lightning.data.dataset import PairDataset
from pix2pix_lightning.data.files import image_files
from pix2pix_lightning.data.pairs import FilePairs
from pix2pix_lightning.data.sides import build_side
from pix2pix_lightning.data.split_dataset import build_dataset
from pix2pix_lightning.data.transforms import PairTransform

SPEC = PairSpec(
    source=build_side("raw", num_channels=5, dtype="uint16"),
    target=build_side("raw", num_channels=2, dtype="float32", value_range=[-1, 1]),
    size=12,
    load_size=16,
)


class Masked:
    """Pairs whose mask is where the first channel of A is odd; the last pair has none."""

    def __init__(self):
        generator = np.random.default_rng(0)
        self.a = generator.integers(0, 65536, (3, 16, 16, 5)).astype(np.uint16)
        self.b = generator.normal(size=(3, 16, 16, 2)).astype(np.float32)
        self.b[0, :4, :4] = np.nan

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return self.a[index], self.b[index], str(index)

    def read_mask(self, index):
        return None if index == 2 else self.a[index, :, :, 0] % 2 == 1

    def compute_fingerprints(self):
        return ["0", "1", "2"]


@pytest.mark.parametrize("transforms", [[], [{"_target_": "albumentations.Transpose", "p": 1}]])
def test_a_mask_is_cropped_mirrored_and_transformed_with_its_pair(transforms):
    entries = [PairTransform(entry, SPEC) for entry in transforms]
    augmentation = PairAugmentation(12, mirror=True, transforms=entries)
    dataset = PairDataset(Masked(), SPEC, augmentation=augmentation, seed=0)
    firsts = set()
    for epoch in range(6):
        sample = dataset[epoch, 0]
        assert (sample["mask"].shape, str(sample["mask"].dtype)) == ((1, 12, 12), "torch.bool")
        np.testing.assert_array_equal(sample["mask"][0].numpy(), sample["source"][0].numpy() % 2 == 1)
        firsts.add(int(sample["source"][0, 0, 0]))
    assert len(firsts) > 2
    assert dataset[0, 2]["mask"].all()  # so that all pairs of a batch have one


def test_many_channels_are_mirrored():
    image = np.random.default_rng(0).integers(0, 9, (2, 3, 513)).astype(np.uint16)
    finished = PairAugmentation(None, mirror=True).finish(
        {"source": image}, np.random.SeedSequence(0), is_mirrored=True
    )
    np.testing.assert_array_equal(finished["source"], image[:, ::-1], strict=True)


def test_a_mask_is_resized_without_mixing_and_chosen_with_its_pair():
    dataset = build_dataset(
        Masked(), [1, 2], SPEC, split="val", augmentation=None, seed=0, on_error="raise", max_pairs=None
    )
    mask = dataset[0]["mask"][0].numpy()
    picked = (2 * np.arange(12) + 1) * 16 // 24
    np.testing.assert_array_equal(mask, (Masked().a[1, :, :, 0] % 2 == 1)[np.ix_(picked, picked)])


def test_a_crop_reads_no_more_of_a_mask(tmp_path, monkeypatch):
    spec = PairSpec(source=build_side("raw", dtype="uint16"), target=build_side("raw", dtype="uint16"), resize="none")
    image = np.arange(40 * 30, dtype=np.uint16).reshape(40, 30, 1)
    small = np.random.default_rng(0).integers(0, 2, (20, 15, 1), np.uint8)
    masks = [(image % 3 == 0).astype(np.uint8), small]
    for name, pixels in {"image": image, "0": masks[0], "1": small}.items():
        image_files.write_image(tmp_path / f"{name}.tif", pixels)
    files = [[tmp_path / "image.tif"] * 3]
    pairs = FilePairs(files, files, ["x", "y", "z"], [tmp_path / "0.tif", tmp_path / "1.tif", None])
    pairs.sides = spec.source, spec.target
    dataset = PairDataset(pairs, spec, augmentation=PairAugmentation((8, 12), mirror=True), seed=0)
    decoded, decode = [], image_files.decode
    monkeypatch.setattr(image_files, "decode", lambda *args, **kw: decoded.append(decode(*args, **kw)) or decoded[-1])
    resized = small[..., 0].repeat(2, 0).repeat(2, 1) == 1
    expected = [(image[..., 0] % 3 == 0, [(8, 12)]), (resized, [(20, 15)]), (np.ones((40, 30), bool), [])]
    for index, (whole, of_mask) in enumerate(expected):
        decoded.clear()
        sample = dataset[index]
        places = np.divmod(sample["source"][0].numpy().astype(int), 30)
        np.testing.assert_array_equal(sample["mask"][0], whole[places], strict=True)
        assert [part.pixels.shape[:2] for part in decoded] == [(8, 12), *of_mask]


def test_a_rotation_mixes_no_value_for_none_with_others():
    spec = PairSpec(source=build_side("raw", dtype="int16", nodata=-999), target=SPEC.target, size=16)
    image = np.where(np.random.default_rng(0).random((16, 16, 1)) < 0.3, -999, 1000).astype(np.int16)
    entry = {"_target_": "albumentations.Affine", "rotate": [20, 20], "p": 1}
    source, _ = PairTransform(entry, spec)(image, Masked().b[1], np.random.SeedSequence(0))
    assert set(np.unique(source)) == {-999, 1000}
    assert [source[row, column, 0] for row in (0, -1) for column in (0, -1)] == [-999] * 4  # what was added
