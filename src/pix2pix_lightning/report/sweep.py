"""Read the runs of a sweep: what differs between them, and their figures."""

from __future__ import annotations

import math
import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from scipy import stats

from pix2pix_lightning.compat import parse_overrides
from pix2pix_lightning.metrics import MetricInfo, metric_info
from pix2pix_lightning.report.evaluations import describe_checkpoint, get_metrics_path, read_evaluations
from pix2pix_lightning.report.gallery_files import find_newest_pictures
from pix2pix_lightning.report.metric_info import get_metric_info
from pix2pix_lightning.utils.csv_file import read_metrics
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.saved_config import read_saved_values
from pix2pix_lightning.utils.saved_files import build_damaged_error, read_json

_FLAGS_WITH_VALUES = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn")
_MAX_VALUES = 10_000  # of one key of a sweep


@dataclass(frozen=True)
class Figure:
    """A metric of a variant.

    Attributes:
        mean: Mean over the seeds; NaN where it is not defined.
        low: Lower end of the 95 % interval; NaN without an interval.
        high: Upper end of the interval; NaN without an interval.
    """

    mean: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Job:
    """A finished run.

    Attributes:
        folder: Folder of the run.
        command: Command line that repeats the run.
        settings: Overrides of the command line, value by key.
        seed: Seed of the run.
        figures: Figures by the metrics' names.
        rows: Rows of its ``metrics.csv``.
    """

    folder: Path
    command: str
    settings: Mapping[str, str]
    seed: int
    figures: Mapping[str, Figure]
    rows: Sequence[Mapping[str, float]]

    @property
    def pictures(self) -> dict[str, tuple[Path, Path, Path]]:
        """Input, last output and target of the gallery's pairs that have all three, by the pairs' names."""
        return find_newest_pictures(self.folder / "gallery")


@dataclass(frozen=True)
class Variant:
    """Runs that differ only in their seed.

    Attributes:
        label: Unique name: the settings' values, with their keys if not all variants have the same keys.
        settings: Settings that differ from other variants, value by key.
        jobs: The runs by rising seed.
    """

    label: str
    settings: Mapping[str, str]
    jobs: Sequence[Job]

    def figure(self, name: str) -> Figure:
        """Compute the mean over the seeds with Student's 95 % interval; a single seed keeps its own interval."""
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
        """Compute (batches seen, mean over the seeds) at the steps at which all seeds logged the metric."""
        curves = [{row["step"]: row[name] for row in job.rows if name in row} for job in self.jobs]
        steps = sorted(set.intersection(*map(set, curves)))
        return [(step, sum(curve[step] for curve in curves) / len(curves)) for step in steps]


@dataclass(frozen=True)
class Sweep:
    """Variants to compare.

    Attributes:
        name: Name of the sweep's folder.
        keys: Keys of the settings that differ between variants.
        variants: Variants in the order of the sweep.
        metrics: Names of the figures that every job has.
        split: Split that ``evaluate`` measured; None for the figures of the last validation.
        measured: Checkpoint that ``evaluate`` measured; None for the figures of the last validation.
        remarks: Sentences about what is left out, missing or not certain.
        infos: What the runs' files say about their metrics, by the metrics' names.
    """

    name: str
    keys: Sequence[str]
    variants: Sequence[Variant]
    metrics: Sequence[str]
    split: str | None
    measured: str | None
    remarks: Sequence[str]
    infos: Mapping[str, MetricInfo] = field(default_factory=dict)

    def info(self, name: str) -> MetricInfo:
        """Return what is known about a metric: what the runs' files say, else the registered row of that name."""
        return self.infos.get(name) or metric_info(name)

    @property
    def num_seeds(self) -> list[int]:
        """Numbers of seeds that variants have, rising."""
        return sorted({len(variant.jobs) for variant in self.variants})


def read_sweep(folders: Sequence[Path], *, split: str | None = None) -> Sweep:
    """Read finished runs and group them by the settings in their commands, without the seed.

    Args:
        folders: Run folders, or folders of run folders.
        split: Use the figures of ``evaluate`` on this split; by default those of the last validation.

    Returns:
        The groups of runs, the metrics that all runs have, and remarks about runs that are left out.

    Raises:
        UserError: A folder has no run, no run is finished, a file is damaged, or the figures for ``split`` are missing
            or were measured in different ways.
    """
    runs = [run for folder in folders for run in find_runs(folder)]
    finished = [run for run in runs if (run / "summary.json").is_file()]
    if not finished:
        raise UserError(f"runs={folders[0]}: none of its {len(runs)} runs is finished; continue the sweep")
    remarks = [f"left out, since it is not finished: {run}" for run in runs if run not in finished]
    measured = None
    if split is None:
        paths = [run / "summary.json" for run in finished]
        contents = [read_json(path) for path in paths]
        figures = [_parse_validation(path, content) for path, content in zip(paths, contents, strict=True)]
    else:
        paths = [get_metrics_path(run, split) for run in finished]
        contents, uncertain = read_evaluations(finished, split)
        figures = [_parse_evaluation(path, content) for path, content in zip(paths, contents, strict=True)]
        measured = describe_checkpoint(contents)
        remarks += uncertain
    jobs = [_read_job(run, each) for run, each in zip(finished, figures, strict=True) if each]
    remarks += [
        f"left out, since it was never validated: {run}"
        for run, each in zip(finished, figures, strict=True)
        if not each
    ]
    if not jobs:
        raise UserError(f"runs={folders[0]}: none of its finished runs was ever validated, so there are no figures")
    shared = [name for name in jobs[0].figures if all(name in job.figures for job in jobs)]
    if not shared:
        raise UserError(f"runs={folders[0]}: there is no metric that all of its {len(jobs)} finished runs have")
    remarks += [remark for folder in folders if (remark := _find_missing_jobs(folder, jobs))]
    infos: dict[str, MetricInfo] = {}
    for path, content in zip(paths, contents, strict=True):
        infos = {**get_metric_info(content, path), **infos}  # the first run's description counts
    keys, variants = _group_jobs(jobs, _read_swept_values(folders[0]))
    return Sweep(_build_name(folders), keys, variants, shared, split, measured, remarks, infos)


def _group_jobs(jobs: Sequence[Job], order: Mapping[str, Sequence[str]]) -> tuple[list[str], list[Variant]]:
    """Return the keys that differ between variants, and the variants in the order of the keys' values."""
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
        for label, each, group in zip(_build_labels(settings), settings, groups.values(), strict=True)
    ]
    return keys, sorted(variants, key=lambda v: [_get_rank(order, key, v.settings.get(key, "")) for key in keys])


def _build_labels(settings: Sequence[Mapping[str, str]]) -> list[str]:
    values = [", ".join(each.values()) for each in settings]
    if len({tuple(each) for each in settings}) == 1 and len(set(values)) == len(values):
        return [value or "run" for value in values]
    return [", ".join(f"{key}={value}" for key, value in each.items()) or "no change" for each in settings]


def find_runs(folder: Path) -> list[Path]:
    """Return the run folders of a sweep's folder, or the folder itself if it is a run's.

    Args:
        folder: A run's folder, or a folder of run folders.

    Raises:
        UserError: It is not a folder, or holds no run.
    """
    if not folder.is_dir():
        raise UserError(f"runs={folder} is not a folder: give a sweep's folder, runs/<experiment>/sweep_<name>")
    if (folder / "config.yaml").is_file():
        return [folder]
    runs = sorted(path.parent for path in folder.glob("*/config.yaml"))
    if not runs:
        raise UserError(f"runs={folder} holds no run: give a sweep's folder, runs/<experiment>/sweep_<name>")
    return runs


def _parse_validation(path: Path, content: Mapping[str, Any]) -> dict[str, Figure]:
    """Parse the figures of the last validation from a ``summary.json``."""
    try:
        metrics = content["metrics"].items()
        return {name.removeprefix("val/"): Figure(_to_float(x)) for name, x in metrics if name.startswith("val/")}
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        raise build_damaged_error(path, "its metrics are not numbers by name") from None


def _parse_evaluation(path: Path, content: Mapping[str, Any]) -> dict[str, Figure]:
    """Parse the figures of an evaluation from a ``metrics.json``."""
    parts = ("mean", "low", "high")
    try:
        return {name: Figure(*(_to_float(each[part]) for part in parts)) for name, each in content["metrics"].items()}
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        raise build_damaged_error(path, "its metrics are not figures with intervals") from None


def _to_float(value: Any) -> float:
    """Convert a number of a JSON file, which has null for NaN."""
    return math.nan if value is None else float(value)


def _read_job(run: Path, figures: Mapping[str, Figure]) -> Job:
    path = run / "config.yaml"
    config = read_saved_values(path)
    command = config.get("command") or shlex.join(["python", "-m", "pix2pix_lightning.train", f"run_dir={run.name}"])
    try:
        seed, settings = int(config["seed"]), _parse_overrides(command)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise build_damaged_error(path, f"seed or command: {error}") from None
    return Job(run, command, settings, seed, figures, read_metrics(run / "metrics.csv"))


def _parse_overrides(command: str) -> dict[str, str]:
    """Parse the overrides of a command line by their keys, without flags and the flags' values."""
    settings = {}
    words = iter(shlex.split(command)[3:])
    for word in words:
        key, _, value = word.partition("=")
        if word in _FLAGS_WITH_VALUES:
            next(words, None)
        elif not word.startswith("-"):
            settings[key.lstrip("+")] = value or ("left out" if word.startswith("~") else "")
    return settings


def _read_swept_values(folder: Path) -> dict[str, list[str]]:
    """Read the values of each swept key in the order of the sweep's command."""
    path = folder / "multirun.yaml"
    if not path.is_file():
        return {}
    params, task = _read_hydra(path, "sweeper", "params") or {}, _read_hydra(path, "overrides", "task") or []
    if not isinstance(params, dict) or not isinstance(task, list):
        raise build_damaged_error(path, "its overrides are no list")
    words = [*(f"{key}={value}" for key, value in params.items()), *map(str, task)]
    try:
        swept = [override for override in parse_overrides(words) if override.is_discrete_sweep()]
    except HydraException:
        raise build_damaged_error(path, "its overrides cannot be read") from None
    values = {str(each.key_or_group): list(islice(each.sweep_string_iterator(), _MAX_VALUES + 1)) for each in swept}
    for key, found in values.items():
        if len(found) > _MAX_VALUES:
            raise build_damaged_error(path, f"{key} has more than {_MAX_VALUES} values")
    return values


def _read_hydra(path: Path, group: str, key: str) -> Any:
    """Read a value of Hydra's ``multirun.yaml``, as the file has it."""
    node: Any = read_saved_values(path)
    for name in ("hydra", group, key):
        node = node.get(name) if isinstance(node, dict) else None
    return node


def _find_missing_jobs(folder: Path, jobs: Sequence[Job]) -> str | None:
    """Return a remark if a grid has fewer runs than jobs: a job that fails before training leaves no folder."""
    path = folder / "multirun.yaml"
    sweeper = str(_read_hydra(path, "sweeper", "_target_")) if path.is_file() else ""
    expected = math.prod(map(len, _read_swept_values(folder).values())) if sweeper.endswith("BasicSweeper") else 0
    here = sum(job.folder.parent == folder for job in jobs)
    return (
        f"{here} of {expected} jobs of {folder}: the same command continues with the others"
        if here < expected
        else None
    )


def _get_rank(order: Mapping[str, Sequence[str]], key: str, value: str) -> tuple[int, str]:
    values = order.get(key, ())
    return (values.index(value) if value in values else len(values), value)


def _build_name(folders: Sequence[Path]) -> str:
    parts = folders[0].resolve().parts[-2:]
    return "/".join(parts) if len(folders) == 1 else f"{'/'.join(parts)} and {len(folders) - 1} more"
