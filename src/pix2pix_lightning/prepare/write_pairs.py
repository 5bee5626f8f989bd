"""Write the pairs of a plan: what the tasks that make pictures have in common."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pix2pix_lightning.prepare.jobs import Job, Plan, Skipped
from pix2pix_lightning.prepare.output_folder import check_output_folder, find_written, list_others, write_report
from pix2pix_lightning.prepare.pictures import PictureWriter
from pix2pix_lightning.prepare.run_jobs import Convert, Outcome, choose_num_workers, run_jobs
from pix2pix_lightning.utils.atomic import create_folder, remove_old_leftovers
from pix2pix_lightning.utils.checks import check_counts
from pix2pix_lightning.utils.errors import Interrupted, UserError
from pix2pix_lightning.utils.processes import count_available_cores
from pix2pix_lightning.utils.progress import build_progress, show_progress
from pix2pix_lightning.utils.text import format_names, print_escaped

if TYPE_CHECKING:
    from omegaconf import DictConfig

_MAX_SHOWN = 10


def get_output(cfg: DictConfig) -> Path:
    """Return the key ``output``.

    Raises:
        UserError: It is not given.
    """
    if cfg.output is None:
        raise UserError(f"output is not given, and task={cfg.task} writes files: set output=<path>")
    return Path(str(cfg.output))


def write_pairs(cfg: DictConfig, plan: Plan, convert: Convert, settings: Mapping[str, Any]) -> None:
    """Write the pictures of all jobs, and print what was done.

    A command that was stopped continues; files that are there are kept. What is skipped is named on standard error and
    in the report.

    Args:
        cfg: The configuration: ``output``, ``overwrite``, ``workers``, ``strict``, ``suffix``, ``quality``.
        plan: The jobs.
        convert: Makes the pictures of a job.
        settings: What the pictures depend on, plain data.

    Raises:
        UserError: Nothing could be written; or files were skipped, and ``strict`` is set.
        FileExistsError: The output holds files of unknown origin.
        OSError: An output cannot be written.
        Interrupted: Ctrl-C was pressed.
    """
    output = get_output(cfg)
    if cfg.workers is not None:
        check_counts(workers=cfg.workers)
    writer = PictureWriter(cfg.suffix, cfg.quality)
    if not plan.jobs:
        raise UserError(_format_nothing(cfg.input, plan.skipped))
    continues = check_output_folder(output, settings, overwrite=cfg.overwrite)
    written, num_old = find_written(plan.jobs) if continues else (set(), 0)
    waiting = [job for number, job in enumerate(plan.jobs) if number not in written]
    # half a pair of a command that was stopped is written anew
    writer = PictureWriter(cfg.suffix, cfg.quality, overwrite=cfg.overwrite or continues)
    workers = choose_num_workers(cfg.workers, len(waiting), count_available_cores())
    with create_folder(output):
        remove_old_leftovers(output)
        write_report(output, settings, plan.skipped, is_finished=False)
        outcomes = _run(convert, waiting, writer, workers, num_kept=len(written))
        skipped = [*plan.skipped, *_list_skipped(waiting, outcomes)]
        counts = {
            "num_written": sum(outcome.reason is None for outcome in outcomes),
            "num_kept": len(written),
            "num_transparent": sum(outcome.is_transparent for outcome in outcomes),
            "num_skipped": len(skipped),
        }
        report = write_report(output, settings, skipped, is_finished=True, counts=counts)
    _print_result(output, counts, skipped, report)
    _print_notes(output, plan.jobs, counts["num_transparent"], num_old)
    if not counts["num_written"] + counts["num_kept"]:
        raise UserError(_format_nothing(cfg.input, skipped))
    if skipped and cfg.strict:
        raise UserError(f"strict=true, and files were skipped: correct those that {report} names, or set strict=false")


def _run(convert: Convert, jobs: Sequence[Job], writer: PictureWriter, workers: int, *, num_kept: int) -> list[Outcome]:
    progress = build_progress()
    bar = progress.add_task("pairs", total=len(jobs))
    outcomes: list[Outcome] = []
    try:
        with show_progress(progress), closing(run_jobs(convert, jobs, writer, workers)) as running:
            for outcome in running:
                outcomes.append(outcome)
                progress.advance(bar)
    except KeyboardInterrupt:
        done = num_kept + len(outcomes)
        raise Interrupted(f"{done} of {num_kept + len(jobs)} pairs are done; the same command continues") from None
    return outcomes


def _list_skipped(jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> list[Skipped]:
    pairs = zip(jobs, outcomes, strict=True)
    return [Skipped(job.inputs, outcome.reason) for job, outcome in pairs if outcome.reason is not None]


def _print_result(output: Path, counts: Mapping[str, int], skipped: Sequence[Skipped], report: Path) -> None:
    for one in skipped[:_MAX_SHOWN]:
        print_escaped(f"skipped: {_format_skipped(one)}", file=sys.stderr)
    if len(skipped) > _MAX_SHOWN:
        print_escaped(f"skipped: {len(skipped) - _MAX_SHOWN} more", file=sys.stderr)
    num_written, num_kept = counts["num_written"], counts["num_kept"]
    line = f"{num_written} pair{'' if num_written == 1 else 's'} written to {output}"
    line += f", {num_kept} of before kept" if num_kept else ""
    print_escaped(f"{line}, {len(skipped)} skipped: {report}")


def _print_notes(output: Path, jobs: Sequence[Job], num_transparent: int, num_old: int) -> None:
    if num_transparent:
        print_escaped(f"{num_transparent} pairs have transparent pixels, which were laid over white")
    if num_old:
        print_escaped(f"{num_old} pairs are older than their inputs: set overwrite=true to write all anew")
    if others := list_others(output, jobs):
        print_escaped(f"{output} has {len(others)} other images, not of this command: {format_names(others)}")


def _format_skipped(one: Skipped) -> str:
    """Return the reason, with the files where it does not name them."""
    missing = [str(file) for file in one.files if str(file) not in one.reason]
    return f"{', '.join(missing)}: {one.reason}" if len(missing) == len(one.files) else one.reason


def _format_nothing(source: object, skipped: Sequence[Skipped]) -> str:
    reasons = f"; the first that was skipped: {_format_skipped(skipped[0])}" if skipped else ": no image is in it"
    return f"input={source} gives no pair{reasons}"
