"""A folder of pictures by epoch, with a page that shows them and the run."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.files.image_files import write_image
from pix2pix_lightning.report.gallery_files import (
    UNTRAINED,
    Thinning,
    find_picture,
    format_output_name,
    list_outputs,
    read_size,
    remove_later_outputs,
)
from pix2pix_lightning.report.links import find_links
from pix2pix_lightning.report.metric_info import parse_metric_info, read_metric_info
from pix2pix_lightning.report.rendering import render_page
from pix2pix_lightning.report.run import RunMetrics, build_run_metrics, read_config_text
from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.csv_file import read_metrics
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.saved_files import read_json

__all__ = ["UNTRAINED", "GalleryFolder", "build_pair_folder_name"]

_log = logging.getLogger(__name__)
_NAMES = "names.json"  # names of the pairs; names of their folders are restricted


class GalleryFolder:
    """Pictures of the same pairs at several epochs, and ``index.html``.

    Pictures that the folder already holds stay in it and on the page, so that a resumed run continues its gallery.

    Args:
        folder: Folder of the gallery; it is created with the first picture.
        run_dir: Folder of a run. The page shows its ``metrics.csv`` and ``config.yaml`` if they exist.
        max_megabytes: Size of all pictures, in millions of bytes. Where they would take more, outputs of earlier epochs
            become JPEG files and then fewer, see `gallery_files.Thinning`. None keeps all as they are.
    """

    def __init__(self, folder: Path, run_dir: Path | None = None, *, max_megabytes: float | None = 48.0) -> None:
        self._folder = folder
        self._run_dir = run_dir
        self._max_megabytes = max_megabytes
        self._thinning = None if max_megabytes is None else Thinning(folder, 1e6 * max_megabytes)

    def add(self, position: int, name: str, epoch: int, images: Mapping[str, npt.NDArray[np.uint8]]) -> str:
        """Write the pictures of one pair at one epoch.

        Args:
            position: Position of the pair among all pairs, from 0.
            name: Name of the pair.
            epoch: Epoch, counted from 0, or ``UNTRAINED``.
            images: ``input``, ``output`` and ``target``, (H, W, 1 or 3) uint8. Input and target are the same at
                each epoch: they are written at the first one, and again before a training.

        Returns:
            The name of the pair's folder.
        """
        folder_name = build_pair_folder_name(position, name)
        folder = self._folder / "images" / folder_name
        folder.mkdir(parents=True, exist_ok=True)
        for column in ("input", "target"):
            if epoch == UNTRAINED or find_picture(folder, column) is None:
                write_image(folder / f"{column}.png", images[column], overwrite=True)
        write_image(folder / f"{format_output_name(epoch)}.png", images["output"], overwrite=True)
        if self._thinning is not None:
            self._thinning.settle(folder, epoch)
        names = self._read_names()
        if names.get(folder_name) != name:
            _write(self._folder / _NAMES, json.dumps({**names, folder_name: name}, indent=2) + "\n")
        return folder_name

    def write_page(
        self, latest: Mapping[str, float] | None = None, metric_info: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """Write ``index.html`` over all pictures in the folder, after leaving out what is too large.

        Args:
            latest: ``step``, ``epoch`` and metrics that may not be in ``metrics.csv`` yet. Rows of the file from this
                step on are of an earlier run that this one resumes, and left out; pictures of later epochs are removed.
            metric_info: Descriptions of the metrics by name, as `metrics.describe_metrics` returns them; by default
                those of the run's ``summary.json``.
        """
        names = self._read_names()
        folders = sorted(path for path in (self._folder / "images").iterdir() if path.is_dir())
        if latest is not None:
            remove_later_outputs(folders, int(latest["epoch"]))
        if self._thinning is not None:
            self._thinning.apply(folders)
        pairs = [
            pair for folder in folders if (pair := _read_pair(folder, names.get(folder.name, folder.name))) is not None
        ]
        run, metrics, config, command = "", None, None, None
        if self._run_dir is not None:
            run = "/".join(self._run_dir.parts[-2:])
            metrics = _read_run_metrics(self._run_dir, latest, metric_info)
            config, command = read_config_text(self._run_dir / "config.yaml")
        level = 0 if self._thinning is None else self._thinning.read_level()
        text = render_page(
            "gallery",
            links=[] if self._run_dir is None else find_links(self._folder / "index.html", self._run_dir),
            every=2 ** (level - 1) if level else 0,
            max_megabytes=self._max_megabytes,
            title=f"Gallery of {run}" if run else "Gallery",
            run=run,
            pairs=pairs,
            epochs=sorted({epoch for pair in pairs for epoch in pair.epochs}),
            metrics=metrics,
            config=config,
            command=command,
        )
        _write(self._folder / "index.html", text)

    def _read_names(self) -> dict[str, str]:
        path = self._folder / _NAMES
        try:
            names = read_json(path)
        except FileNotFoundError:
            return {}
        except UserError as error:  # the folders' names stand for those of the pairs
            _log.warning("%s", error)
            return {}
        return {str(folder): str(name) for folder, name in names.items()}


def build_pair_folder_name(position: int, name: str) -> str:
    """Build a folder's name that any system accepts from a pair's position and name."""
    plain = re.sub(r"[^\w.-]+", "_", name)
    return f"{position:03d}_{plain[:60]}"


class _Pair(NamedTuple):
    """What the page shows of a pair.

    Attributes:
        folder: Its folder, relative to the page.
        name: Its name.
        source: File of the input, relative to the page.
        output: File of the newest output.
        target: File of the target.
        epochs: Epochs of the outputs.
        jpeg: Those of them that are JPEG files.
        size: (width, height) of the pictures.
    """

    folder: str
    name: str
    source: str
    output: str
    target: str
    epochs: Sequence[int]
    jpeg: Sequence[int]
    size: tuple[int, int] | None


def _read_pair(folder: Path, name: str) -> _Pair | None:
    """Read what the page shows of a pair; None if it has no output yet."""
    outputs = list_outputs(folder)
    if not outputs:
        return None
    here = f"images/{folder.name}"
    files = (find_picture(folder, column) or Path(f"{column}.png") for column in ("input", "target"))
    source, target = (f"{here}/{file.name}" for file in files)
    jpeg = [epoch for epoch, path in outputs.items() if path.suffix == ".jpg"]
    output = f"{here}/{list(outputs.values())[-1].name}"
    return _Pair(here, name, source, output, target, list(outputs), jpeg, read_size(folder))


def _read_run_metrics(
    run_dir: Path, latest: Mapping[str, float] | None, metric_info: Mapping[str, Mapping[str, Any]] | None
) -> RunMetrics | None:
    rows = read_metrics(run_dir / "metrics.csv")
    if latest is not None:
        rows = [*(row for row in rows if row["step"] < latest["step"]), dict(latest)]
    infos = read_metric_info(run_dir / "summary.json") if metric_info is None else parse_metric_info(metric_info)
    return build_run_metrics(rows, infos)


def _write(path: Path, text: str) -> None:
    """Write a file as a whole; bytes of names that are not UTF-8 become question marks."""
    with atomic_write(path) as scratch:
        scratch.write_text(text, encoding="utf-8", errors="replace")
