"""Pairs that are made of photos alone: the same file as A and B, and sources that are made of the targets."""

import numpy as np
import pytest
import torch
from PIL import Image

from pix2pix_lightning import PairedDataModule
from pix2pix_lightning.data import DrawEdges, DrawHole
from pix2pix_lightning.data.edges import detect_edges

HOLE = {"_target_": "pix2pix_lightning.data.DrawHole", "mask": "random"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        (folder / split / "cats").mkdir(parents=True)
        for number in range(count):
            blocks = np.kron(rng.integers(0, 256, (4, 4, 3)), np.ones((8, 8, 1))).astype(np.uint8)
            Image.fromarray(blocks).save(folder / split / "cats" / f"{number}.png")
    return folder


def open_data(root, **options):
    data = PairedDataModule(root, layout="photos", size=32, num_workers=0, batch_size=4, **options)
    data.setup("fit")
    return data


def load(data, epoch=0, split="train"):
    loader = data.train_dataloader() if split == "train" else data.val_dataloader()
    loader.sampler.set_epoch(epoch)
    samples = {}
    for batch in loader:
        for name, source, target in zip(batch["name"], batch["source"], batch["target"], strict=True):
            samples[name] = source, target
    return samples


def test_a_photo_is_both_sides_of_a_pair(root):
    data = open_data(root, mirror=False, jitter=False, a={"kind": "grayscale"}, b={"kind": "rgb"})
    assert data.pair_spec.strips is False
    samples = load(data)
    assert sorted(samples) == [f"cats/{number}" for number in range(4)]
    for name, (source, target) in samples.items():
        photo = Image.open(root / "train" / f"{name}.png")
        np.testing.assert_array_equal(target.permute(1, 2, 0), np.asarray(photo))
        assert np.abs(source[0].numpy().astype(int) - np.asarray(photo.convert("L"))).max() <= 1


@pytest.mark.parametrize("cache", [False, True])
def test_lightness_and_colour_are_those_of_one_photo(root, tmp_path, cache):
    sides = {"a": {"kind": "lab", "part": "l"}, "b": {"kind": "lab", "part": "ab"}}
    data = open_data(root, cache=tmp_path if cache else False, **sides)
    for source, target in load(data).values():
        assert torch.equal(source, target)  # the photo, of which a network sees the parts
        seen = [data.pair_spec.encode(image[None], side) for image, side in ((source, "source"), (target, "target"))]
        assert [image.shape[1] for image in seen] == [1, 2]
        assert torch.equal(data.pair_spec.decode(seen[1], seen[0])[0], target)


def test_random_holes_are_new_in_each_epoch_of_training_alone(root):
    data = open_data(root, source_maker=HOLE, mirror=False, jitter=False, seed=3)
    holes = {}
    for split in ("train", "val"):
        for epoch in (0, 1):
            for name, (source, target) in load(data, epoch, split).items():
                hole = (source != target).any(0)
                assert (source[:, hole] == 128).all()
                assert 0 < hole.float().mean() < 0.5
                holes[split, epoch, name] = hole
    for split, is_equal in (("train", False), ("val", True)):
        names = {name for place, _, name in holes if place == split}
        assert all(torch.equal(holes[split, 0, name], holes[split, 1, name]) == is_equal for name in names)
    again = load(open_data(root, source_maker=HOLE, mirror=False, jitter=False, seed=3), 1)
    assert all(torch.equal((source != target).any(0), holes["train", 1, n]) for n, (source, target) in again.items())


def test_a_central_hole_covers_a_quarter():
    photo = np.random.default_rng(0).integers(0, 256, (16, 12, 3), np.uint8)
    source = DrawHole("centre", fill=[1, 2, 3])(photo, np.random.SeedSequence(0))
    expected = photo.copy()
    expected[4:12, 3:9] = 1, 2, 3
    np.testing.assert_array_equal(source, expected)


def test_edges_are_those_of_the_mirrored_crop(root):
    data = open_data(root, source_maker=DrawEdges("canny", min_pixels=2), a={"kind": "grayscale"})
    for source, target in load(data).values():
        expected = detect_edges(target.permute(1, 2, 0).contiguous().numpy(), "canny", min_pixels=2)
        np.testing.assert_array_equal(source[0], expected[..., 0])


def test_what_has_no_effect_is_refused(root):
    entry = {"_target_": "albumentations.InvertImg", "sides": "source"}
    with pytest.raises(ValueError, match=r"sides=source.*source_maker"):
        open_data(root, source_maker=HOLE, augmentation=[entry])
    with pytest.raises(ValueError, match=r"source_maker=hole.*_target_"):
        open_data(root, source_maker="hole")
    with pytest.raises(ValueError, match=r"mask.*round"):
        open_data(root, source_maker={**HOLE, "mask": "round"})


def test_sources_that_do_not_fit_their_side_are_refused(root):
    with pytest.raises(ValueError, match=r"\(32, 32, 1\).*data\.a is rgb.*data\.a\.kind=grayscale"):
        open_data(root, source_maker=DrawEdges())
    deep = {"kind": "raw", "dtype": "uint16", "num_channels": 3}
    with pytest.raises(ValueError, match=r"source_maker.*8-bit.*uint16"):
        open_data(root, source_maker=HOLE, a=deep, b=deep, check="off")
