"""A run's folder: find or make it, lock it, and remove it if nothing was trained."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig

from pix2pix_lightning.checkpoints.files import LAST
from pix2pix_lightning.training.rendezvous import broadcast_decision, detect_process
from pix2pix_lightning.training.resume_checks import (
    check_initial_weights,
    check_resumable_config,
    configs_match,
    load_saved_training,
)
from pix2pix_lightning.training.resuming import find_resumed_checkpoint, format_resume_hint
from pix2pix_lightning.training.run_files import CONFIG_FILE, LOG_FILE, SUMMARY_FILE
from pix2pix_lightning.utils.atomic import remove_leftovers
from pix2pix_lightning.utils.lock import LOCK, lock_folder
from pix2pix_lightning.utils.memory import is_loader_ended, is_out_of_memory

_FILES_OF_THE_START = {CONFIG_FILE, LOG_FILE, LOCK, "tensorboard", "wandb", "gallery", "overfit"}
_WRITTEN = ("config.yaml*", "metrics.csv*", "summary.json*", "checkpoints/*", "gallery/*", "gallery/images/*/*")
ENVIRONMENT = "PIX2PIX_LIGHTNING_RUN"
"""Variable that tells the processes that Lightning starts which run they belong to."""


class RunDir(NamedTuple):
    """The folder of a run.

    Attributes:
        folder: Path of the folder.
        checkpoint: Checkpoint from which the run continues. None for a new run.
        created: Folders that were made for the run, its own first, then its parents.
        is_first: Whether this is the first of the run's processes, which writes for all of them.
    """

    folder: Path
    checkpoint: Path | None
    created: tuple[Path, ...] = ()
    is_first: bool = True

    def to_text(self) -> str:
        """Return folder and checkpoint as a text for other processes."""
        return json.dumps([str(self.folder), str(self.checkpoint or "")])

    @classmethod
    def from_text(cls, text: str) -> RunDir:
        """Return the run of another process, which is the first one, by its text."""
        folder, checkpoint = json.loads(text)
        return cls(Path(folder), Path(checkpoint) if checkpoint else None, is_first=False)


def resolve_run_dir(cfg: DictConfig) -> RunDir:
    """Find or make the folder of a run, and set ``cfg.run_dir``. No other run gets the same new folder.

    If the run has several processes, the first one decides and tells the others.

    Args:
        cfg: Configuration of a training; ``run_dir``, ``resume``, ``name`` and ``trainer`` are read.

    Returns:
        The folder, and the checkpoint to resume, if there is one.

    Raises:
        FileExistsError: The folder exists, and is not to be resumed.
        FileNotFoundError: There is nothing to resume.
        UserError: The processes do not find each other, or the folder holds a run with another configuration.
    """
    if inherited := os.environ.get(ENVIRONMENT):
        run = RunDir.from_text(inherited)
    elif (process := detect_process(cfg.trainer)) is None:
        run = _find_or_create(cfg)
    else:
        decided: list[RunDir] = []

        def decide() -> str:
            decided.append(_find_or_create(cfg))
            return decided[0].to_text()

        text = broadcast_decision(process, decide)
        run = decided[0] if decided else RunDir.from_text(text)
    cfg.run_dir = str(run.folder)
    return run


def _find_or_create(cfg: DictConfig) -> RunDir:
    checkpoint = find_resumed_checkpoint(cfg)
    home = None if checkpoint is None else checkpoint.parent.parent
    if home is not None and (home / CONFIG_FILE).is_file() and _is_same_path(cfg.run_dir or home, home):
        check_initial_weights(home / CONFIG_FILE, cfg)
        return RunDir(home, checkpoint)
    folder = Path(cfg.run_dir) if cfg.run_dir else _build_new_path(cfg)
    if cfg.run_dir and cfg.resume == "auto" and checkpoint is None and _can_start_again(folder, cfg):
        return RunDir(folder, None)
    missing = tuple(path for path in (folder, *folder.parents) if not path.exists())
    folder = _create(folder, may_rename=not cfg.run_dir, resumes=cfg.resume is not None)
    return RunDir(folder, checkpoint, (folder, *missing[1:]))


def _can_start_again(folder: Path, cfg: DictConfig) -> bool:
    """Return whether a folder is that of a run which was stopped before its first checkpoint, so that it can be used.

    A finished run of the same configuration counts too: it is found to be finished. Files of others never do.

    Raises:
        UserError: Another run was stopped there after it had begun to train, or the file of a run is damaged.
    """
    if not folder.is_dir():
        return False
    saved = folder / CONFIG_FILE
    if not saved.is_file():
        return {path.name for path in folder.iterdir() if not _is_scratch_of(path, CONFIG_FILE)} <= {LOCK, LOG_FILE}
    if (folder / SUMMARY_FILE).is_file():
        return configs_match(saved, cfg)
    load_saved_training(saved)
    if not _holds_nothing_trained(folder):
        check_resumable_config(saved, cfg)
    return True


def _holds_nothing_trained(folder: Path) -> bool:
    return {path.name for path in folder.iterdir() if not _is_scratch_of(path, CONFIG_FILE)} <= _FILES_OF_THE_START


def _is_scratch_of(path: Path, name: str) -> bool:
    """Return whether a file is what a killed process has left of an atomic write."""
    return path.suffix == ".part" and name in path.name and path.is_file()


def _is_same_path(one: str | Path, other: Path) -> bool:
    return Path(one).resolve() == other.resolve()


def _build_new_path(cfg: DictConfig) -> Path:
    return Path("runs") / str(cfg.name) / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")


def _create(folder: Path, *, may_rename: bool, resumes: bool) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, 1000):
        try:
            folder.mkdir()
            break
        except FileExistsError:
            if not may_rename:
                if (folder / LAST).is_file():
                    hint = f"set resume={folder} to continue it, or choose another run_dir"
                elif resumes:
                    hint = "it holds no run of this configuration: choose another run_dir"
                else:
                    hint = "set resume=auto if a run was stopped there, or choose another run_dir"
                raise FileExistsError(f"run_dir={folder} exists: {hint}") from None
            folder = folder.with_name(f"{folder.name.partition('.')[0]}.{attempt}")  # another run of the same second
    return folder


@contextmanager
def lock_run_dir(run: RunDir) -> Iterator[None]:
    """Keep other runs out of the folder, and tell the processes that are started inside which run they belong to.

    Raises:
        UserError: Another run is in the folder.
    """
    inherited = os.environ.get(ENVIRONMENT)
    os.environ[ENVIRONMENT] = run.to_text()
    try:
        with lock_folder(run.folder) if run.is_first else nullcontext():
            if run.is_first:
                remove_leftovers(run.folder, *_WRITTEN)
            yield
    finally:
        if inherited is None:
            del os.environ[ENVIRONMENT]


@contextmanager
def remove_if_empty(run: RunDir) -> Iterator[None]:
    """After an error before anything was trained, remove the folders that `resolve_run_dir` has made.

    An error of the disk, of memory or of a loader process after a checkpoint gets a note on how to continue.
    """
    try:
        yield
    except BaseException as error:
        may_continue = isinstance(error, OSError) or is_out_of_memory(error) or is_loader_ended(error)
        if may_continue and (run.folder / LAST).exists():
            error.add_note(f"then {format_resume_hint(run.folder)}")
        if run.created and _holds_nothing_trained(run.folder):
            shutil.rmtree(run.folder)
            for parent in run.created[1:]:
                with suppress(OSError):  # another run is in it
                    parent.rmdir()
        raise
