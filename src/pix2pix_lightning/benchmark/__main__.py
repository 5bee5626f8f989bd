"""Measure how fast this machine trains and predicts: ``python -m pix2pix_lightning.benchmark``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pix2pix_lightning.cli.main import run_command
from pix2pix_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def benchmark(cfg: DictConfig) -> dict[str, Any] | None:
    """Measure, beside a plain loop, and print a table; or print two measurements side by side. It asserts nothing.

    Args:
        cfg: As ``compose("benchmark", [...])`` gives it.

    Returns:
        What ``benchmarks.measure`` gives, which is what ``output`` holds; None for a comparison.

    Raises:
        ValueError: A setting is out of range, or a file to compare is none of the benchmark's.
        FileExistsError: The output exists; nothing is measured then.
    """
    import json
    import logging
    from functools import partial
    from pathlib import Path

    from pix2pix_lightning.benchmark.measuring import measure
    from pix2pix_lightning.benchmark.report import compare_lines, read_report
    from pix2pix_lightning.training.run_logging import log_to_terminal

    if cfg.compare:
        if len(cfg.compare) != 2:
            raise UserError(f"compare={list(cfg.compare)}: two files are expected, compare=[before.json,after.json]")
        print(*compare_lines(*(read_report(Path(str(path))) for path in cfg.compare)), sep="\n")
        return None
    if cfg.output is not None and Path(cfg.output).exists():
        raise FileExistsError(f"output={cfg.output} exists: choose another file")
    with log_to_terminal() as log:
        log.setLevel(logging.WARNING)  # the trainings' own lines would stand in the table
        report = measure(cfg, partial(print, flush=True))
    if cfg.output is not None:
        Path(cfg.output).write_text(json.dumps(report, indent=2) + "\n")
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    return run_command("benchmark", benchmark, argv)


if __name__ == "__main__":
    sys.exit(main())
