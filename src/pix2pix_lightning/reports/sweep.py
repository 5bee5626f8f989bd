"""The runs of a sweep, read from their folders: what differs between them, and their figures."""

from __future__ import annotations

import math
import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from scipy import stats

from pix2pix_lightning.reports.evaluations import figures_file, measured, read_evaluations
from pix2pix_lightning.reports.run import metrics_rows
from pix2pix_lightning.reports.run_files import damaged, read_json, read_yaml

_FLAGS_WITH_VALUES = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn")


@dataclass(frozen=True)
class Figure:
    """A metric of a variant.

    Attributes:
        mean: Over the seeds; NaN where it is not defined.
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
        settings: Of the command line, value by key.
        seed: Of the run.
        figures: By the metrics' names.
        rows: Of its ``metrics.csv``.
    """

    folder: Path
    command: str
    settings: Mapping[str, str]
    seed: int
    figures: Mapping[str, Figure]
    rows: Sequence[Mapping[str, float]]

    @property
    def pictures(self) -> dict[str, tuple[Path, Path, Path]]:
        """Input, the last output and target of the pairs in the gallery that have all three, by the pairs' names."""
        found = {}
        for folder in sorted((self.folder / "gallery/images").glob("*/")):
            outputs = sorted(folder.glob("epoch_*.png"))
            given = folder / "input.png", folder / "target.png"
            if outputs and all(file.is_file() for file in given):
                found[folder.name] = (given[0], outputs[-1], given[1])
        return found


@dataclass(frozen=True)
class Variant:
    """Runs that differ in their seed alone.

    Attributes:
        label: No other variant's: the values that set it apart, with their keys where not all variants have the same.
        settings: What sets it apart from the others, value by key.
        jobs: By rising seed.
    """

    label: str
    settings: Mapping[str, str]
    jobs: Sequence[Job]

    def figure(self, name: str) -> Figure:
        """Mean over the seeds with Student's 95 % interval; of one seed, the interval over its images if it has one."""
        values = [job.figures[name].mean for job in self.jobs]
        if len(values) == 1:
            return self.jobs[0].figures[name]
        if not all(map(math.isfinite, values)):
            return Figure(sum(values) / len(values))
        mean = statistics.fmean(values)
        error = statistics.stdev(values) / math.sqrt(len(values))
        reach = float(stats.t.ppf(0.975, len(values) - 1)) * error
        return Figure(mean, mean - reach, mean + reach)

    def curve(self, name: str) -> list[tuple[float, float]]:
        """(batches seen, mean over the seeds) wherever all seeds have logged the metric."""
        curves = [{row["step"]: row[name] for row in job.rows if name in row} for job in self.jobs]
        steps = sorted(set.intersection(*map(set, curves)))
        return [(step, sum(curve[step] for curve in curves) / len(curves)) for step in steps]


@dataclass(frozen=True)
class Sweep:
    """What is compared.

    Attributes:
        name: Of the sweep's folder.
        keys: That set the variants apart.
        variants: In the order in which the sweep has them.
        metrics: Names of the figures that every job has.
        split: That ``evaluate`` measured, or None for the figures of the last validation.
        measured: The checkpoint that ``evaluate`` measured, or None.
        remarks: What is left out, missing or not certain.
    """

    name: str
    keys: Sequence[str]
    variants: Sequence[Variant]
    metrics: Sequence[str]
    split: str | None
    measured: str | None
    remarks: Sequence[str]

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
        ValueError: A folder has no run, no run is finished, a file is damaged, or the figures for ``split`` are missing
            or not of the same.
    """
    runs = [run for folder in folders for run in _runs_in(folder)]
    finished = [run for run in runs if (run / "summary.json").is_file()]
    if not finished:
        raise ValueError(
            f"runs={folders[0]}: none of its {len(runs)} runs has come to its end yet; go on with the sweep"
        )
    remarks = [f"left out, since it has not come to its end: {run}" for run in runs if run not in finished]
    of = None
    if split is None:
        figures = [_validated(run / "summary.json") for run in finished]
    else:
        found, unsure = read_evaluations(finished, split)
        figures = [_evaluated(figures_file(run, split), facts) for run, facts in zip(finished, found, strict=True)]
        of = measured(found)
        remarks += unsure
    jobs = [_job(run, each) for run, each in zip(finished, figures, strict=True) if each]
    remarks += [
        f"left out, since it was never validated: {run}"
        for run, each in zip(finished, figures, strict=True)
        if not each
    ]
    if not jobs:
        raise ValueError(f"runs={folders[0]}: none of its finished runs was ever validated, so there are no figures")
    shared = [name for name in jobs[0].figures if all(name in job.figures for job in jobs)]
    if not shared:
        raise ValueError(f"runs={folders[0]}: there is no metric that all of its {len(jobs)} finished runs have")
    remarks += [remark for folder in folders if (remark := _of_missing(folder, jobs))]
    keys, variants = _variants(jobs, _swept(folders[0]))
    return Sweep(_name(folders), keys, variants, shared, split, of, remarks)


def _variants(jobs: Sequence[Job], order: Mapping[str, Sequence[str]]) -> tuple[list[str], list[Variant]]:
    """The keys that set variants apart, and the variants in the order of the keys' values."""
    words = [{word for word in job.settings.items() if word[0] != "seed"} for job in jobs]
    common = set.intersection(*words)
    groups: dict[frozenset[tuple[str, str]], list[Job]] = {}
    for job, each in zip(jobs, words, strict=True):
        groups.setdefault(frozenset(each - common), []).append(job)
    apart = {key for group in groups for key, _ in group}
    keys = list(dict.fromkeys(key for job in jobs for key in job.settings if key in apart))
    settings = [{key: dict(group)[key] for key in keys if key in dict(group)} for group in groups]
    variants = [
        Variant(label, each, sorted(group, key=lambda job: job.seed))
        for label, each, group in zip(_labels(settings), settings, groups.values(), strict=True)
    ]
    return keys, sorted(variants, key=lambda v: [_place(order, key, v.settings.get(key, "")) for key in keys])


def _labels(settings: Sequence[Mapping[str, str]]) -> list[str]:
    values = [", ".join(each.values()) for each in settings]
    if len({tuple(each) for each in settings}) == 1 and len(set(values)) == len(values):
        return [value or "run" for value in values]
    return [", ".join(f"{key}={value}" for key, value in each.items()) or "no change" for each in settings]


def _runs_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ValueError(f"runs={folder} is no folder: give a sweep's folder, runs/<experiment>/sweep_<name>")
    if (folder / "config.yaml").is_file():
        return [folder]
    runs = sorted(path.parent for path in folder.glob("*/config.yaml"))
    if not runs:
        raise ValueError(f"runs={folder} holds no run: give a sweep's folder, runs/<experiment>/sweep_<name>")
    return runs


def _validated(path: Path) -> dict[str, Figure]:
    """The figures of the last validation."""
    try:
        metrics = read_json(path)["metrics"].items()
        return {name.removeprefix("val/"): Figure(_number(x)) for name, x in metrics if name.startswith("val/")}
    except (AttributeError, KeyError, TypeError):
        raise damaged(path, "its metrics are no numbers by name") from None


def _evaluated(path: Path, facts: Mapping[str, Any]) -> dict[str, Figure]:
    """The figures of an evaluation."""
    parts = ("mean", "low", "high")
    try:
        return {name: Figure(*(_number(each[part]) for part in parts)) for name, each in facts["metrics"].items()}
    except (KeyError, TypeError):
        raise damaged(path, "its metrics are no figures with intervals") from None


def _number(value: Any) -> float:
    """Null is what is not defined."""
    return math.nan if value is None else float(value)


def _job(run: Path, figures: Mapping[str, Figure]) -> Job:
    path = run / "config.yaml"
    config: Any = read_yaml(path)
    command = config.get("command") or shlex.join(["python", "-m", "pix2pix_lightning.train", f"run_dir={run.name}"])
    try:
        seed, settings = int(config.get("seed")), _settings(command)
    except (TypeError, ValueError) as error:
        raise damaged(path, f"seed or command: {error}") from None
    return Job(run, command, settings, seed, figures, metrics_rows(run / "metrics.csv"))


def _settings(command: str) -> dict[str, str]:
    """The overrides of a command line by their keys, without its flags and their values."""
    settings = {}
    words = iter(shlex.split(command)[3:])
    for word in words:
        key, _, value = word.partition("=")
        if word in _FLAGS_WITH_VALUES:
            next(words, None)
        elif not word.startswith("-"):
            settings[key.lstrip("+")] = value or ("left out" if word.startswith("~") else "")
    return settings


def _swept(folder: Path) -> dict[str, list[str]]:
    """The values of each swept key in the order in which Hydra was given them."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    path = folder / "multirun.yaml"
    if not path.is_file():
        return {}
    config = read_yaml(path)
    params = OmegaConf.select(config, "hydra.sweeper.params") or {}
    words = [f"{key}={value}" for key, value in params.items()]
    words += OmegaConf.select(config, "hydra.overrides.task") or []
    overrides = OverridesParser.create().parse_overrides(words)
    return {str(o.key_or_group): list(o.sweep_string_iterator()) for o in overrides if o.is_discrete_sweep()}


def _of_missing(folder: Path, jobs: Sequence[Job]) -> str | None:
    """Jobs that failed before they trained have left nothing behind; a search has no number of its own."""
    path = folder / "multirun.yaml"
    sweeper = str(OmegaConf.select(read_yaml(path), "hydra.sweeper._target_")) if path.is_file() else ""
    expected = math.prod(map(len, _swept(folder).values())) if sweeper.endswith("BasicSweeper") else 0
    here = sum(job.folder.parent == folder for job in jobs)
    return (
        f"{here} of {expected} jobs of {folder}: the same command goes on with the others" if here < expected else None
    )


def _place(order: Mapping[str, Sequence[str]], key: str, value: str) -> tuple[int, str]:
    values = order.get(key, ())
    return (values.index(value) if value in values else len(values), value)


def _name(folders: Sequence[Path]) -> str:
    parts = folders[0].resolve().parts[-2:]
    return "/".join(parts) if len(folders) == 1 else f"{'/'.join(parts)} and {len(folders) - 1} more"
