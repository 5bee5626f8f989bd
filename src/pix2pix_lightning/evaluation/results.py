"""The files that an evaluation writes."""

from __future__ import annotations

import csv
import json
import math
import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from pix2pix_lightning.checkpoints.files import infer_checkpoint_kind, read_batches_seen
from pix2pix_lightning.data.files.image_files import write_image
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.evaluation.scores import Scores, TranslatedPair
from pix2pix_lightning.inference import Translator
from pix2pix_lightning.utils.atomic import atomic_folder
from pix2pix_lightning.utils.checks import check_absent, check_folder
from pix2pix_lightning.utils.csv_file import quote_cell
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.version import __version__

METRICS_FILE = "metrics.json"
_FILE_SUFFIXES = (".csv", ".html", ".json", ".md", ".pdf", ".png", ".txt", ".zip")
"""Of files, which nobody means as the name of a folder."""


def resolve_output(cfg: DictConfig, run: Path | None) -> Path:
    """Return the folder of the results: ``output``, by default a folder inside the run's.

    Raises:
        UserError: ``output`` is not set, and there is no run's folder.
    """
    if cfg.output is not None:
        return Path(str(cfg.output))
    if run is None:
        raise UserError(f"checkpoint={cfg.checkpoint} is not in a run's folder: set output=<folder>")
    return run / "evaluation" / f"{cfg.split}_{cfg.mode}"


@contextmanager
def open_output_folder(
    folder: Path, *, kind: str = "evaluation", mark: str = METRICS_FILE, overwrite: bool = False
) -> Iterator[Path]:
    """Yield a temporary folder and rename it to ``folder`` on success. ``folder`` is unchanged on error.

    Args:
        folder: The final folder.
        kind: What the folder holds, for messages.
        mark: A file that every folder of this kind has: no other folder is replaced.
        overwrite: Whether an existing folder of this kind is replaced.

    Raises:
        FileExistsError: The folder is not empty, and ``overwrite`` is off.
        UserError: The folder is not empty and of another kind, or it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output={folder} is a file: give a folder")
    if folder.suffix in _FILE_SUFFIXES and not folder.exists():
        raise UserError(f"output={folder}: a folder is written, set output={folder.with_suffix('')}")
    check_folder("output", folder)
    if folder.is_dir() and any(folder.iterdir()):
        check_absent(folder, overwrite=overwrite)
        if not (folder / mark).is_file():
            raise UserError(f"output={folder} is no {kind}, it holds no {mark}: choose another folder")
    folder = folder.resolve()  # what a link leads to is replaced, not the link
    with atomic_folder(folder, overwrite=True) as temporary:
        yield temporary


class PairWriter:
    """Write each measured pair as ``images/<name>/{input,output,target}.png``.

    Args:
        folder: The evaluation's folder.
        spec: What the pixels mean.

    Attributes:
        folder: The argument.
        folders: Folders of the pairs so far, relative to it.
    """

    def __init__(self, folder: Path, spec: PairSpec) -> None:
        self.folder = folder
        self._spec = spec
        self._taken: set[str] = set()
        self.folders: list[str] = []

    def __call__(self, pair: TranslatedPair) -> None:
        """Write one pair."""
        folder = self._choose_folder(pair.name)
        folder.mkdir(parents=True)
        write_image(folder / "input.png", self._spec.source.preview(pair.source[0]))
        write_image(folder / "output.png", self._spec.target.preview(pair.output[0]))
        write_image(folder / "target.png", self._spec.target.preview(pair.target[0]))

    def move(self, name: str, written: Path) -> None:
        """Take over the folder of a pair that another writer has written, on the same disk.

        Args:
            name: Name of the pair.
            written: Its folder.
        """
        folder = self._choose_folder(name)
        folder.parent.mkdir(exist_ok=True)
        written.rename(folder)

    def _choose_folder(self, pair: str) -> Path:
        """Choose the folder of a pair by its name, and list it."""
        plain = name = re.sub(r"[^\w.-]+", "_", pair).lstrip(".") or "_"
        number = len(self.folders)
        while name.lower() in self._taken:  # a numbered name may be another pair's own
            name, number = f"{plain}_{number}", number + 1
        self._taken.add(name.lower())
        self.folders.append(f"images/{name}")
        return self.folder / "images" / name


def collect_facts(cfg: DictConfig, checkpoint: Path, translator: Translator, data: Mapping[str, Any]) -> dict[str, Any]:
    """Collect what the results depend on, as plain data.

    Args:
        cfg: Configuration of the evaluation.
        checkpoint: The file that is measured.
        translator: The model in it.
        data: Description of the data module.

    Returns:
        The settings, the description of the data and the versions of this package, torch and Python, by name.
    """
    return {
        "checkpoint": str(checkpoint),
        "batches_seen": _read_batches_seen(checkpoint),
        "split": cfg.split,
        "mode": cfg.mode,
        "weights": translator.weights,
        "norm": translator.norm,
        "dropout": translator.dropout,
        "seed": cfg.seed,
        "samples": cfg.samples,
        "segmenter": cfg.segmenter,
        "device": str(translator.device),
        "data": dict(data),
        "versions": {
            "pix2pix_lightning": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def _read_batches_seen(checkpoint: Path) -> int | None:
    """Return the number of training batches of a training checkpoint, None for other files."""
    if infer_checkpoint_kind(checkpoint) != "training":
        return None
    return read_batches_seen(checkpoint)


def write_json(folder: Path, scores: Scores, facts: Mapping[str, Any]) -> None:
    """Write ``metrics.json``: the facts, each metric's value with its interval, and what a reader needs to know.

    Null stands for what is not defined, and for the ends of an interval where a metric has none.

    Args:
        folder: Folder of the file.
        scores: The results.
        facts: What they depend on, as plain data.
    """
    figures = {
        metric: {key: value if math.isfinite(value) else None for key, value in interval._asdict().items()}
        for metric, interval in scores.figures.items()
    }
    infos = {metric: scores.info(metric).to_dict() for metric in figures}
    content = {**facts, "num_images": len(scores.names), "metrics": figures, "metric_info": infos}
    (folder / METRICS_FILE).write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_csv(folder: Path, scores: Scores) -> None:
    """Write ``metrics.csv``: a row for each image and a column for each metric of pairs.

    A cell is empty where a metric is not defined. `utils.csv_file.unquote_cell` restores names from their cells.

    Args:
        folder: Folder of the file.
        scores: The results.
    """
    with (folder / "metrics.csv").open("w", newline="", encoding="utf-8", errors="replace") as file:
        writer = csv.writer(file)
        writer.writerow(["name", *map(quote_cell, scores.values)])
        for name, *values in zip(scores.names, *scores.values.values(), strict=True):
            writer.writerow([quote_cell(name), *("" if math.isnan(value) else repr(float(value)) for value in values)])


def format_summary(scores: Scores, left_out: Mapping[str, str]) -> str:
    """Format what was left out and each metric's value with its interval, a line for each.

    Args:
        scores: The results.
        left_out: The reason for each metric that was left out.

    Returns:
        The lines, without a line break at the end.
    """
    lines = [f"{name} left out: it {reason}" for name, reason in left_out.items()]
    width = max(12, *map(len, scores.figures))
    for name, (mean, low, high) in scores.figures.items():
        digits = max(4, scores.info(name).decimals)
        interval = f"   {low:.{digits}f} to {high:.{digits}f}" if scores.has_interval(name) else "   (no interval)"
        lines.append(f"{name:{width}} {mean:9.{digits}f}{interval}")
    return "\n".join(lines)
