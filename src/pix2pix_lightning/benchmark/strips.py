"""Procedural pairs as files of strips, so that opening and decoding are measured too."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from pix2pix_lightning.data import ProceduralPairs
from pix2pix_lightning.data.files.image_files import write_image

_SPLITS = {"train": (40, 400), "val": (1, 1)}  # images drawn, and files: as many as the facades have
_PROCEDURAL = ("num_train", "num_val", "num_looks")


def use_files(cfg: DictConfig, folder: Path) -> DictConfig:
    """Return the configuration of a training whose procedural pairs are read from files.

    Args:
        cfg: Configuration of a training.
        folder: Folder that gets the files.

    Returns:
        A changed copy, or ``cfg`` itself if its data is in files already.
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
    """Draw JPEG strips of a photo and its labels, like those of the public archives, below ``root``.

    Args:
        root: Folder that gets the splits.
        size: Side of each half in pixels.

    Returns:
        ``root``.
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
