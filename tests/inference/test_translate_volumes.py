"""Translate volumes slice by slice."""

import numpy as np
import pytest

from pix2pix_lightning import Translator, compose, predict
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.sides import build_side
from pix2pix_lightning.utils.errors import UserError
from small_networks import UNET, save, trained

nibabel = pytest.importorskip("nibabel")
AFFINE = np.array([[0, -2, 0, 9], [2, 0, 0, 8], [0, 0, 3, 7], [0, 0, 0, 1.0]])


def build_module(axis, neighbours, **target):
    source = build_side("raw", num_channels=1 + 2 * neighbours, dtype="int16", value_range=[-1000, 3000])
    target = build_side(**{"kind": "raw", "dtype": "uint16", "scale": 0.5, "offset": -100.0, **target})
    spec = PairSpec(source=source, target=target, size=16, slice_axis=axis, neighbours=neighbours)
    channels = {"in_channels": source.channels, "out_channels": target.channels}
    return trained({**UNET, **channels}, pair_spec=spec)


@pytest.fixture
def volume(tmp_path):
    """An int16 volume, saved as scans/x.nii.gz and scans/deep/y.nii."""
    (tmp_path / "scans" / "deep").mkdir(parents=True)
    array = np.random.default_rng(0).integers(-1000, 3000, (16, 8, 5), dtype=np.int16)
    for name in ("x.nii.gz", "deep/y.nii"):
        nibabel.save(nibabel.Nifti1Image(array, AFFINE), tmp_path / "scans" / name)
    return array


def run(checkpoint, source, output, *more):
    keys = [f"checkpoint={checkpoint}", f"input={source}", f"output={output}", "device=cpu", *more]
    return predict.predict(compose("predict", keys))


def test_volumes_become_volumes_in_the_same_place(tmp_path, volume):
    save(build_module(1, 1), tmp_path / "model.ckpt")
    written = run(tmp_path / "model.ckpt", tmp_path / "scans", tmp_path / "results")
    assert sorted(written) == [tmp_path / "results" / "deep" / "y.nii", tmp_path / "results" / "x.nii.gz"]
    translator = Translator(tmp_path / "model.ckpt", device="cpu")
    padded = np.concatenate([volume[:, :1], volume, volume[:, -1:]], 1)
    stacks = [np.ascontiguousarray(padded[:, index : index + 3].transpose(0, 2, 1)) for index in range(8)]
    expected = np.stack([translator(stack)[..., 0] for stack in stacks], 1)
    for path in written:
        found = nibabel.load(path)
        np.testing.assert_array_equal(found.dataobj.get_unscaled(), expected)
        np.testing.assert_array_equal(found.affine, AFFINE)
        assert (found.dataobj.slope, found.dataobj.inter) == (0.5, -100)


def test_volumes_that_cannot_be_translated_are_one_line(tmp_path, volume):
    save(build_module(2, 0), tmp_path / "one.ckpt")
    save(build_module(2, 0, num_channels=2), tmp_path / "two.ckpt")
    source, output = tmp_path / "scans" / "x.nii.gz", tmp_path / "results"
    for checkpoint, target, keys, message in (
        ("two.ckpt", output, (), "2 channels"),
        ("one.ckpt", output, ("resize=16",), "resize=training"),
        ("one.ckpt", output, ("samples=2", "mode=paper"), "samples=2"),
        ("one.ckpt", tmp_path / "x.tif", (), "give a folder"),
    ):
        with pytest.raises(UserError, match=message):
            run(tmp_path / checkpoint, source, target, *keys)
    assert not output.exists()
