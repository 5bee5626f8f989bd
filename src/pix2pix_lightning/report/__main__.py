"""Compare the runs of a sweep: ``python -m pix2pix_lightning.report runs=<sweep folder>``; ``runs=runs`` lists all.

``kind=perceptual_study`` makes pages on which people judge pictures, and reads their answers.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pix2pix_lightning.cli.main import run_command
from pix2pix_lightning.utils.checks import check_choice, check_not_inside, check_switch
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.text import print_escaped

if TYPE_CHECKING:
    from omegaconf import DictConfig

_STUDY_DEFAULTS = {"answers": None, "practice": 10, "trials": 40, "same_input": True}
"""Keys of ``kind=perceptual_study`` alone, with their defaults in ``conf/report.yaml``."""


def report(cfg: DictConfig) -> Path:
    """Write tables, curves and pictures of runs next to each other, as ``report.md`` and ``index.html``.

    For the folder ``runs`` itself, bring the list of all runs up to date instead. For ``kind=perceptual_study`` write
    the pages of a study, or the table of its answers.

    Args:
        cfg: Configuration of the command, as ``compose("report", [...])`` returns it.

    Returns:
        The page.

    Raises:
        UserError: There is no finished run, a run lacks what is to be compared, the output is not a report, or a key
            is of another kind of report.
        FileExistsError: The output exists and ``overwrite`` is off.
    """
    from omegaconf import OmegaConf

    check_choice("kind", cfg.kind, ("comparison", "perceptual_study"))
    if cfg.kind == "perceptual_study":
        return _write_table(cfg) if cfg.answers is not None else _write_study(cfg)
    _refuse_keys(cfg, "kind=comparison", _STUDY_DEFAULTS)
    from pix2pix_lightning.evaluation import open_output_folder
    from pix2pix_lightning.report import update_pages, write_comparison
    from pix2pix_lightning.report.comparison import MARKDOWN
    from pix2pix_lightning.report.links import RUNS
    from pix2pix_lightning.report.sweep import read_sweep

    several = OmegaConf.is_list(cfg.runs)
    folders = _list_paths(cfg.runs)
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


def _write_study(cfg: DictConfig) -> Path:
    """Write the pages on which raters judge pictures."""
    from pix2pix_lightning.evaluation import open_output_folder
    from pix2pix_lightning.report.perceptual_study.algorithms import find_algorithms
    from pix2pix_lightning.report.perceptual_study.answers import STUDY_FILE
    from pix2pix_lightning.report.perceptual_study.pages import write_study

    check_switch("same_input", cfg.same_input)
    folders = _list_paths(cfg.runs)
    if not folders:
        raise UserError("runs=[] names no run: set runs=<run folder>, or a list of run folders or evaluations")
    output = _get_output(cfg, folders, "runs")
    algorithms = find_algorithms(folders, split=cfg.split)
    design = {"practice": cfg.practice, "trials": cfg.trials, "same_input": cfg.same_input}
    with open_output_folder(output, kind="study", mark=STUDY_FILE, overwrite=cfg.overwrite) as folder:
        page = output / write_study(algorithms, folder, **design).name
    names = [f"study_{number}: {algorithm.label}" for number, algorithm in enumerate(algorithms, start=1)]
    print_escaped(f"{len(algorithms[0].pairs)} pairs", *names, f"\n{page}")
    return page


def _write_table(cfg: DictConfig) -> Path:
    """Write the table of the raters' answers."""
    from omegaconf import OmegaConf

    from pix2pix_lightning.evaluation import open_output_folder
    from pix2pix_lightning.report.perceptual_study.answers import read_answers
    from pix2pix_lightning.report.perceptual_study.figures import compute_figures
    from pix2pix_lightning.report.perceptual_study.table import FIGURES_FILE, format_table, write_table

    if not OmegaConf.is_missing(cfg, "runs"):
        raise UserError(f"answers={cfg.answers} are read without runs={cfg.runs}: leave one of them out")
    _refuse_keys(cfg, "answers=", {**_STUDY_DEFAULTS, "split": None, "answers": cfg.answers})
    paths = _list_paths(cfg.answers)
    if not paths:
        raise UserError("answers=[] names no file: set answers=<folder of the files that raters have saved>")
    output = _get_output(cfg, paths, "answers")
    sessions, remarks = read_answers(paths)
    figures = compute_figures(sessions)
    with open_output_folder(output, kind="table of a study", mark=FIGURES_FILE, overwrite=cfg.overwrite) as folder:
        page = output / write_table(figures, remarks, folder).name
    for remark in remarks:
        print_escaped(remark, file=sys.stderr)
    print_escaped(*format_table(figures), f"\n{page}")
    return page


def _list_paths(value: object) -> list[Path]:
    """Return the paths of a key that holds one or a list."""
    from omegaconf import ListConfig

    return [Path(str(path)) for path in value] if isinstance(value, ListConfig) else [Path(str(value))]


def _get_output(cfg: DictConfig, sources: Sequence[Path], key: str) -> Path:
    """Return the folder to write, which must not contain what is read."""
    if cfg.output is None:
        raise UserError("output= is missing: set output=<folder>")
    output = Path(str(cfg.output))
    for source in sources:
        check_not_inside("output", output, **{key: source})
    return output


def _refuse_keys(cfg: DictConfig, kind: str, defaults: Mapping[str, object]) -> None:
    """Refuse keys that have no effect, unless they have their defaults."""
    for key, default in defaults.items():
        if cfg[key] != default:
            raise UserError(f"{key}={cfg[key]} has no effect with {kind}: leave it out")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    return run_command("report", report, argv)


if __name__ == "__main__":
    sys.exit(main())
