"""What pages know about a metric: its label, its unit and which value is best."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pix2pix_lightning.reports.run_files import build_damaged_error, read_json

KEY = "metric_info"
_DIRECTIONS = ("max", "min", None)


class MetricInfo(NamedTuple):
    """Label, unit and direction of a metric.

    Attributes:
        label: Name for people.
        unit: Unit of the values; empty if they have none.
        direction: ``max`` if the highest value is best, ``min`` if the lowest is, None if neither is known to be.
        ideal: Value of a perfect output, where values on both sides of it are worse; None for other metrics.
    """

    label: str
    unit: str = ""
    direction: str | None = None
    ideal: float | None = None

    @property
    def heading(self) -> str:
        """Label with its unit if that is a symbol; a phrase does not fit above a column."""
        return f"{self.label} ({self.unit})" if self.unit and " " not in self.unit else self.label

    def find_best(self, values: Iterable[float]) -> float:
        """Return the best of the finite values; NaN if there is none, or if nothing says which is best."""
        finite = [value for value in values if math.isfinite(value)]
        if not finite:
            return math.nan
        if self.direction is not None:
            return max(finite) if self.direction == "max" else min(finite)
        ideal = self.ideal
        return math.nan if ideal is None else min(finite, key=lambda value: abs(value - ideal))


_KNOWN = {
    "l1": MetricInfo("L1", "fraction of the range", "min"),
    "l2": MetricInfo("L2", "", "min"),
    "psnr": MetricInfo("PSNR", "dB", "max"),
    "ssim": MetricInfo("SSIM", "", "max"),
    "ms_ssim": MetricInfo("MS-SSIM", "", "max"),
    "accuracy": MetricInfo("accuracy", "", "max"),
    "gradient": MetricInfo("gradient, share of the targets'", ideal=1.0),
    "histogram_l": MetricInfo("histogram L", "", "max"),
    "histogram_a": MetricInfo("histogram a", "", "max"),
    "histogram_b": MetricInfo("histogram b", "", "max"),
}
"""For files that were written before they described their metrics."""


def get_metric_info(name: str, described: Mapping[str, MetricInfo]) -> MetricInfo:
    """Return what is known about a metric; of an unknown one its name is the label, and no value is best.

    Args:
        name: Name of the metric, with or without ``val/``.
        described: What the run's files say, as :func:`parse_metric_info` returns it.
    """
    short = name.removeprefix("val/")
    return described.get(short) or _KNOWN.get(short) or MetricInfo(name)


def read_metric_info(path: Path) -> dict[str, MetricInfo]:
    """Read the descriptions of metrics in a JSON file; a file that does not exist has none.

    Raises:
        ValueError: The file is damaged.
    """
    return parse_metric_info(read_json(path), path) if path.is_file() else {}


def parse_metric_info(facts: Mapping[str, Any], path: Path) -> dict[str, MetricInfo]:
    """Parse ``metric_info``, ``{name: {"label": str, "unit": str, "direction": "max" | "min" | null}}``.

    Args:
        facts: Content of a ``summary.json`` or of an evaluation's ``metrics.json``.
        path: The file, for the error.

    Returns:
        Descriptions by the metrics' names without ``val/``.

    Raises:
        ValueError: The entry has another form.
    """
    described = {}
    try:
        for name, entry in (facts.get(KEY) or {}).items():
            info = MetricInfo(str(entry["label"]), str(entry.get("unit") or ""), entry.get("direction"))
            if info.direction not in _DIRECTIONS:
                raise build_damaged_error(path, f"{KEY}: the direction of {name} is {info.direction!r}")
            described[name.removeprefix("val/")] = info
    except (AttributeError, KeyError, TypeError):
        raise build_damaged_error(path, f"{KEY} is not a label, a unit and a direction by name") from None
    return described
