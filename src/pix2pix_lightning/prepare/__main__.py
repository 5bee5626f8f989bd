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
        cfg: ``input`` is the ``train_opt.txt`` of that run, or the folder with it.

    Raises:
        FileNotFoundError: There is no such file.
        UserError: The file does not belong to a training of pix2pix.
    """
    from pix2pix_lightning.checkpoints.junyanz.options import read_table
    from pix2pix_lightning.prepare.junyanz_command import build_command
    from pix2pix_lightning.prepare.junyanz_options import read_options
    from pix2pix_lightning.prepare.junyanz_schedule import describe_doubts, infer_period

    path = Path(str(cfg.input))
    if path.is_dir():
        found = [path / name for name in _OPTIONS_FILES if (path / name).is_file()]
        if not found:
            raise UserError(f"input={path} is a folder without a train_opt.txt: give one that a training wrote")
        path = found[0]
    if not path.exists():
        raise FileNotFoundError(f"input={path} does not exist: give the train_opt.txt of that run")
    table, _ = read_table(path)
    command = build_command(read_options(path), infer_period(table))
    command.notes += describe_doubts(table, path.name)
    print_escaped(command)


_OPTIONS_FILES = ("train_opt.txt", "opt.txt")
_TASKS = {"from_junyanz": convert_from_junyanz}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    return run_command("prepare", prepare, argv)


if __name__ == "__main__":
    sys.exit(main())
