"""The pictures of a gallery as files: what they are called, and what happens to old ones when there are too many."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.saved_files import read_json

_log = logging.getLogger(__name__)

UNTRAINED = -1
"""The epoch of pictures before training."""
_LEVEL_FILE = "thinning.json"
_QUALITY = {"output": 85, "input": 95, "target": 95}
_MAX_LEVEL = 32
_SHARE = 0.75  # of the limit, above which inputs, targets and newest outputs leave too little for earlier epochs


def format_output_name(epoch: int) -> str:
    """Format the name of an output's file without its ending: ``epoch_0000``, or ``untrained``."""
    return "untrained" if epoch == UNTRAINED else f"epoch_{epoch:04d}"


def find_picture(folder: Path, name: str) -> Path | None:
    """Find a picture of a pair, which is a PNG file or, where that was too large, a JPEG file.

    Args:
        folder: Folder of the pair.
        name: ``input``, ``target``, or what `format_output_name` returns.

    Returns:
        The file, or None if there is none.
    """
    files = (folder / f"{name}{suffix}" for suffix in (".png", ".jpg"))
    return next((file for file in files if file.is_file()), None)


def list_outputs(folder: Path) -> dict[int, Path]:
    """List the outputs of a pair by their epochs, the first epoch first."""
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir(), reverse=True):  # of one epoch .png comes before .jpg, and counts
        if match := re.fullmatch(r"(?:epoch_(\d+)|untrained)\.(?:png|jpg)", path.name):
            found.setdefault(UNTRAINED if match[1] is None else int(match[1]), path)
    return dict(sorted(found.items()))


def find_newest_pictures(gallery: Path) -> dict[str, tuple[Path, Path, Path]]:
    """Find input, newest output and target of the pairs that have all three, by the names of the pairs' folders."""
    found = {}
    for folder in sorted((gallery / "images").glob("*/")):
        source, target, outputs = find_picture(folder, "input"), find_picture(folder, "target"), list_outputs(folder)
        if source is not None and target is not None and outputs:
            found[folder.name] = (source, list(outputs.values())[-1], target)
    return found


def read_size(folder: Path) -> tuple[int, int] | None:
    """Read (width, height) of a pair's input; None if its file is missing or damaged."""
    path = find_picture(folder, "input")
    try:
        if path is None:
            return None
        with Image.open(path) as image:
            return image.size
    except OSError:
        return None


def remove_later_outputs(folders: Sequence[Path], epoch: int) -> None:
    """Remove outputs of later epochs, which are of an earlier run that this one resumes from before them."""
    for folder in folders:
        for each in [each for each in list_outputs(folder) if each > epoch]:
            for suffix in (".png", ".jpg"):
                (folder / f"{format_output_name(each)}{suffix}").unlink(missing_ok=True)


class Thinning:
    """Keep a gallery below a number of bytes: old outputs become JPEG files, and then fewer.

    The newest output of each pair is never changed. A level says what happens to the others: at 0 nothing, from 1 on
    they are JPEG files where these are smaller, and from level n on every 2 ** (n - 1)th epoch is kept, and the first
    one. The level only rises, and is saved in the gallery: a run that is resumed thins as one that was not stopped.

    Args:
        gallery: Folder of the gallery.
        max_bytes: Size of all pictures together.
    """

    def __init__(self, gallery: Path, max_bytes: float) -> None:
        self._file = gallery / _LEVEL_FILE
        self._max_bytes = max_bytes
        self._warned = False

    def read_level(self) -> int:
        """Read the present level."""
        try:
            level = read_json(self._file).get("level", 0)
        except FileNotFoundError:
            return 0
        except UserError as error:
            _log.warning("%s", error)
            return 0
        return max(0, min(level, _MAX_LEVEL)) if isinstance(level, int) else 0

    def settle(self, folder: Path, epoch: int) -> None:
        """Bring the output of a pair before its newest one to the present level.

        Args:
            folder: Folder of the pair.
            epoch: Epoch of its newest output, which has just been written.
        """
        if level := self.read_level():
            remove_later_outputs([folder], epoch)
            _thin([folder], level, last=1)

    def apply(self, folders: Sequence[Path]) -> None:
        """Bring the pictures of the pairs to the present level, and raise it while they are too large.

        Args:
            folders: Folders of the pairs.
        """
        level = self.read_level()
        most = max((max(list_outputs(folder), default=0) for folder in folders), default=0)
        while _measure(folders) + (0 if level else _measure_newest(folders)) > self._max_bytes:  # the next ones fit too
            if 2 ** (level - 1) > most + 1:
                self._warn(folders)
                return
            level += 1
            with atomic_write(self._file) as scratch:
                scratch.write_text(json.dumps({"level": level}) + "\n")
            exact = [_list_exact(folder) for folder in folders]
            if sum(path.stat().st_size for paths in exact for path in paths) > _SHARE * self._max_bytes:
                for path in (path for paths in exact for path in paths[:-1]):
                    _convert(path, _QUALITY[path.stem])
            _thin(folders, level)

    def _warn(self, folders: Sequence[Path]) -> None:
        if not self._warned:
            _log.warning(
                "the pictures of %s take %.0f MB, more than max_megabytes=%g, and none can be left out: set "
                "callbacks.gallery.num_images to a smaller number",
                self._file.parent,
                _measure(folders) / 1e6,
                self._max_bytes / 1e6,
            )
        self._warned = True


def _thin(folders: Sequence[Path], level: int, last: int = 0) -> None:
    """Convert or remove outputs of each pair, never its newest one: the last so many before that, or 0 for all."""
    every = 2 ** (level - 1)
    for folder in folders:
        outputs = list_outputs(folder)
        for epoch, path in list(outputs.items())[:-1][-last:]:
            if (epoch + 1) % every and epoch != min(outputs):
                path.unlink()
            else:
                _convert(path, _QUALITY["output"])


def _convert(path: Path, quality: int) -> None:
    """Replace a PNG file by a JPEG file if that is smaller; label maps are not. A damaged file stays."""
    if path.suffix != ".png":
        return
    pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        return
    encoded, content = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if encoded and content.nbytes < path.stat().st_size:
        with atomic_write(path.with_suffix(".jpg")) as scratch:
            scratch.write_bytes(content.tobytes())
        path.unlink()


def _list_exact(folder: Path) -> list[Path]:
    """List input, target and newest output of a pair, as far as they exist; the newest output is the last."""
    found = [find_picture(folder, "input"), find_picture(folder, "target"), *list(list_outputs(folder).values())[-1:]]
    return [path for path in found if path is not None]


def _measure(folders: Sequence[Path]) -> int:
    return sum(path.stat().st_size for folder in folders for path in folder.iterdir())


def _measure_newest(folders: Sequence[Path]) -> int:
    return sum(path.stat().st_size for folder in folders for path in list(list_outputs(folder).values())[-1:])
