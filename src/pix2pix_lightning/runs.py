"""A run's folder: making it, finding the one to go on with, and what is written beside the checkpoints."""

from __future__ import annotations

import json
import logging
import os
import platform
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from pix2pix_lightning.checkpoints import LAST, checkpoint_in, read_checkpoint

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

_CONFIG, _SUMMARY = "config.yaml", "summary.json"
_ENVIRONMENT = "PIX2PIX_LIGHTNING_RUN"  # tells the processes that Lightning starts which run they belong to
_PLACE = "RUN-DIR-PLACEHOLDER"
_NOT_COMPARED = ("run_dir", "resume")
_BY_DESIGN = (
    ".*LeafSpec",  # lightning's own use of torch
    "You have overridden `on_after_batch_transfer` in `LightningModule`",  # the batch is made float there
    "The '.*_dataloader' does not have many workers",
    "The number of training batches .* is smaller than the logging interval",
    "Checkpoint directory .* exists and is not empty",  # a resumed run
    "You.re resuming from a checkpoint that ended before the epoch ended",  # the data module goes on where it was
)


def place(cfg: DictConfig) -> tuple[Path, Path | None]:
    """Where a run goes, and the checkpoint that it goes on from. ``cfg.run_dir`` is set; nothing is made.

    Args:
        cfg: Of the training; ``run_dir``, ``resume`` and ``name`` are read.

    Returns:
        The folder, and the checkpoint or None for a new run.

    Raises:
        FileExistsError: The folder exists, and it is not to be resumed.
        FileNotFoundError: There is nothing to resume.
    """
    inherited = os.environ.get(_ENVIRONMENT)
    if inherited:
        parts = inherited.partition(os.pathsep)
        folder, resumed = Path(parts[0]), Path(parts[2]) if parts[2] else None
    else:
        resumed = _resumed(cfg)
        folder = _folder(cfg, resumed)
    cfg.run_dir = str(folder)
    return folder, resumed


def _folder(cfg: DictConfig, resumed: Path | None) -> Path:
    if resumed is not None:
        home = resumed.parent.parent
        is_run = (home / _CONFIG).is_file()
        return Path(cfg.run_dir) if cfg.run_dir else home if is_run else _new_folder(cfg)
    folder = Path(cfg.run_dir) if cfg.run_dir else _new_folder(cfg)
    if folder.exists() and not _may_start_in(folder, cfg):
        raise FileExistsError(f"run_dir={folder} exists: go on with it by resume={folder}, or choose another run_dir")
    return folder


def _may_start_in(folder: Path, cfg: DictConfig) -> bool:
    """``resume=auto`` starts anew in a folder of an equal run that left no checkpoint."""
    return cfg.resume == "auto" and _is_equal(folder / _CONFIG, cfg)


def _new_folder(cfg: DictConfig) -> Path:
    return Path("runs") / str(cfg.name) / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")


def _resumed(cfg: DictConfig) -> Path | None:
    if cfg.resume is None:
        return None
    if cfg.resume != "auto":
        resumed = checkpoint_in(Path(str(cfg.resume)), prefer=LAST)
        read_checkpoint(resumed)  # says what is wrong before anything is made
        return resumed
    if cfg.run_dir:
        last = Path(cfg.run_dir) / LAST
        return last if last.is_file() else None
    runs = sorted(Path("runs", str(cfg.name)).glob(f"*/{LAST}"), key=lambda path: path.stat().st_mtime)
    unfinished = [
        last for last in runs if not (last.parents[1] / _SUMMARY).exists() and _is_equal(last.parents[1] / _CONFIG, cfg)
    ]
    return unfinished[-1] if unfinished else None


def _is_equal(saved: Path, cfg: DictConfig) -> bool:
    if not saved.is_file():
        return False
    folder = str(saved.parent)
    present = OmegaConf.merge(cfg, {"run_dir": folder})
    return _comparable(OmegaConf.load(saved)) == _comparable(present)


def _comparable(cfg: Any) -> dict[str, Any]:
    plain: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    return {key: value for key, value in plain.items() if key not in _NOT_COMPARED}


def write_summary(folder: Path, metrics: Mapping[str, float], trainer: Trainer, callbacks: Mapping[str, Any]) -> None:
    """Write ``summary.json``: the mark of a finished run, with the journal's facts where there was a journal."""
    import lightning
    import torch

    import pix2pix_lightning

    versions = {
        "pix2pix_lightning": pix2pix_lightning.__version__,
        "torch": torch.__version__,
        "lightning": lightning.__version__,
        "python": platform.python_version(),
    }
    facts = callbacks["journal"].facts(trainer) if "journal" in callbacks else {}
    summary = {"metrics": dict(metrics), **facts, "versions": versions}
    (folder / _SUMMARY).write_text(json.dumps(summary, indent=2) + "\n")


@contextmanager
def announced(folder: Path, checkpoint: Path | None) -> Iterator[None]:
    """Inside, processes that are started know the folder and the checkpoint of this run."""
    inherited = os.environ.get(_ENVIRONMENT)
    os.environ[_ENVIRONMENT] = f"{folder}{os.pathsep}{checkpoint or ''}"
    try:
        yield
    finally:
        if inherited is None:
            del os.environ[_ENVIRONMENT]


def _resolved(cfg: DictConfig) -> str:
    """As YAML with nothing left to look up but ``run_dir``, so that the file repeats the run elsewhere too."""
    movable = cfg.copy()
    movable.run_dir = _PLACE
    text = OmegaConf.to_yaml(movable, resolve=True)
    return text.replace(f"run_dir: {_PLACE}\n", f"run_dir: {json.dumps(cfg.run_dir)}\n").replace(_PLACE, "${run_dir}")


@contextmanager
def on_terminal() -> Iterator[logging.Logger]:
    """Inside, what this package logs is shown on the terminal by the first process, warnings by all.

    Of Lightning's talk only warnings are, and not those about what is so by design.
    """
    ours, lightnings = logging.getLogger("pix2pix_lightning"), logging.getLogger("lightning.pytorch")
    levels = ours.level, lightnings.level
    ours.setLevel(logging.INFO if int(os.environ.get("LOCAL_RANK", "0")) == 0 else logging.WARNING)
    lightnings.setLevel(logging.WARNING)
    terminal = logging.StreamHandler()
    ours.addHandler(terminal)
    try:
        with warnings.catch_warnings():
            for message in _BY_DESIGN:
                warnings.filterwarnings("ignore", message)
            yield ours
    finally:
        ours.setLevel(levels[0])
        lightnings.setLevel(levels[1])
        ours.removeHandler(terminal)


@contextmanager
def opened(folder: Path, cfg: DictConfig, *, writes: bool) -> Iterator[None]:
    """Make a run's folder, with ``config.yaml`` and, for what is logged inside, ``train.log``.

    Args:
        folder: Of the run.
        cfg: Written resolved; a resumed run keeps its first one.
        writes: Whether this process does any of that.
    """
    if not writes:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / _CONFIG).exists():
        (folder / _CONFIG).write_text(_resolved(cfg))
    file = logging.FileHandler(folder / "train.log")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("pix2pix_lightning")
    logger.addHandler(file)
    try:
        yield
    finally:
        logger.removeHandler(file)
        file.close()
