"""What the list of runs shows of one run, read from a few small files of its folder."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from pix2pix_lightning.checkpoints.files import LAST
from pix2pix_lightning.report.gallery_files import find_newest_pictures
from pix2pix_lightning.report.links import list_pages
from pix2pix_lightning.utils.configs import flatten_config, is_loading_key
from pix2pix_lightning.utils.csv_file import parse_metrics
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.saved_config import read_saved_settings
from pix2pix_lightning.utils.saved_files import read_json

SWEEP = "sweep_"
_WATCHED = ("config.yaml", "metrics.csv", "summary.json", "train.log", LAST, "gallery/index.html", "evaluation")
_NO_SETTINGS = {"run_dir", "resume", "trust", "command", "about", "name", "objective"}
_FAILURE = re.compile(r"\S+ \S+ ERROR failed: (.*)")  # a last line of train.log
_TAIL = 2**16  # bytes of a file whose end is read
_MAX_HEADER = 2**14  # bytes of the line of column names


@dataclass(frozen=True)
class RunCard:
    """A run as the list shows it; plain data, which a file of the list keeps.

    Attributes:
        path: Path of the run's folder, relative to the list's.
        signature: Times and sizes of the files that were read; while it stays, the rest does.
        updated: Time of the newest file that the training wrote, in seconds since 1970.
        state: ``finished``, ``failed`` or ``stopped``, as the files say; a run in training is found by its lock.
        reason: Why it failed, or what is wrong with its files; else empty.
        settings: Values of its configuration by dotted key.
        metrics: Last values of the validation metrics, by their names in files; None stands for NaN.
        epoch: Number of epochs that were validated.
        picture: A newest output, relative to the list's folder, or empty.
        pages: Title and path of its pages, relative to the list's folder.
        can_resume: Whether it has a checkpoint to continue from.
    """

    path: str
    signature: tuple[int, ...] = ()
    updated: float = 0.0
    state: str = "stopped"
    reason: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    epoch: int | None = None
    picture: str = ""
    pages: tuple[tuple[str, str], ...] = ()
    can_resume: bool = False

    @property
    def experiment(self) -> str:
        """Name of the experiment's folder; empty for a run that lies directly in the list's folder."""
        return self.path.partition("/")[0] if "/" in self.path else ""

    @property
    def sweep(self) -> str:
        """Path of the sweep's folder, relative to the list's; empty for a run of its own."""
        parent = self.path.rpartition("/")[0]
        return parent if parent.rpartition("/")[2].startswith(SWEEP) else ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data from which `from_dict` builds the card."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunCard:
        """Build a card from what `to_dict` returned.

        Args:
            values: Plain data.

        Returns:
            The card.

        Raises:
            TypeError: It is of another version.
        """
        if values.keys() != {each.name for each in fields(cls)}:
            raise TypeError("these are not the values of a run")
        pages = tuple((title, path) for title, path in values["pages"])
        return cls(**{**values, "signature": tuple(values["signature"]), "pages": pages})


def read_signature(run: Path) -> tuple[int, ...]:
    """Read times and sizes of the files that a card is made of."""
    signature = []
    for name in _WATCHED:
        try:
            status = os.stat(run / name)  # noqa: PTH116  thousands of runs
        except OSError:
            signature += [0, 0]
        else:
            signature += [status.st_mtime_ns, status.st_size]
    return tuple(signature)


def read_card(run: Path, runs: Path) -> RunCard | None:
    """Read a run's card.

    Args:
        run: Folder of the run.
        runs: Folder of the list.

    Returns:
        The card; None if the folder's ``config.yaml`` is not that of a training.
    """
    signature = read_signature(run)
    path = run.relative_to(runs).as_posix()
    updated = max(signature[: 2 * _WATCHED.index(LAST) : 2]) / 1e9
    config: Mapping[str, Any] = {}
    state, reason = _read_state(run)
    try:
        config = read_saved_settings(run / "config.yaml")
    except (UserError, OSError) as error:
        reason = str(error)
    else:
        if not config.keys() >= {"data", "module", "trainer"}:
            return None
    metrics, epoch = _read_metrics(run)
    pictures = list(find_newest_pictures(run / "gallery").values())[:1]
    return RunCard(
        path,
        signature,
        updated,
        state,
        reason,
        _read_settings(config),
        {key: value if math.isfinite(value) else None for key, value in metrics.items()},
        epoch,
        pictures[0][1].relative_to(runs).as_posix() if pictures else "",
        tuple((title, page.relative_to(runs.absolute()).as_posix()) for title, page in list_pages(run)),
        (run / LAST).is_file(),
    )


def format_resume_command(run: Path) -> str:
    """Format the command that continues a run."""
    return shlex.join(["python", "-m", "pix2pix_lightning.train", f"resume={run}"])


def _read_settings(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings that a run can have of its own, by dotted key; seeds that follow ``seed`` are left out."""
    return {
        key: _format_value(value)
        for key, value in flatten_config(config)
        if not (key in _NO_SETTINGS or is_loading_key(key))
        and not (key.endswith(".seed") and value == config.get("seed"))
    }


def _read_state(run: Path) -> tuple[str, str]:
    if (run / "summary.json").is_file():
        return "finished", ""
    lines = _read_tail(run / "train.log").decode(errors="replace").rstrip().splitlines()
    failure = _FAILURE.fullmatch(lines[-1]) if lines else None
    return ("failed", failure[1]) if failure else ("stopped", "")


def _read_metrics(run: Path) -> tuple[dict[str, float], int | None]:
    """Read the last validation's figures, and the number of its epoch, from the end of ``metrics.csv``."""
    with suppress(OSError):
        with (run / "metrics.csv").open("rb") as file:
            header = file.readline(_MAX_HEADER)
        tail = _read_tail(run / "metrics.csv")
        rows = parse_metrics(header + tail.partition(b"\n")[2])  # of a small file without its header
        for row in reversed(rows):
            if found := {key: value for key, value in row.items() if key.startswith("val/")}:
                return found, int(row["epoch"]) + 1 if "epoch" in row else None
    return _read_summary_metrics(run), None


def _read_summary_metrics(run: Path) -> dict[str, float]:
    """Read the figures of a finished run without ``metrics.csv``."""
    with suppress(OSError, UserError, AttributeError, TypeError, ValueError):
        metrics = read_json(run / "summary.json")["metrics"].items()
        return {key: math.nan if value is None else float(value) for key, value in metrics if key.startswith("val/")}
    return {}


def _read_tail(path: Path) -> bytes:
    """Read the end of a file; nothing where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            return file.read(_TAIL)
    except OSError:
        return b""


def _format_value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
