"""Compare the runs of a sweep: ``python -m pix2pix_lightning.report runs=<sweep folder>``; ``runs=runs`` lists all."""

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


def report(cfg: DictConfig) -> Path:
    """Write tables, curves and pictures of runs next to each other, as ``report.md`` and ``index.html``.

    For the folder ``runs`` itself, bring the list of all runs up to date instead.

    Args:
        cfg: Configuration of the command, as ``compose("report", [...])`` returns it.

    Returns:
        The page.

    Raises:
        UserError: There is no finished run, a run lacks what is to be compared, or the output is not a report.
        FileExistsError: The output exists and ``overwrite`` is off.
    """
    from omegaconf import OmegaConf

    from pix2pix_lightning.evaluation import open_output_folder
    from pix2pix_lightning.report import update_pages, write_comparison
    from pix2pix_lightning.report.comparison import MARKDOWN
    from pix2pix_lightning.report.links import RUNS
    from pix2pix_lightning.report.sweep import read_sweep

    several = OmegaConf.is_list(cfg.runs)
    folders = [Path(str(run)) for run in cfg.runs] if several else [Path(str(cfg.runs))]
    if not folders:
        raise UserError("runs=[] names no run: set runs=<a sweep's folder>, or a list of run folders")
    if not several and folders[0].resolve().name == RUNS:
        return _write_list(folders[0], cfg)
    if several and cfg.output is None:
        raise UserError("output= is missing: set output=<folder> for a report on several folders")
    output = Path(str(cfg.output)) if cfg.output is not None else folders[0] / "report"
    if any(folder.resolve().is_relative_to(output.resolve()) for folder in folders):
        raise UserError(f"output={output} contains the runs: choose another folder")
    sweep = read_sweep(folders, split=cfg.split)
    with open_output_folder(output, kind="report", mark=MARKDOWN, overwrite=cfg.overwrite) as folder:
        page = output / write_comparison(sweep, folder, home=output).name
    update_pages(job.folder for variant in sweep.variants for job in variant.jobs)
    for remark in sweep.remarks:
        print_escaped(remark, file=sys.stderr)
    print_escaped((output / MARKDOWN).read_text("utf-8").partition("\n## ")[0].strip(), f"\n{page}")
    return page


def _write_list(folder: Path, cfg: DictConfig) -> Path:
    """Write the list of all runs."""
    from pix2pix_lightning.report.run_index import RunIndex

    for key in ("output", "split"):
        if cfg[key] is not None:
            raise UserError(f"{key}={cfg[key]}: runs={folder} is a list of all runs, {folder}/index.html: leave it out")
    states = RunIndex(folder).write()
    if not states:
        raise UserError(f"runs={folder} holds no run: give the folder that trainings write to")
    page = folder / "index.html"
    print_escaped(", ".join(f"{count} {state}" for state, count in states), f"\n{page}")
    return page


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    return run_command("report", report, argv)


if __name__ == "__main__":
    sys.exit(main())
