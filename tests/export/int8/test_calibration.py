"""The images of a calibration."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from pix2pix_lightning import PairSpec
from pix2pix_lightning.export.int8.calibration import read_images
from pix2pix_lightning.utils.errors import UserError

SPEC = PairSpec(size=8)


def read_levels(images):
    """The level of each constant image, 0 to 255."""
    assert all(image.shape == (1, 3, 8, 8) for image in images)
    return [round((image.mean().item() + 1) * 127.5) for image in images]


def write_levels(folder, levels, *, target=None):
    """Files of one level each; strips whose other half is ``target``."""
    folder.mkdir(parents=True)
    for level in levels:
        halves = [level] if target is None else [level, target]
        image = np.concatenate([np.full((12, 12, 3), value, np.uint8) for value in halves], 1)
        cv2.imwrite(str(folder / f"{level:03}.png"), image)
    return folder


def test_images_of_a_folder_are_divided(tmp_path):
    folder = write_levels(tmp_path / "images", range(0, 80, 10))
    options = {"checkpoint": Path("x.ckpt"), "run": None, "folder": folder}
    images = read_images(SPEC, **options)
    assert read_levels(images.held_out) == [10, 50]
    assert read_levels(images.calibration) == [0, 20, 30, 40, 60, 70]
    fewer = read_images(SPEC, **options, count=4)
    assert read_levels(fewer.calibration + fewer.held_out) == [0, 40, 60, 20]  # over all of the folder


def test_sources_of_the_training_pairs(tmp_path):
    write_levels(tmp_path / "pairs" / "train", [30, 60, 90], target=255)
    write_levels(tmp_path / "pairs" / "val", [200], target=255)
    target = "pix2pix_lightning.data.PairedDataModule"
    data = {"_target_": target, "root": str(tmp_path / "pairs"), "size": 8, "num_workers": 0, "augmentation": []}
    run = tmp_path / "run"
    run.mkdir()
    OmegaConf.save({"data": data}, run / "config.yaml")
    spec = PairSpec(size=8, strips=(24, 12))
    images = read_images(spec, checkpoint=run / "checkpoints" / "last.ckpt", run=run, folder=None)
    assert read_levels([*images.calibration, *images.held_out]) == [30, 90, 60]
    assert torch.equal(images.held_out[0], images.held_out[0].flip(3))


@pytest.mark.parametrize(
    ("names", "options", "parts"),
    [
        ([10], {}, ["images has 1", "calibrate="]),
        ([], {}, ["images has 0"]),
        ([10, 20], {"count": 1}, ["calibration_images=1", "at least 2"]),
        ([10, 20], {"folder": Path("missing")}, ["calibrate=missing"]),
        ([10, 20], {"folder": None}, ["x.ckpt", "calibrate="]),
    ],
)
def test_errors(tmp_path, names, options, parts):
    folder = write_levels(tmp_path / "images", names)
    with pytest.raises(UserError) as caught:
        read_images(SPEC, **{"checkpoint": Path("x.ckpt"), "run": None, "folder": folder, **options})
    assert all(part in str(caught.value) for part in parts)
