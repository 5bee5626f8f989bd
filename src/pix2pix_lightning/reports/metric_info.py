"""Read what a run's files say about its metrics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pix2pix_lightning.metrics import MetricInfo
from pix2pix_lightning.utils.saved_files import build_damaged_error, read_json

_KEY = "metric_info"


def read_metric_info(path: Path) -> dict[str, MetricInfo]:
    """Read ``metric_info`` of a ``summary.json`` or of an evaluation's ``metrics.json``.

    Args:
        path: The file. One that does not exist, or was written before files described their metrics, describes none;
            `metrics.metric_info` has the registered metrics.

    Returns:
        Descriptions by the metrics' names without ``val/``.

    Raises:
        UserError: The file is damaged.
    """
    return get_metric_info(read_json(path), path) if path.is_file() else {}


def get_metric_info(content: Mapping[str, Any], path: Path) -> dict[str, MetricInfo]:
    """Parse ``metric_info`` in the ``content`` of the file ``path``; raise a UserError if it has another form."""
    try:
        return parse_metric_info(content.get(_KEY) or {})
    except (AttributeError, TypeError, ValueError) as error:
        raise build_damaged_error(path, f"{_KEY}: {error}") from None


def parse_metric_info(described: Mapping[str, Mapping[str, Any]]) -> dict[str, MetricInfo]:
    """Parse descriptions of metrics.

    Args:
        described: Plain data by name, as `metrics.describe_metrics` returns it.

    Returns:
        Descriptions by the metrics' names without ``val/``.

    Raises:
        UserError: A value has another type.
    """
    names = {key: key.removeprefix("val/") for key in described}
    return {name: MetricInfo.from_dict(name, described[key]) for key, name in names.items()}
