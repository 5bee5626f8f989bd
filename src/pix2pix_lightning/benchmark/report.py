"""Reports of the benchmark as lines of text, also two of them side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from pix2pix_lightning.utils.errors import UserError

HEADER = (
    f"{'what':<13}{'batch':>6}{'images/s':>11}{'spread':>8}{'reference':>11}{'spread':>8}{'ratio':>7}"
    f"{'matrix rate':>13}{'reference':>10}{'peak MB':>9}{'reference':>10}"
)
_PARTS = ("weights", "gradients", "optimizer", "activations", "narrowed_weights")


def format_row(row: Mapping[str, Any]) -> str:
    """Format a measurement as a line below ``HEADER``."""
    ours, reference = row["ours"], row["reference"]
    rates = "".join(f"{_format_percent(side.get('share')):>{width}}" for side, width in ((ours, 13), (reference, 10)))
    peaks = "".join(
        f"{_format_megabytes(side['peak_memory']):>{width}}" for side, width in ((ours, 9), (reference, 10))
    )
    speeds = "".join(
        f"{side['images_per_second']:>11.2f}{_format_percent(side['spread']):>8}" for side in (ours, reference)
    )
    return f"{row['what']:<13}{row['batch_size']:>6}{speeds}{row['ratio']:>7.2f}{rates}{peaks}"


def format_machine(report: Mapping[str, Any]) -> list[str]:
    """Format the machine, the performance options and the matrix rates as lines."""
    machine, rates = report["machine"], report["matrix_rate"]
    where = f"{machine['cpu']}, {machine['cores']} cores ({' '.join(machine['flags'])}), {machine['memory_gb']} GB"
    if "gpu" in machine:
        where = f"{machine['gpu']}, {machine['gpu_memory_gb']} GB; {where}"
    speed = " ".join(f"{key}={str(value).lower()}" for key, value in report["settings"]["speed"].items())
    multiplies = ", ".join(f"{name} {rate / 1e12:.2f}" for name, rate in rates.items())
    return [where, f"speed: {speed}", f"matrix products: {multiplies} TFLOP/s", ""]


def format_summary(report: Mapping[str, Any]) -> list[str]:
    """Format what follows the rows: FLOP of a step, overhead of training, memory by part, bytes between processes."""
    lines = [""]
    for row in report["rows"]:
        at = f"batch {row['batch_size']}"
        if row["what"] == "step":
            lines.append(f"{at}: a step is {row['flop'] / 1e9:.1f} GFLOP")
        if row["what"] == "training":
            lines.append(f"{at}: a batch of training takes {row['overhead']:+.1%} more than the bare step")
    memory = [(row["batch_size"], row["memory"]) for row in report["rows"] if "memory" in row]
    if memory:
        lines += ["", "memory, MB" + "".join(f"{part.replace('_', ' '):>18}" for part in _PARTS)]
        lines += [
            f"{f'{size}, {name}':<10}" + "".join(f"{_format_megabytes(parts[part]):>18}" for part in _PARTS)
            for size, sides in memory
            for name, parts in sides.items()
        ]
    if moved := report.get("communication"):
        networks = ", ".join(f"{name} {_format_megabytes(size, 1)}" for name, size in moved["per_network"].items())
        lines += [
            "",
            f"gradients between processes, MB a step: {networks}; with find_unused_parameters "
            f"{_format_megabytes(moved['find_unused'], 1)}",
        ]
    return lines


def read_report(path: Path) -> dict[str, Any]:
    """Read a file that ``output=`` wrote.

    Args:
        path: A JSON file.

    Returns:
        The report, as `measure` returns it.

    Raises:
        UserError: The file does not exist, or is no such report.
    """
    try:
        report: Any = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"compare: {path} does not exist: give two files that output= wrote") from None
    except ValueError:  # no JSON, or another encoding
        report = None
    if not isinstance(report, dict) or not {"machine", "settings", "rows"} <= report.keys():
        raise UserError(f"compare: {path} was not written by the benchmark's output=: give two such files")
    return report


def format_comparison(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Format what differs between two reports: machine, settings, and each figure with its ratio."""
    lines = []
    for part in ("machine", "versions", "settings", "matrix_rate"):
        before, after = (dict(_iterate_leaves(report.get(part, {}), f"{part}.")) for report in (one, other))
        lines += [
            f"{key}: {before.get(key)} -> {after.get(key)}"
            for key in dict.fromkeys([*before, *after])
            if before.get(key) != after.get(key)
        ]
    lines += ["", f"{'what':<13}{'batch':>6}  {'figure':<22}{'first':>12}{'second':>12}{'ratio':>8}"]
    rows = [{(row["what"], row["batch_size"]): row for row in _list_rows(report)} for report in (one, other)]
    for key in dict.fromkeys([*rows[0], *rows[1]]):
        for name in ("ours", "reference", "ratio", "peak memory"):
            values = [_get_figure(found.get(key), name) for found in rows]
            if any(value is not None for value in values):
                lines.append(f"{key[0]:<13}{key[1]:>6}  {_UNITS[name]:<22}" + _format_pair(*values))
    return lines


_UNITS = {
    "ours": "images/s",
    "reference": "reference, images/s",
    "ratio": "by the reference",
    "peak memory": "peak memory, MB",
}


def _list_rows(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the rows, and the step of a profile as one more, without a reference."""
    if "profile" not in report:
        return list(report["rows"])
    size, seconds = report["profile"]["batch_size"], median(report["profile"]["seconds"])
    ours = {"images_per_second": size / seconds, "peak_memory": None}
    return [*report["rows"], {"what": "profile", "batch_size": size, "ours": ours}]


def _get_figure(row: Mapping[str, Any] | None, name: str) -> float | None:
    if row is None or (name in {"reference", "ratio"} and name not in row):
        return None
    if name == "peak memory":
        peak = row["ours"]["peak_memory"]
        return None if peak is None else peak / 1e6
    value: float = row["ratio"] if name == "ratio" else row[name]["images_per_second"]
    return value


def _format_pair(one: float | None, other: float | None) -> str:
    figures = "".join(f"{'-' if value is None else f'{value:.2f}':>12}" for value in (one, other))
    return figures + (f"{other / one:>8.2f}" if one and other is not None else f"{'-':>8}")


def _iterate_leaves(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _iterate_leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _format_percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def _format_megabytes(size: int | None, digits: int = 0) -> str:
    return "-" if size is None else f"{size / 1e6:.{digits}f}"
