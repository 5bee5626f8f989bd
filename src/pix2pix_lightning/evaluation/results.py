"""The files that an evaluation leaves."""

from __future__ import annotations

import csv
import json
import math
import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from pix2pix_lightning.checkpoints.files import PROJECT_KEY, kind_of, read_checkpoint
from pix2pix_lightning.data.image_files import write_image
from pix2pix_lightning.data.sides import PairSpec
from pix2pix_lightning.evaluation.scores import Scores, Triple
from pix2pix_lightning.inference import Translator
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.version import __version__

FIGURES = "metrics.json"


def place(cfg: DictConfig, run: Path | None) -> Path:
    """Where the results go: ``output``, or by default below the run's folder.

    Raises:
        ValueError: There is neither.
    """
    if cfg.output is not None:
        return Path(str(cfg.output))
    if run is None:
        raise UserError(f"checkpoint={cfg.checkpoint} is not in a run's folder: say where to write by output=<folder>")
    return run / "evaluation" / f"{cfg.split}_{cfg.mode}"


@contextmanager
def new_folder(
    folder: Path, *, kind: str = "evaluation", mark: str = FIGURES, overwrite: bool = False
) -> Iterator[Path]:
    """A folder beside the final one, that takes its place when all is well; till then what was there stays.

    Args:
        folder: The final one.
        kind: What it is to be.
        mark: A file that a folder of this kind has: no other folder is replaced.
        overwrite: Replace one of this kind.

    Raises:
        FileExistsError: The folder has something in it, and ``overwrite`` is off.
        ValueError: What is in it is of another kind.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output={folder} is a file: give a folder")
    if folder.is_dir() and any(folder.iterdir()):
        if not overwrite:
            raise FileExistsError(f"{folder} exists: choose another output, or say overwrite=true")
        if not (folder / mark).is_file():
            raise UserError(f"output={folder} is no {kind}, it holds no {mark}: choose another folder")
    folder = folder.resolve()  # of a link, what it leads to is replaced
    growing = folder.with_name(f".{folder.name}.{os.getpid()}")
    growing.mkdir(parents=True)
    try:
        yield growing
        if folder.is_dir():
            shutil.rmtree(folder)
        growing.rename(folder)
    finally:
        shutil.rmtree(growing, ignore_errors=True)


class Pictures:
    """Writes what was measured, ``images/<name>/{input,output,target}.png``.

    Attributes:
        folders: Of the pairs so far, relative to the evaluation's.
    """

    def __init__(self, folder: Path, spec: PairSpec) -> None:
        self._folder = folder
        self._spec = spec
        self._taken: set[str] = set()
        self.folders: list[str] = []

    def __call__(self, triple: Triple) -> None:
        """Write one pair."""
        name = re.sub(r"[^\w.-]+", "_", triple.name).lstrip(".") or "_"
        if name.lower() in self._taken:
            name = f"{name}_{len(self.folders)}"
        self._taken.add(name.lower())
        self.folders.append(f"images/{name}")
        folder = self._folder / "images" / name
        folder.mkdir(parents=True)
        write_image(folder / "input.png", self._spec.source.picture(triple.source[0]))
        write_image(folder / "output.png", self._spec.target.picture(triple.output[0]))
        write_image(folder / "target.png", self._spec.target.picture(triple.target[0]))


def facts(cfg: DictConfig, checkpoint: Path, translator: Translator, data: Mapping[str, Any]) -> dict[str, Any]:
    """What the figures are of, as plain data: what was measured, how, on what, by which versions."""
    return {
        "checkpoint": str(checkpoint),
        "batches_seen": _batches_seen(checkpoint),
        "split": cfg.split,
        "mode": cfg.mode,
        "weights": cfg.weights,
        "norm": translator.norm,
        "dropout": translator.dropout,
        "seed": cfg.seed,
        "device": str(translator.device),
        "data": dict(data),
        "versions": {
            "pix2pix_lightning": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def _batches_seen(checkpoint: Path) -> int | None:
    """How far the training was, where the file is one of a training."""
    if kind_of(checkpoint) != "training":
        return None
    seen: int = read_checkpoint(checkpoint)[PROJECT_KEY]["batches_seen"]
    return seen


def write_json(folder: Path, scores: Scores, facts: Mapping[str, Any]) -> None:
    """Write ``metrics.json``: the facts, and each figure with its interval; null where it is not defined."""
    figures = {
        metric: {key: value if math.isfinite(value) else None for key, value in interval._asdict().items()}
        for metric, interval in scores.figures.items()
    }
    text = json.dumps({**facts, "num_images": len(scores.names), "metrics": figures}, indent=2, allow_nan=False)
    (folder / FIGURES).write_text(text + "\n")


def write_csv(folder: Path, scores: Scores) -> None:
    """Write ``metrics.csv``: a row for each image, a cell empty where a metric is not defined."""
    with (folder / "metrics.csv").open("w", newline="", encoding="utf-8", errors="replace") as file:
        writer = csv.writer(file)
        writer.writerow(["name", *scores.values])
        for name, *values in zip(scores.names, *scores.values.values(), strict=True):
            writer.writerow([name, *("" if math.isnan(value) else repr(float(value)) for value in values)])
