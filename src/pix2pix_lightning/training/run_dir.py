"""A run's folder: making it, finding the one to go on with, and what is written beside the checkpoints."""

from __future__ import annotations

import json
import logging
import os
import platform
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from pix2pix_lightning.checkpoints.files import LAST, checkpoint_in, read_checkpoint
from pix2pix_lightning.training.rendezvous import Launched, agreed, launched
from pix2pix_lightning.training.resume_checks import check_nothing_else, check_same, is_equal
from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.lock import LOCK, lock_folder
from pix2pix_lightning.utils.log_file import LogFile

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

_CONFIG, _SUMMARY, _LOG = "config.yaml", "summary.json", "train.log"
_AT_ONCE = {_CONFIG, _LOG, LOCK, "tensorboard", "wandb"}  # in a folder before anything is trained
_ENVIRONMENT = "PIX2PIX_LIGHTNING_RUN"  # tells the processes that Lightning starts which run they belong to
_PLACE = "RUN-DIR-PLACEHOLDER"
_BY_DESIGN = (
    ".*LeafSpec",  # lightning's own use of torch
    "You have overridden `on_after_batch_transfer` in `LightningModule`",  # the batch is made float there
    "The '.*_dataloader' does not have many workers",
    "You defined a `validation_step` but have no `val_dataloader`",  # a benchmark
    "The number of training batches .* is smaller than the logging interval",
    "Checkpoint directory .* exists and is not empty",  # a resumed run
    "You.re resuming from a checkpoint that ended before the epoch ended",  # the data module goes on where it was
)


class Place(NamedTuple):
    """Where a run goes.

    Attributes:
        folder: Of the run.
        checkpoint: That it goes on from, or None for a new run.
        made: Folders that were made for it, the run's own first; to be taken back when nothing comes of it.
        is_first: Whether this is the first of the run's processes, which writes for all of them.
    """

    folder: Path
    checkpoint: Path | None
    made: tuple[Path, ...] = ()
    is_first: bool = True


def place(cfg: DictConfig) -> Place:
    """Find or make a run's folder, so that no other run gets it. ``cfg.run_dir`` is set.

    Where the run has several processes the first one does, and the others are told.

    Args:
        cfg: Of the training; ``run_dir``, ``resume``, ``name`` and ``trainer`` are read.

    Raises:
        FileExistsError: The folder exists, and it is not to be resumed.
        FileNotFoundError: There is nothing to resume.
        ValueError: The processes do not find each other.
    """
    inherited = os.environ.get(_ENVIRONMENT)
    started = None if inherited else launched(cfg.trainer)
    if inherited:
        found = _heard(inherited)
    elif started is None:
        found = _found(cfg, _resumed(cfg))
    else:
        found = _agreed(started, cfg)
    cfg.run_dir = str(found.folder)
    return found


def _agreed(started: Launched, cfg: DictConfig) -> Place:
    own: list[Place] = []

    def decide() -> str:
        own.append(_found(cfg, _resumed(cfg)))
        return _said(own[0])

    answer = agreed(started, decide)
    return own[0] if own else _heard(answer)


def _said(found: Place) -> str:
    return json.dumps([str(found.folder), str(found.checkpoint or "")])


def _heard(text: str) -> Place:
    folder, checkpoint = json.loads(text)
    return Place(Path(folder), Path(checkpoint) if checkpoint else None, is_first=False)


def _found(cfg: DictConfig, resumed: Path | None) -> Place:
    home = None if resumed is None else resumed.parent.parent
    if home is not None and (home / _CONFIG).is_file() and _is_same(cfg.run_dir or home, home):
        return Place(home, resumed)
    folder = Path(cfg.run_dir) if cfg.run_dir else _new_folder(cfg)
    if cfg.resume == "auto" and is_equal(folder / _CONFIG, cfg):  # an equal run that left no checkpoint
        return Place(folder, resumed)
    made = tuple(path for path in (folder, *folder.parents) if not path.exists())
    folder.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, 1000):
        try:
            folder.mkdir()
            break
        except FileExistsError:
            if cfg.run_dir:
                raise FileExistsError(
                    f"run_dir={folder} exists: go on with it by resume={folder}, or choose another run_dir"
                ) from None
            folder = folder.with_name(f"{folder.name.partition('.')[0]}.{attempt}")  # begun in the same second
    return Place(folder, resumed, (folder, *made[1:]))


def _is_same(one: str | Path, other: Path) -> bool:
    return Path(one).resolve() == other.resolve()


@contextmanager
def kept_if_begun(found: Place) -> Iterator[None]:
    """Where an error comes before anything was trained, take back what ``place`` made; else nothing is touched.

    What the disk has refused is said with how to go on.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, OSError) and (found.folder / LAST).exists():
            error.add_note(f"then {how_to_go_on(found.folder)}")
        if found.made and {path.name for path in found.folder.iterdir()} <= _AT_ONCE:
            shutil.rmtree(found.folder)
            for parent in found.made[1:]:
                with suppress(OSError):  # another run is in it
                    parent.rmdir()
        raise


def finished(cfg: DictConfig, found: Place) -> dict[str, float] | None:
    """The metrics of a run that has nothing left to do, else None.

    Raises:
        ValueError: It has come to its end with other settings than these.
    """
    summary, saved = found.folder / _SUMMARY, found.folder / _CONFIG
    if found.checkpoint is None or not (summary.is_file() and saved.is_file()):
        return None
    before: Any = OmegaConf.load(saved)
    if cfg.trainer.max_epochs > before.trainer.max_epochs:
        return None
    check_nothing_else(saved, cfg)
    metrics: dict[str, float] = json.loads(summary.read_text())["metrics"]
    return metrics


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
        if last.is_file():
            check_same(Path(cfg.run_dir) / _CONFIG, cfg)
        return last if last.is_file() else None
    runs = sorted(Path("runs", str(cfg.name)).glob(f"*/{LAST}"), key=lambda path: path.stat().st_mtime)
    unfinished = [
        last for last in runs if not (last.parents[1] / _SUMMARY).exists() and is_equal(last.parents[1] / _CONFIG, cfg)
    ]
    return unfinished[-1] if unfinished else None


def write_summary(folder: Path, metrics: Mapping[str, float], trainer: Trainer, callbacks: Mapping[str, Any]) -> None:
    """Write ``summary.json``: the mark of a finished run, with the journal's facts where there was a journal."""
    import lightning
    import torch

    from pix2pix_lightning.utils.version import __version__

    versions = {
        "pix2pix_lightning": __version__,
        "torch": torch.__version__,
        "lightning": lightning.__version__,
        "python": platform.python_version(),
    }
    facts = callbacks["journal"].facts(trainer) if "journal" in callbacks else {}
    summary = {"metrics": dict(metrics), **facts, "versions": versions}
    with atomic_write(folder / _SUMMARY) as scratch:
        scratch.write_text(json.dumps(summary, indent=2) + "\n")


def how_to_go_on(folder: Path) -> str:
    """What to say to somebody who stopped a run."""
    return f"go on with resume={folder}" if (folder / LAST).exists() else "there is no checkpoint to go on from yet"


@contextmanager
def announced(found: Place) -> Iterator[None]:
    """Inside, processes that are started know the folder and the checkpoint of this run, and others are kept out.

    Raises:
        ValueError: Another run is in the folder.
    """
    inherited = os.environ.get(_ENVIRONMENT)
    os.environ[_ENVIRONMENT] = _said(found)
    try:
        with lock_folder(found.folder) if found.is_first else nullcontext():
            yield
    finally:
        if inherited is None:
            del os.environ[_ENVIRONMENT]


def _resolved(cfg: DictConfig, trainer: Trainer) -> str:
    """As YAML with nothing left to look up but ``run_dir``, so that the file repeats the run elsewhere too."""
    movable = cfg.copy()
    movable.run_dir = _PLACE
    chosen = {
        "accelerator": trainer.strategy.root_device.type,
        "devices": trainer.num_devices,
        "strategy": "auto" if trainer.world_size == 1 else "ddp_per_network",
    }
    for key, value in chosen.items():
        if movable.trainer.get(key) == "auto":
            movable.trainer[key] = value
    text = OmegaConf.to_yaml(movable, resolve=True)
    # the run's own, and not a key of that name further in
    text = re.sub(rf"(?m)^run_dir: {_PLACE}$", lambda _: f"run_dir: {json.dumps(cfg.run_dir)}", text)
    return text.replace(_PLACE, "${run_dir}")


@contextmanager
def on_terminal(found: Place | None = None) -> Iterator[logging.Logger]:
    """Inside, what this package logs is shown on the terminal; by the first of a run's processes alone.

    Of Lightning's talk only warnings are, and not those about what is so by design.

    Args:
        found: The run's place, which knows whether this is the first process.
    """
    is_first = found is None or found.is_first
    levels = {"pix2pix_lightning": logging.INFO if is_first else logging.ERROR}
    levels |= dict.fromkeys(("lightning.pytorch", "lightning.fabric"), logging.WARNING if is_first else logging.ERROR)
    before = {name: logging.getLogger(name).level for name in levels}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    ours, terminal = logging.getLogger("pix2pix_lightning"), logging.StreamHandler()
    ours.addHandler(terminal)
    try:
        with warnings.catch_warnings():
            for message in _BY_DESIGN:
                warnings.filterwarnings("ignore", message)
            yield ours
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
        ours.removeHandler(terminal)


@contextmanager
def opened(folder: Path, cfg: DictConfig, trainer: Trainer) -> Iterator[None]:
    """Write ``config.yaml`` and, for what is logged inside, ``train.log``; the first process does.

    A run that is resumed keeps its ``config.yaml`` and ``summary.json`` until training starts: mistakes are found
    till then.

    Args:
        folder: Of the run.
        cfg: Written resolved, with what ``auto`` stands for.
        trainer: That was made of it.
    """
    if not trainer.is_global_zero:
        yield
        return
    from lightning.pytorch.callbacks import LambdaCallback

    text = _resolved(cfg, trainer)

    def record(*args: object) -> None:
        with atomic_write(folder / _CONFIG) as scratch:
            scratch.write_text(text)
        (folder / _SUMMARY).unlink(missing_ok=True)  # it marks a run that has come to its end

    folder.mkdir(parents=True, exist_ok=True)
    if (folder / _CONFIG).exists():
        trainer.callbacks.append(LambdaCallback(on_train_start=record))  # type: ignore[attr-defined]
    else:
        record()
    file = LogFile(folder / _LOG)
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("pix2pix_lightning")
    logger.addHandler(file)
    try:
        for receiver in trainer.loggers:
            receiver.log_hyperparams(OmegaConf.to_container(OmegaConf.create(text), resolve=True))  # type: ignore[arg-type]
        yield
    finally:
        logger.removeHandler(file)
        file.close()
