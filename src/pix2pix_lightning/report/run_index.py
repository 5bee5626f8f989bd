"""The list of all runs, ``runs/index.html``."""

from __future__ import annotations

import json
import math
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pix2pix_lightning.metrics import METRICS
from pix2pix_lightning.report.links import find_report
from pix2pix_lightning.report.metric_info import MetricName, name_metric
from pix2pix_lightning.report.rendering import render_page
from pix2pix_lightning.report.run_card import SWEEP, RunCard, format_resume_command, read_card, read_signature
from pix2pix_lightning.report.run_settings import list_differing
from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.lock import is_locked
from pix2pix_lightning.utils.saved_files import read_json

_MARK = b'<meta name="generator" content="pix2pix_lightning, list of runs">'
_PAGE, _CACHE = "index.html", ".index.json"
_VERSION = 1  # of the cache
_STATES = ("running", "failed", "stopped", "finished")


class _Figure(NamedTuple):
    """A metric's name and its value as text."""

    name: MetricName
    text: str


class _Run(NamedTuple):
    """A run as the page shows it."""

    card: RunCard
    name: str
    when: str
    epochs: str
    figures: Sequence[_Figure]
    differences: Sequence[tuple[str, str]]
    command: str


class _Sweep(NamedTuple):
    """A sweep as the page shows it: its best job's figures and picture, and all jobs."""

    name: str
    states: Sequence[tuple[str, int]]
    report: str
    command: str
    best: _Run
    jobs: Sequence[_Run]


class _Experiment(NamedTuple):
    """Runs and sweeps of an experiment, the newest first."""

    name: str
    entries: Sequence[_Run | _Sweep]


class RunIndex:
    """Write the list of the runs in a folder.

    What was read of a run is kept, here and in the file ``.index.json`` next to the page, and read again when a file of
    the run has changed. Several processes may write the list: each writes it whole.

    Args:
        runs: Folder of the runs, ``runs/<experiment>/<run>`` or ``runs/<experiment>/sweep_<name>/<job>``.
    """

    def __init__(self, runs: Path) -> None:
        self._runs = runs.absolute()
        self._cards = _read_cache(self._runs / _CACHE)
        self._saved = dict(self._cards)

    def exists(self) -> bool:
        """Return whether the folder has a list."""
        return _is_run_index(self._runs / _PAGE)

    def write(self) -> list[tuple[str, int]]:
        """Write the page; nothing for a folder without runs and without a list.

        Returns:
            Numbers of runs by their state.

        Raises:
            UserError: The folder has an ``index.html`` that is no list of runs, and is not replaced.
            OSError: It cannot be written.
        """
        page = self._runs / _PAGE
        if page.exists() and not self.exists():
            raise UserError(f"{page} is no list of runs that this package wrote: move it away")
        cards = list(self._read_cards())
        if not cards and not page.exists():
            return []
        states = _count_states(cards)
        text = render_page(
            "runs",
            title="Runs",
            written=time.strftime("%Y-%m-%d %H:%M:%S"),
            states=states,
            experiments=_build_experiments(cards, self._runs),
        )
        with atomic_write(page) as scratch:
            scratch.write_bytes(text.encode())
        self._save_cache()
        return states

    def _read_cards(self) -> Iterator[RunCard]:
        """Yield the runs' cards with their present states; read those whose files have changed."""
        known, self._cards = self._cards, {}
        for run in _find_runs(self._runs):
            path = run.relative_to(self._runs).as_posix()
            card = known.get(path)
            if card is None or card.signature != read_signature(run):
                try:
                    card = read_card(run, self._runs)
                except OSError:  # it is another user's, or was removed meanwhile
                    continue
            if card is not None:
                self._cards[path] = card
                yield replace(card, state="running") if is_locked(run) else card

    def _save_cache(self) -> None:
        """Save what was read, if a run came, went or changed its configuration; figures are read again soon enough."""
        if self._cards.keys() == self._saved.keys() and not any(
            card.signature[:2] != self._saved[path].signature[:2] for path, card in self._cards.items()
        ):
            return
        self._saved = dict(self._cards)
        content = {"version": _VERSION, "runs": [card.to_dict() for card in self._cards.values()]}
        with atomic_write(self._runs / _CACHE) as scratch:
            scratch.write_text(json.dumps(content))


def _is_run_index(page: Path) -> bool:
    if not page.is_file():
        return False
    with page.open("rb") as file:
        return _MARK in file.read(2**12)


def _read_cache(path: Path) -> dict[str, RunCard]:
    try:
        content = read_json(path)
        if content.get("version") != _VERSION:
            return {}
        return {card.path: card for card in map(RunCard.from_dict, content["runs"])}
    except (OSError, UserError, AttributeError, KeyError, TypeError, ValueError):
        return {}  # it is read again


def _find_runs(runs: Path) -> Iterator[Path]:
    """Yield the run folders: in ``runs``, in the folder of an experiment, or in one of a sweep."""
    for folder in _list_folders(runs):
        if _is_run(folder):
            yield folder
            continue
        for run in _list_folders(folder):
            if _is_run(run):
                yield run
            elif run.name.startswith(SWEEP):
                yield from filter(_is_run, _list_folders(run))


def _is_run(folder: Path) -> bool:
    return os.path.isfile(folder / "config.yaml")  # noqa: PTH113  False also where a folder cannot be entered


def _list_folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if _is_folder(entry))
    except OSError:  # it is another user's, or was removed meanwhile
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into another user's folder
        return False


def _count_states(cards: Iterable[RunCard]) -> list[tuple[str, int]]:
    counted = Counter(card.state for card in cards)
    return [(state, counted[state]) for state in _STATES if counted[state]]


def _build_experiments(cards: Sequence[RunCard], runs: Path) -> list[_Experiment]:
    groups: dict[str, list[RunCard]] = {}
    for card in sorted(cards, key=lambda card: card.updated, reverse=True):
        groups.setdefault(card.experiment, []).append(card)
    return [_Experiment(name, _build_entries(group, runs)) for name, group in groups.items()]


def _build_entries(cards: Sequence[RunCard], runs: Path) -> list[_Run | _Sweep]:
    """Build the entries of an experiment in the order of the cards; a sweep stands where its newest job would."""
    sweeps: dict[str, list[RunCard]] = {}
    for card in cards:
        sweeps.setdefault(card.sweep, []).append(card)
    differences = {  # jobs are compared with those of their sweep, other runs with each other
        card.path: pairs for group in sweeps.values() for card, pairs in zip(group, list_differing(group), strict=True)
    }
    entries: dict[str, list[_Run]] = {}
    for card in cards:
        entries.setdefault(card.sweep or card.path, []).append(_build_run(card, differences[card.path], runs))
    return [_build_sweep(path, jobs, runs) if jobs[0].card.sweep else jobs[0] for path, jobs in entries.items()]


def _build_run(card: RunCard, differences: Sequence[tuple[str, str]], runs: Path) -> _Run:
    order = [*(f"val/{name}" for name in METRICS), *sorted(card.metrics)]
    figures = [_build_figure(key, card.metrics[key]) for key in dict.fromkeys(order) if key in card.metrics]
    limit = card.settings.get("trainer.max_epochs", "")
    of = f" of {limit}" if limit.isdigit() else ""
    return _Run(
        card,
        card.path.rpartition("/")[2],
        time.strftime("%Y-%m-%d %H:%M", time.localtime(card.updated)),
        f"epoch {card.epoch}{of}" if card.epoch is not None else "",
        figures,
        differences,
        format_resume_command(_name_folder(runs / card.path)) if card.can_resume else "",
    )


def _build_figure(key: str, value: float | None) -> _Figure:
    return _Figure(name_metric(key), "not defined" if value is None else f"{value:.4f}")


def _build_sweep(path: str, jobs: Sequence[_Run], runs: Path) -> _Sweep:
    report = find_report(runs / jobs[0].card.path)
    return _Sweep(
        path.rpartition("/")[2],
        _count_states(job.card for job in jobs),
        report.relative_to(runs).as_posix() if report else "",
        f"python -m pix2pix_lightning.report runs={_name_folder(runs / path)}",
        _find_best(jobs),
        jobs,
    )


def _find_best(jobs: Sequence[_Run]) -> _Run:
    """Return the job with the best value of the first metric; without one, the newest job with a picture."""
    keys: Mapping[str, Any] = next((job.card.metrics for job in jobs if job.card.metrics), {})
    for key in (f"val/{name}" for name in METRICS if f"val/{name}" in keys):
        values = [math.nan if (value := job.card.metrics.get(key)) is None else value for job in jobs]
        best = METRICS[key.removeprefix("val/")].find_best(values)
        if best is not None:
            return jobs[values.index(best)]
    return next((job for job in jobs if job.card.picture), jobs[0])


def _name_folder(path: Path) -> Path:
    """Return a path as commands take it from the current folder, which is mostly that of ``runs``."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
