"""Prepare a training: ``python -m pix2pix_lightning.prepare task=from_junyanz input=<train_opt.txt>``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pix2pix_lightning.cli.main import run_command
from pix2pix_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def prepare(cfg: DictConfig) -> None:
    """Do what ``task`` names.

    Args:
        cfg: As ``compose("prepare", [...])`` gives it.

    Raises:
        ValueError: There is no such task, or the task cannot use its input.
    """
    if cfg.task not in _TASKS:
        raise UserError(f"task={cfg.task} is unknown: one of {', '.join(_TASKS)} is expected")
    _TASKS[cfg.task](cfg)


def from_junyanz(cfg: DictConfig) -> None:
    """Print the command that equals a training of junyanz/pytorch-CycleGAN-and-pix2pix.

    Args:
        cfg: ``input`` is the ``train_opt.txt`` of that training.

    Raises:
        ValueError: The file is none of a pix2pix training.
    """
    from pix2pix_lightning.prepare.junyanz_command import equal_command
    from pix2pix_lightning.prepare.junyanz_options import read_options

    path = Path(str(cfg.input))
    if path.is_dir():
        raise UserError(f"input={path} is a folder: give the train_opt.txt in it")
    print(equal_command(read_options(path)))


_TASKS = {"from_junyanz": from_junyanz}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    return run_command("prepare", prepare, argv)


if __name__ == "__main__":
    sys.exit(main())
