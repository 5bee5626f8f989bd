"""Where the time of a training step goes, and what to set: ``benchmark what=[profile]``."""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from math import prod
from statistics import median
from typing import Any, cast

from pix2pix_lightning.benchmark.advice import add_measured, collect_facts, find_options
from pix2pix_lightning.benchmark.cases import Setting
from pix2pix_lightning.benchmark.gains import measure_gains
from pix2pix_lightning.benchmark.profiled_training import StepProfile, build_for_profile, profile_training
from pix2pix_lightning.benchmark.step_parts import BACKWARD, FORWARD, OTHER
from pix2pix_lightning.models.pix2pix import Pix2PixModule

_LARGEST = 10  # parts that are printed


def measure_profile(setting: Setting, print_line: Callable[[str], object] = print) -> dict[str, Any]:
    """Profile a training and try what could make its step faster.

    Args:
        setting: Configuration of the training, without ``auto``, its device, and a folder for runs.
        print_line: Is called with each line of the result as soon as it is known.

    Returns:
        Plain data: ``batch_size``; ``seconds`` and ``profiled_seconds`` of a step without and with the profiler, for
        each turn; ``overhead``, the additional time as a fraction; ``parts``, the largest first, each with ``name``,
        ``direction``, ``seconds`` (which add up to the median of ``seconds``) and ``share``; ``page_faults`` and
        ``system_seconds`` of a step; ``epoch_ends``, whether these are counted in; ``as_configured``, seconds of a step
        with ``speed.compile`` and ``speed.cuda_graph``, without which the parts are measured, or None where both are
        off; ``advice`` (`measure_gains`).
    """
    cfg, rounds = setting.cfg, {"rounds": setting.cfg.rounds, "turn": setting.cfg.turn}
    parts = build_for_profile(cfg, setting.folder)
    facts = collect_facts(cfg, cast(Pix2PixModule, parts.module), parts.trainer, setting.device.type)
    result = profile_training(parts, setting.device, **rounds)
    del parts
    gc.collect()  # trainers and modules form reference cycles
    as_configured = None
    if cfg.speed.compile or cfg.speed.cuda_graph:
        configured = build_for_profile(cfg, setting.folder, plain=False)
        as_configured = profile_training(configured, setting.device, **rounds, profiled=False).seconds
        del configured
        gc.collect()
    facts = add_measured(facts, result)
    report: dict[str, Any] = {
        "batch_size": int(cfg.data.batch_size),
        "seconds": result.seconds,
        "profiled_seconds": result.profiled_seconds,
        "overhead": result.overhead,
        "parts": _scale_parts(result),
        "page_faults": result.page_faults,
        "system_seconds": result.system_seconds,
        "epoch_ends": result.epoch_ends,
        "as_configured": as_configured,
    }
    for line in format_profile(report):
        print_line(line)
    report["advice"] = measure_gains(setting, find_options(cfg, facts), facts.waiting)
    for line in format_advice(report["advice"]):
        print_line(line)
    return report


def _scale_parts(result: StepProfile) -> list[dict[str, Any]]:
    """Scale the parts to a step without the profiler, and list the largest first."""
    total, seconds = sum(result.parts.values()), median(result.seconds)
    return [
        {"name": part.name, "direction": part.direction, "seconds": own * seconds / total, "share": own / total}
        for part, own in sorted(result.parts.items(), key=lambda item: -item[1])
    ]


def format_profile(report: Mapping[str, Any]) -> list[str]:
    """Format a report of `measure_profile` as lines: the ten largest parts, and what they belong to."""
    seconds = median(report["seconds"])
    named = [row for row in report["parts"] if row["name"] != OTHER.name]
    largest = named[:_LARGEST]
    rest = seconds - sum(row["seconds"] for row in largest)
    total = {"name": "a step", "direction": "", "seconds": seconds, "share": 1.0}
    lines = [
        f"profile of a training at batch {report['batch_size']}",
        f"{'part of a step':<46}{'':<10}{'ms':>9}{'share':>8}",
        *(_format_part(row) for row in largest),
        _format_part({"name": OTHER.name, "direction": "", "seconds": rest, "share": rest / seconds}),
        _format_part(total),
        "",
        *_format_networks(named),
        f"with the profiler a step takes {1e3 * median(report['profiled_seconds']):.1f} ms "
        f"({report['overhead']:+.0%}), which the parts are scaled by",
    ]
    if report["page_faults"] is not None:
        lines.append(
            f"page faults: {report['page_faults']:.0f} a step; {1e3 * report['system_seconds']:.1f} ms of processor "
            "time in the system, within the parts"
        )
    if report["epoch_ends"]:
        lines.append("epochs are shorter than a turn: their ends are counted in")
    if report["as_configured"]:
        lines.append(
            f"with speed.compile and speed.cuda_graph as configured a step takes "
            f"{1e3 * median(report['as_configured']):.1f} ms; the parts are those of a step without them"
        )
    return [*lines, ""]


def _format_part(row: Mapping[str, Any]) -> str:
    return f"{row['name']:<46}{row['direction']:<10}{1e3 * row['seconds']:>9.2f}{row['share']:>8.1%}"


def _format_networks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Format the sum over the layers of each network."""
    sums: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    for row in rows:
        owner = row["name"].partition(" ")[0]
        if row["direction"] and owner in ("generator", "discriminator"):
            sums[owner][row["direction"]] += row["seconds"]
    return [
        f"all layers of the {owner}: {1e3 * own[FORWARD]:.1f} ms forward, {1e3 * own[BACKWARD]:.1f} ms backward"
        for owner, own in sums.items()
    ]


def format_advice(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Format what `measure_gains` returns as lines: what gained, each on top of those above it, and what did not."""
    gained = [row for row in rows if row["gains"]]
    measured = [row for row in gained if row["ratios"]]
    lines = ["what to set:"] if gained else ["what to set: nothing, no option that is off makes a step faster here"]
    lines += [f"  {row['set']:<34}{_format_ratio(row)} ({row['reason']})" for row in gained]
    if len(measured) > 1:
        words = " ".join(row["set"] for row in measured)
        lines.append(f"  together {prod(row['ratio'] for row in measured):.2f} times as fast: {words}")
    return lines + [f"  without a clear gain: {row['set']}, {_format_ratio(row)}" for row in rows if not row["gains"]]


def _format_ratio(row: Mapping[str, Any]) -> str:
    if not row["ratios"]:
        return f"{row['ratio']:.2f} times as fast at most, not measured"
    return f"{row['ratio']:.2f} times as fast, {min(row['ratios']):.2f} to {max(row['ratios']):.2f}"
