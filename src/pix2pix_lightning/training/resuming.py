"""Which checkpoint a run continues from, and whether it has anything left to do."""

from __future__ import annotations

import errno
import logging
import math
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch.nn import Module

from pix2pix_lightning.checkpoints.files import LAST, find_checkpoint, read_batches_seen, read_checkpoint
from pix2pix_lightning.training.resume_checks import (
    check_finished_config,
    check_resumable_config,
    configs_match,
    load_saved_training,
)
from pix2pix_lightning.training.run_files import CONFIG_FILE, SUMMARY_FILE, read_summary_metrics
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.finite import find_nonfinite, has_nan
from pix2pix_lightning.utils.foreign_config import format_resume_words

_log = logging.getLogger(__name__)


def find_resumed_checkpoint(cfg: DictConfig) -> Path | None:
    """Find the checkpoint that ``resume`` names: of a run's folder the newest that is sound.

    ``resume=auto`` looks in ``run_dir`` or, if that is open, for the latest unfinished run of the same configuration.
    What is passed over since it is damaged is logged.

    Args:
        cfg: Configuration of a training; ``run_dir``, ``resume`` and ``name`` are read.

    Returns:
        The checkpoint, whose checksums were compared, or None if a new run is to be started.

    Raises:
        FileNotFoundError: The checkpoint does not exist.
        UserError: The file is no checkpoint, all checkpoints of the run are damaged, or they belong to a run with
            another configuration.
        OSError: A checkpoint cannot be read, although it may be sound.
    """
    if cfg.resume is None:
        return None
    if cfg.resume != "auto":
        named = Path(str(cfg.resume))
        if _list_checkpoints(named):
            return _find_newest_sound(named, cfg)
        checkpoint = find_checkpoint(named, prefer=LAST)
        if "optimizer_states" not in read_checkpoint(checkpoint):  # a damaged file is refused before a folder is made
            raise UserError(
                f"resume={cfg.resume} holds a generator and no state of a training: start from its weights by "
                f"init_from={cfg.resume}"
            )
        return checkpoint
    if cfg.run_dir:
        folder = Path(cfg.run_dir)
        if not _list_checkpoints(folder):
            return None
        check_resumable_config(folder / CONFIG_FILE, cfg)
        return _find_newest_sound(folder, cfg)
    runs = [path for path in Path("runs", str(cfg.name)).glob("*") if _list_checkpoints(path)]
    damaged: list[UserError] = []
    for folder in sorted(runs, key=_get_time_of_checkpoint, reverse=True):
        if _is_unfinished(folder, cfg):
            try:
                return _find_newest_sound(folder, cfg)
            except UserError as error:
                damaged.append(error)
                _log.warning("%s is passed over: %s", folder, error)
    if damaged:
        raise damaged[0]
    return None


def _list_checkpoints(folder: Path) -> list[Path]:
    """List the checkpoints of a run: `LAST` first, which is the newest."""
    last = folder / LAST
    others = sorted(path for path in last.parent.glob("*.ckpt") if path != last)
    return [path for path in (last, *others) if path.is_file()]


def _find_newest_sound(folder: Path, cfg: DictConfig) -> Path:
    """Return the newest checkpoint of a run whose checksums are right and whose weights are finite.

    Which were passed over is logged, and why. Infinity alone may be a constant, such as the mask of an attention layer:
    then a checkpoint without it is preferred, where there is one.

    Raises:
        UserError: There is none.
        OSError: One cannot be read, although it may be sound; continuing from another would replace it.
    """
    is_same = not cfg.run_dir or Path(cfg.run_dir).resolve() == folder.resolve()
    if is_same and (folder / LAST).is_file() and read_finished_metrics(cfg, folder) is not None:
        return folder / LAST  # which nothing reads
    reasons: list[str] = []
    infinite: Path | None = None
    for path in _sort_newest_first(_list_checkpoints(folder), reasons):
        try:
            state = read_checkpoint(path)["state_dict"]
        except (UserError, OSError) as error:
            reasons.append(_explain_damage(path, error))
        else:
            if (name := find_nonfinite(state, Module())) is not None:
                infinite = infinite or (None if has_nan(state) else path)
                reasons.append(f"{path} holds weights that are not finite, {name} among them")
                continue
            if path != folder / LAST and not reasons:
                reasons.append(f"{folder / LAST} is missing")
            if reasons:
                _log.warning("continuing from %s, an older checkpoint, since %s", path, "; ".join(reasons))
            return path
    if infinite is not None:
        return infinite
    raise UserError(f"{reasons[0]}; {folder} has no other sound checkpoint: start again with another run_dir")


def _sort_newest_first(paths: list[Path], reasons: list[str]) -> Iterator[Path]:
    """Yield `LAST`, then the others by the batches that they have seen; reasons why one has no number are added."""
    if paths and paths[0].name == Path(LAST).name:
        yield paths.pop(0)
    numbers = {}
    for path in paths:
        try:
            numbers[path] = read_batches_seen(path)
        except (UserError, OSError) as error:
            reasons.append(_explain_damage(path, error))
    yield from sorted(numbers, key=lambda path: numbers[path], reverse=True)


def _explain_damage(path: Path, error: UserError | OSError) -> str:
    """Return why a checkpoint is passed over; raise the error of a file that may be sound."""
    if isinstance(error, UserError):
        return str(error)
    if error.errno != errno.EIO:
        raise error
    return f"{path}: {error.strerror}"


def _get_time_of_checkpoint(folder: Path) -> float:
    return max(path.stat().st_mtime for path in _list_checkpoints(folder))


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
