"""Volumes as pairs of slices, with neighbours as channels (2.5D)."""

import logging

import numpy as np
import pytest
from omegaconf import OmegaConf

from pix2pix_lightning.data import PairedDataModule
from pix2pix_lightning.data.files.volumes import write_volume
from pix2pix_lightning.utils.errors import UserError

nibabel = pytest.importorskip("nibabel")
SHAPE = (8, 6, 5)


def draw(seed, shape=SHAPE, dtype="int16"):
    return np.random.default_rng(seed).integers(-1000, 3000, shape).astype(dtype)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([2.0, 2, 3, 1])), path)


def save_pairs(root, count, ending=".nii.gz", shape=SHAPE, b_shape=None):
    """Save volumes of A (int16) and of B (float32) and return them."""
    volumes = {}
    for number in range(count):
        a, b = draw(number, shape), draw(100 + number, b_shape or shape, "float32")
        save(root / "A" / f"scan{number}{ending}", a)
        save(root / "B" / f"scan{number}{ending}", b)
        volumes[f"scan{number}"] = a, b
    return volumes


@pytest.mark.parametrize(
    ("ending", "axis", "neighbours", "direction"),
    [
        (".nii.gz", 2, 1, "a_to_b"),
        (".nii", 0, 0, "a_to_b"),
        (".nii", 1, 2, "b_to_a"),
    ],
)
def test_each_slice_is_a_pair(tmp_path, ending, axis, neighbours, direction):
    volumes = save_pairs(tmp_path / "train", 2, ending)
    options = OmegaConf.create({"axis": axis, "neighbours": neighbours})
    data = PairedDataModule(tmp_path, volumes=options, direction=direction, val_split="train", size=8)
    spec, count = data.pair_spec, SHAPE[axis]
    assert (spec.slice_axis, spec.neighbours) == (axis, neighbours)
    assert (spec.source.channels, spec.target.channels) == (1 + 2 * neighbours, 1)
    assert (spec.a.dtype, spec.b.dtype) == ("int16", "float32")
    data.setup("fit")  # with the check
    pairs = data.open_split("train")
    assert len(pairs) == 2 * count
    for index in (0, count - 1, count):
        a, b, name = pairs[index]
        volume, _, number = name.rpartition("/")
        assert int(number) == index % count
        for seen, whole, key in zip((a, b), volumes[volume], "ab", strict=True):
            is_source = direction.startswith(key)
            around = np.arange(-neighbours, neighbours + 1) if is_source else np.zeros(1, int)
            slices = np.moveaxis(whole, axis, -1)[..., np.clip(int(number) + around, 0, count - 1)]
            np.testing.assert_array_equal(seen, slices)


def test_all_slices_of_a_volume_are_in_one_split(tmp_path, caplog):
    save_pairs(tmp_path, 6)
    data = PairedDataModule(tmp_path, val_fraction=0.4, test_fraction=0.2, volumes={"neighbours": 1}, size=8)
    with caplog.at_level(logging.INFO):
        splits = [data.open_split(split) for split in ("train", "val", "test")]
    volumes = [{pairs.get_name(index).split("/")[0] for index in range(len(pairs))} for pairs in splits]
    assert sum(map(len, volumes)) == len(set().union(*volumes)) == 6
    assert sum(map(len, splits)) == 6 * SHAPE[2]
    assert f"volumes: {len(volumes[1])}, whose slices across axis 2 are {len(splits[1])} pairs" in caplog.text


def test_a_manifest_stacks_volumes_and_takes_masks(tmp_path):
    volumes = save_pairs(tmp_path, 1, ".nii")["scan0"]
    save(tmp_path / "mask.nii", (volumes[0] > 0).astype("uint8"))
    row = "A/scan0.nii,A/scan0.nii,B/scan0.nii,mask.nii,p"
    (tmp_path / "pairs.csv").write_text(f"source_1,source_2,target,mask,name\n{row}")
    data = PairedDataModule(tmp_path / "pairs.csv", volumes={"neighbours": 1}, size=8, val_split="train")
    data.setup("fit")
    pairs = data.open_split("train")
    assert pairs.get_name(3) == "p/3"
    np.testing.assert_array_equal(pairs[3][0], volumes[0][..., [2, 3, 4, 2, 3, 4]])
    np.testing.assert_array_equal(pairs.read_mask(3), volumes[0][..., 3] > 0)


def test_a_cache_follows_the_axis(tmp_path):
    volumes = save_pairs(tmp_path, 1, ".nii", shape=(8, 8, 8))["scan0"]
    settings = {"val_split": "train", "jitter": False, "size": 8, "num_workers": 0, "cache": True}
    for axis in (2, 1):
        data = PairedDataModule(tmp_path, volumes={"axis": axis}, **settings)
        data.setup("validate")
        batch = next(iter(data.val_dataloader()))
        np.testing.assert_array_equal(batch["source"][0, 0].numpy(), np.moveaxis(volumes[0], axis, 0)[0])


def test_a_damaged_volume_is_one_bad_pair(tmp_path):
    save_pairs(tmp_path / "train", 3)
    (tmp_path / "train" / "A" / "scan1.nii.gz").write_bytes(b"no volume")
    settings = {"val_split": "train", "size": 8}
    with pytest.raises(UserError, match=r"scan1\.nii\.gz"):
        PairedDataModule(tmp_path, **settings).setup("fit")
    data = PairedDataModule(tmp_path, on_error="skip", **settings)
    data.setup("fit")
    assert len(data.train_dataloader().dataset) == 2 * SHAPE[2]


def test_what_cannot_be_divided_is_one_line(tmp_path):
    save_pairs(tmp_path / "unlike" / "train", 1, b_shape=(8, 6, 4))
    with pytest.raises(UserError, match=r"5 in .*A/scan0.nii.gz and 4 in .*B/scan0.nii.gz"):
        PairedDataModule(tmp_path / "unlike", size=8).setup("fit")
    for side in "AB":
        save(tmp_path / "flat" / "train" / side / "x.nii", draw(0, (8, 6, 1)))
    pairs = PairedDataModule(tmp_path / "flat", size=8).open_split("train")
    assert [pairs.get_name(index) for index in range(len(pairs))] == ["x"]
    with pytest.raises(UserError, match=r"data\.volumes\.axis=2 and neighbours=1 have no effect"):
        PairedDataModule(tmp_path / "flat", size=8, volumes={"neighbours": 1}).setup("fit")
    for volumes in ({"axis": 3}, {"neighbours": -1}, {"slices": 1}):
        with pytest.raises(UserError, match=next(iter(volumes))):
            PairedDataModule(tmp_path, volumes=volumes)


def test_copies_of_volumes_are_named_and_slices_of_one_are_none(tmp_path, caplog):
    save_pairs(tmp_path / "train", 2, ".nii")
    save_pairs(tmp_path / "val", 1, ".nii")
    data = PairedDataModule(tmp_path, size=8, check="full")
    data.setup("fit")
    assert f"{SHAPE[2]} of {SHAPE[2]} pairs of val are copies of pairs of train" in caplog.text
    assert "of train are copies of others" not in caplog.text


def test_a_volume_can_be_written_in_the_place_of_another(tmp_path):
    affine = np.array([[0, -2, 0, 9], [2, 0, 0, 8], [0, 0, 3, 7], [0, 0, 0, 1.0]])
    like = nibabel.Nifti1Image(draw(0, dtype="uint8"), affine)
    like.header.set_xyzt_units("mm")
    like.header.set_slope_inter(3, 1)
    nibabel.save(like, tmp_path / "like.nii.gz")
    for dtype, stored in (("int16", "int16"), ("float16", "float32"), ("uint8", "uint8")):
        volume = draw(1, dtype=dtype)
        write_volume(tmp_path / f"{dtype}.nii", volume, like=tmp_path / "like.nii.gz", scale=0.5, offset=-7)
        found = nibabel.load(tmp_path / f"{dtype}.nii")
        assert found.get_data_dtype() == stored
        np.testing.assert_array_equal(found.dataobj.get_unscaled(), volume)
        np.testing.assert_array_equal(found.get_fdata(), volume * 0.5 - 7.0)
        np.testing.assert_array_equal(found.affine, like.affine)
        assert found.header.get_xyzt_units()[0] == "mm"
    with pytest.raises(FileExistsError):
        write_volume(tmp_path / "int16.nii", volume, like=tmp_path / "like.nii.gz")
