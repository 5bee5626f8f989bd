"""Which checkpoint a run continues from, and whether it has anything left to do."""

from __future__ import annotations

import math
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from pix2pix_lightning.checkpoints.files import LAST, find_checkpoint, read_checkpoint
from pix2pix_lightning.training.resume_checks import (
    check_finished_config,
    check_resumable_config,
    configs_match,
    load_saved_training,
)
from pix2pix_lightning.training.run_files import CONFIG_FILE, SUMMARY_FILE, read_summary_metrics
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.foreign_config import format_resume_words


def find_resumed_checkpoint(cfg: DictConfig) -> Path | None:
    """Find the checkpoint that ``resume`` names.

    ``resume=auto`` looks in ``run_dir`` or, if that is open, for the latest unfinished run of the same configuration.

    Args:
        cfg: Configuration of a training; ``run_dir``, ``resume`` and ``name`` are read.

    Returns:
        The checkpoint, or None if a new run is to be started.

    Raises:
        FileNotFoundError: The checkpoint does not exist.
        UserError: The file is no checkpoint, or belongs to a run with another configuration.
    """
    if cfg.resume is None:
        return None
    if cfg.resume != "auto":
        checkpoint = find_checkpoint(Path(str(cfg.resume)), prefer=LAST)
        read_checkpoint(checkpoint)  # a damaged file is refused before a folder is made
        return checkpoint
    if cfg.run_dir:
        last = Path(cfg.run_dir) / LAST
        if not last.is_file():
            return None
        check_resumable_config(Path(cfg.run_dir) / CONFIG_FILE, cfg)
        return last
    checkpoints = sorted(Path("runs", str(cfg.name)).glob(f"*/{LAST}"), key=lambda path: path.stat().st_mtime)
    unfinished = [path for path in checkpoints if _is_unfinished(path.parents[1], cfg)]
    return unfinished[-1] if unfinished else None


def _is_unfinished(folder: Path, cfg: DictConfig) -> bool:
    return not (folder / SUMMARY_FILE).exists() and configs_match(folder / CONFIG_FILE, cfg)


def read_finished_metrics(cfg: DictConfig, folder: Path) -> dict[str, float] | None:
    """Return the metrics of a run that has nothing left to do, or None if it has something left.

    Args:
        cfg: Configuration of the training that is asked for.
        folder: Folder of the run.

    Raises:
        UserError: The run has ended, with other settings than these.
    """
    summary, saved = folder / SUMMARY_FILE, folder / CONFIG_FILE
    if not (summary.is_file() and saved.is_file()):
        return None
    before: Any = load_saved_training(saved)
    if _get_epoch_limit(cfg) > _get_epoch_limit(before):
        return None
    check_finished_config(saved, cfg)
    return read_summary_metrics(folder)


def _get_epoch_limit(cfg: Any) -> float:
    epochs = cfg.trainer.max_epochs
    return math.inf if epochs is None or epochs < 0 else float(epochs)


def format_resume_hint(folder: Path) -> str:
    """Format how to continue a run that was stopped."""
    if not (folder / LAST).exists():
        return "there is no checkpoint to continue from yet"
    words = [f"resume={folder}"]
    with suppress(UserError):
        words += format_resume_words(load_saved_training(folder / CONFIG_FILE), folder)
    return f"continue with {shlex.join(words) if len(words) > 1 else words[0]}"
