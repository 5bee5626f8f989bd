"""Log a training to the terminal and to a file."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pix2pix_lightning.utils.log_file import LogFile
from pix2pix_lightning.utils.text import EscapedFormatter

_PACKAGE = "pix2pix_lightning"
FAILED = "failed: "
"""How the last line of the log of a training that failed begins."""
_IGNORED_WARNINGS = (
    ".*LeafSpec",  # lightning's own use of torch
    "You have overridden `on_after_batch_transfer` in `LightningModule`",  # the batch is made float there
    "The '.*_dataloader' does not have many workers",
    "You defined a `validation_step` but have no `val_dataloader`",  # a benchmark
    "The number of training batches .* is smaller than the logging interval",
    "Checkpoint directory .* exists and is not empty",  # a resumed run
    r"Be aware .* the following callbacks: \[\"ModelCheckpoint{[^}]*}\"\]",  # another interval or metric: KeepSettings
    "You.re resuming from a checkpoint that ended before the epoch ended",  # the data module continues where it was
)
"""Warnings of Lightning about what is so by design."""


@contextmanager
def log_to_terminal(*, is_first: bool = True) -> Iterator[logging.Logger]:
    """Show on the terminal what this package logs, and of Lightning the warnings that a user can act on.

    What is logged at the level DEBUG is for `log_to_file` alone.

    Args:
        is_first: Whether this is the first of the run's processes. The others show errors alone.

    Yields:
        The package's logger. At the end the loggers' levels and handlers are as before.
    """
    levels = {_PACKAGE: logging.DEBUG if is_first else logging.ERROR}
    levels |= dict.fromkeys(("lightning.pytorch", "lightning.fabric"), logging.WARNING if is_first else logging.ERROR)
    before = {name: logging.getLogger(name).level for name in levels}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logger, terminal = logging.getLogger(_PACKAGE), logging.StreamHandler()
    terminal.setFormatter(EscapedFormatter())
    terminal.setLevel(logging.INFO)
    logger.addHandler(terminal)
    try:
        with warnings.catch_warnings():
            for message in _IGNORED_WARNINGS:
                warnings.filterwarnings("ignore", message)
            yield logger
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
        logger.removeHandler(terminal)


@contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Append to a file what this package logs, with times, and the error that ends the block, if one does."""
    file = LogFile(path)
    file.setFormatter(EscapedFormatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger(_PACKAGE)
    logger.addHandler(file)
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        file.handle(logger.makeRecord(_PACKAGE, logging.ERROR, __file__, 0, f"{FAILED}%s", (reason,), None))
        raise
    finally:
        logger.removeHandler(file)
        file.close()
