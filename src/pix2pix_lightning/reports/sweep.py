"""The runs of a sweep, read from their folders: what differs between them, and their figures."""

from __future__ import annotations

import json
import math
import re
import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from scipy import stats

from pix2pix_lightning.reports.run import metrics_rows


@dataclass(frozen=True)
class Figure:
    """A metric of a variant.

    Attributes:
        mean: Over the seeds.
        low: Of the 95 % interval, or NaN where there is none.
        high: Likewise.
    """

    mean: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Job:
    """A finished run.

    Attributes:
        folder: Of the run.
        command: The command line that repeats it.
        seed: Of the run.
        figures: By the metrics' names.
        rows: Of its ``metrics.csv``.
    """

    folder: Path
    command: str
    seed: int
    figures: Mapping[str, Figure]
    rows: Sequence[Mapping[str, float]]

    @property
    def pictures(self) -> dict[str, Path]:
        """The gallery's folders by their names, each with ``input.png``, ``target.png`` and ``epoch_*.png``."""
        return {path.name: path for path in sorted((self.folder / "gallery/images").glob("*/"))}


@dataclass(frozen=True)
class Variant:
    """Runs that differ in their seed alone.

    Attributes:
        settings: What sets it apart from the others, value by key.
        jobs: By rising seed.
    """

    settings: Mapping[str, str]
    jobs: Sequence[Job]

    @property
    def label(self) -> str:
        """The values that set it apart, as text."""
        return ", ".join(self.settings.values()) or "run"

    def figure(self, name: str) -> Figure:
        """Mean over the seeds with Student's 95 % interval; of one seed, the interval over its images if it has one."""
        values = [job.figures[name].mean for job in self.jobs]
        if len(values) == 1:
            return self.jobs[0].figures[name]
        mean = statistics.fmean(values)
        error = statistics.stdev(values) / math.sqrt(len(values))
        reach = float(stats.t.ppf(0.975, len(values) - 1)) * error
        return Figure(mean, mean - reach, mean + reach)

    def curve(self, name: str) -> list[tuple[float, float]]:
        """(batches seen, mean over the seeds) wherever all seeds have logged the metric."""
        curves = [{row["step"]: row[name] for row in job.rows if name in row} for job in self.jobs]
        steps = sorted(set.intersection(*map(set, curves)))
        return [(step, statistics.fmean(curve[step] for curve in curves)) for step in steps]


@dataclass(frozen=True)
class Sweep:
    """What is compared.

    Attributes:
        name: Of the sweep's folder.
        keys: That set the variants apart.
        variants: In the order in which the sweep has them.
        metrics: Names of the figures that every job has.
        split: That ``evaluate`` measured, or None for the figures of the last validation.
        unfinished: Folders of jobs that have not come to their end.
    """

    name: str
    keys: Sequence[str]
    variants: Sequence[Variant]
    metrics: Sequence[str]
    split: str | None
    unfinished: Sequence[Path]

    @property
    def num_seeds(self) -> list[int]:
        """Numbers of seeds that variants have."""
        return sorted({len(variant.jobs) for variant in self.variants})


def read_sweep(folders: Sequence[Path], *, split: str | None = None) -> Sweep:
    """Read finished runs and group them by what differs in their commands, the seed apart.

    Args:
        folders: Run folders, or folders of run folders.
        split: Take the figures of ``evaluate`` on this split; by default those of the last validation.

    Raises:
        ValueError: A folder has no run, no run is finished, or one has no figures for ``split``.
    """
    runs = [run for folder in folders for run in _runs_in(folder)]
    finished = [run for run in runs if (run / "summary.json").is_file()]
    if not finished:
        raise ValueError(
            f"runs={folders[0]}: none of its {len(runs)} runs has come to its end yet; go on with the sweep"
        )
    jobs = [_job(run, split) for run in finished]
    words = [_words(job.command) for job in jobs]
    common = set.intersection(*(set(each.items()) for each in words))
    groups: dict[tuple[tuple[str, str], ...], list[Job]] = {}
    for job, each in zip(jobs, words, strict=True):
        settings = tuple((key, value) for key, value in each.items() if (key, value) not in common and key != "seed")
        groups.setdefault(settings, []).append(job)
    variants = [Variant(dict(settings), sorted(group, key=lambda job: job.seed)) for settings, group in groups.items()]
    order = _order(folders[0])
    variants.sort(key=lambda variant: [_place(order, key, value) for key, value in variant.settings.items()])
    shared = [name for name in jobs[0].figures if all(name in job.figures for job in jobs)]
    keys = list(dict.fromkeys(key for variant in variants for key in variant.settings))
    unfinished = [run for run in runs if run not in finished]
    return Sweep(_name(folders), keys, variants, shared, split, unfinished)


def _runs_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ValueError(f"runs={folder} is no folder: give a sweep's folder, runs/<experiment>/sweep_<name>")
    if (folder / "config.yaml").is_file():
        return [folder]
    runs = sorted(path.parent for path in folder.glob("*/config.yaml"))
    if not runs:
        raise ValueError(f"runs={folder} holds no run: give a sweep's folder, runs/<experiment>/sweep_<name>")
    return runs


def _job(run: Path, split: str | None) -> Job:
    config: Any = OmegaConf.load(run / "config.yaml")
    if split is None:
        metrics = json.loads((run / "summary.json").read_text())["metrics"]
        figures = {
            name.removeprefix("val/"): Figure(value) for name, value in metrics.items() if name.startswith("val/")
        }
    else:
        measured = run / "evaluation" / f"{split}_deterministic" / "metrics.json"
        if not measured.is_file():
            raise ValueError(
                f"{run} has not been evaluated on {split}: python -m pix2pix_lightning.evaluate "
                f"checkpoint={shlex.quote(str(run))} split={split}"
            )
        metrics = json.loads(measured.read_text())["metrics"]
        figures = {name: Figure(each["mean"], each["low"], each["high"]) for name, each in metrics.items()}
    command = config.get("command") or f"python -m pix2pix_lightning.train run_dir={shlex.quote(run.name)}"
    return Job(run, command, int(config.seed), figures, metrics_rows(run / "metrics.csv"))


def _words(command: str) -> dict[str, str]:
    pairs = (word.partition("=") for word in shlex.split(command)[3:])
    return {key.lstrip("+"): value for key, _, value in pairs}


def _order(folder: Path) -> dict[str, list[str]]:
    """The values of each swept key in the order in which Hydra was given them."""
    path = folder / "multirun.yaml"
    if not path.is_file():
        return {}
    hydra: Any = OmegaConf.load(path).hydra
    words = [f"{key}={value}" for key, value in (hydra.sweeper.get("params") or {}).items()]
    pairs = (word.partition("=") for word in [*words, *hydra.overrides.task])
    return {key: [part.strip() for part in re.sub(r"^choice\(|\)$", "", value).split(",")] for key, _, value in pairs}


def _place(order: Mapping[str, Sequence[str]], key: str, value: str) -> tuple[int, str]:
    values = order.get(key, ())
    return (values.index(value) if value in values else len(values), value)


def _name(folders: Sequence[Path]) -> str:
    parts = folders[0].resolve().parts[-2:]
    return "/".join(parts) if len(folders) == 1 else f"{'/'.join(parts)} and {len(folders) - 1} more"
