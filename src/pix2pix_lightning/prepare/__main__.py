"""Prepare data or a training: ``python -m pix2pix_lightning.prepare task=edges input=<photos> output=<pairs>``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from pix2pix_lightning.cli.main import run_command
from pix2pix_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

TASKS = ("combine", "split", "edges", "colorization", "inpainting", "index", "from_junyanz")
"""Tasks: each is a file of this package with a function of the same name."""


def prepare(cfg: DictConfig) -> None:
    """Run the task of the configuration.

    Args:
        cfg: The configuration of ``compose("prepare", [...])``.

    Raises:
        UserError: The task is unknown, cannot use its input, or does not use a key that was given.
    """
    from pix2pix_lightning.prepare.settings import check_keys

    if cfg.task not in TASKS:
        raise UserError(f"task={cfg.task} is unknown: one of {', '.join(TASKS)} is expected")
    check_keys(cfg)
    getattr(import_module(f"pix2pix_lightning.prepare.{cfg.task}"), cfg.task)(cfg)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    return run_command("prepare", prepare, argv)


if __name__ == "__main__":
    sys.exit(main())
