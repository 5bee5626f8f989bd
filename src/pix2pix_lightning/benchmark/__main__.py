"""Measure how fast this machine trains and predicts: ``python -m pix2pix_lightning.benchmark``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pix2pix_lightning.cli.main import run_command
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.json_text import format_json

if TYPE_CHECKING:
    from omegaconf import DictConfig


def benchmark(cfg: DictConfig) -> dict[str, Any] | None:
    """Measure this package and a plain loop and print a table, or print two such measurements side by side.

    Args:
        cfg: Configuration, as ``compose("benchmark", [...])`` returns it.

    Returns:
        The report of `measure`, which is written to ``output``; None for a comparison.

    Raises:
        UserError: A setting is out of range, or a file to compare was not written by this command.
        FileExistsError: ``output`` exists; nothing is measured then.
    """
    import logging
    from functools import partial
    from pathlib import Path

    from pix2pix_lightning.benchmark.measuring import measure
    from pix2pix_lightning.benchmark.report import format_comparison, read_report
    from pix2pix_lightning.training.run_logging import log_to_terminal

    if cfg.compare:
        if len(cfg.compare) != 2:
            raise UserError(f"compare={list(cfg.compare)}: two files are expected, compare=[before.json,after.json]")
        print(*format_comparison(*(read_report(Path(str(path))) for path in cfg.compare)), sep="\n")
        return None
    if cfg.output is not None:
        if Path(cfg.output).exists():
            raise FileExistsError(f"output={cfg.output} exists: choose another file")
        if not Path(cfg.output).absolute().parent.is_dir():  # measured for minutes, then lost
            raise UserError(f"output={cfg.output}: its folder does not exist: make it, or choose another file")
    with log_to_terminal() as log:
        log.setLevel(logging.WARNING)  # messages of the trainings would break up the table
        report = measure(cfg, partial(print, flush=True))
    if cfg.output is not None:
        Path(cfg.output).write_text(format_json(report))
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    return run_command("benchmark", benchmark, argv)


if __name__ == "__main__":
    sys.exit(main())
