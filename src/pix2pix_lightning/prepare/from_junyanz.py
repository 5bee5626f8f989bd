"""Print the command that equals a training of pytorch-CycleGAN-and-pix2pix: ``prepare task=from_junyanz``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pix2pix_lightning.checkpoints.junyanz.options import read_table
from pix2pix_lightning.prepare.junyanz_command import build_command
from pix2pix_lightning.prepare.junyanz_options import read_options
from pix2pix_lightning.prepare.junyanz_schedule import describe_doubts, infer_period
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.text import print_escaped

if TYPE_CHECKING:
    from omegaconf import DictConfig

_OPTIONS_FILES = ("train_opt.txt", "opt.txt")


def from_junyanz(cfg: DictConfig) -> None:
    """Print the training command that is equivalent to a run of junyanz/pytorch-CycleGAN-and-pix2pix.

    Args:
        cfg: ``input`` is the ``train_opt.txt`` of that run, or the folder with it.

    Raises:
        FileNotFoundError: There is no such file.
        UserError: The file does not belong to a training of pix2pix.
    """
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
