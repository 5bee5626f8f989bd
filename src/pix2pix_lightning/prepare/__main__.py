"""Prepare a training run: ``python -m pix2pix_lightning.prepare task=from_junyanz input=<train_opt.txt>``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pix2pix_lightning.cli.main import run_command
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.text import print_escaped

if TYPE_CHECKING:
    from omegaconf import DictConfig


def prepare(cfg: DictConfig) -> None:
    """Run the task of the configuration.

    Args:
        cfg: The configuration of ``compose("prepare", [...])``.

    Raises:
        UserError: The task is unknown, or cannot use its input.
    """
    if cfg.task not in _TASKS:
        raise UserError(f"task={cfg.task} is unknown: one of {', '.join(_TASKS)} is expected")
    _TASKS[cfg.task](cfg)


def convert_from_junyanz(cfg: DictConfig) -> None:
    """Print the training command that is equivalent to a run of junyanz/pytorch-CycleGAN-and-pix2pix.

    Args:
        cfg: ``input`` is the ``train_opt.txt`` of that run.

    Raises:
        FileNotFoundError: There is no such file.
        UserError: The file does not belong to a training of pix2pix.
    """
    from pix2pix_lightning.prepare.junyanz_command import build_command
    from pix2pix_lightning.prepare.junyanz_options import read_options

    path = Path(str(cfg.input))
    if not path.exists():
        raise FileNotFoundError(f"input={path} does not exist: give the train_opt.txt of that run")
    if path.is_dir():
        raise UserError(f"input={path} is a folder: give the train_opt.txt in it")
    print_escaped(build_command(read_options(path)))


_TASKS = {"from_junyanz": convert_from_junyanz}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    return run_command("prepare", prepare, argv)


if __name__ == "__main__":
    sys.exit(main())
