"""Strips of pairs in files, so that opening and decoding are measured too."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from pix2pix_lightning.data import ProceduralPairs
from pix2pix_lightning.data.image_files import write_image

_SPLITS = {"train": (40, 400), "val": (1, 1)}  # pictures, and files of them: an epoch is as long as that of facades
_PROCEDURAL = ("num_train", "num_val", "num_looks")


def with_files(cfg: DictConfig, folder: Path) -> DictConfig:
    """A training's configuration with files of procedural pairs, drawn in ``folder``, in place of the pairs themselves.

    Data that come from files already are left.
    """
    if not cfg.data["_target_"].endswith(".ProceduralDataModule"):
        return cfg
    options: Any = OmegaConf.to_container(cfg.data, resolve=True)
    root = draw_strips(folder / "strips", size=options["size"])
    own = {key: value for key, value in options.items() if key not in _PROCEDURAL}
    cfg = cfg.copy()
    OmegaConf.set_struct(cfg, False)
    cfg.data = {**own, "_target_": "pix2pix_lightning.data.PairedDataModule", "root": str(root)}
    return cfg


def draw_strips(root: Path, *, size: int) -> Path:
    """Draw JPEG strips of a photo and its labels, as the public archives have them, below ``root``.

    Args:
        root: Folder that gets the splits.
        size: Side of each half in pixels.
    """
    for split, (drawn, files) in _SPLITS.items():
        folder = root / split
        folder.mkdir(parents=True)
        pairs = ProceduralPairs(drawn, size=size, split=split)
        for number in range(files):
            path = folder / f"{number}.jpg"
            if number < drawn:
                write_image(path, np.concatenate(pairs[number][:2], 1))
            else:
                shutil.copyfile(folder / f"{number % drawn}.jpg", path)
    return root
