"""What pages say about metrics: their names for people, which value is better, and what a run's files say of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pix2pix_lightning.metrics import MetricInfo, metric_info
from pix2pix_lightning.utils.saved_files import build_damaged_error, read_json

_KEY = "metric_info"
_LOWER, _BALANCE = "lower is better", "a balance: neither is better"
_TRAINING = {  # title and aim of what the training step logs
    "loss_g": ("Generator loss", _LOWER),
    "adversarial": ("Adversarial loss of the generator", _BALANCE),
    "loss_d": ("Discriminator loss", _BALANCE),
    "d_real": ("Discriminator's score of real pairs", _BALANCE),
    "d_fake": ("Discriminator's score of generated pairs", _BALANCE),
    "l1": ("Training L1", _LOWER),
    "l2": ("Training L2", _LOWER),
    "cross_entropy": ("Cross-entropy of the classes", _LOWER),
    "feature_matching": ("Feature matching loss", _LOWER),
    "mode_seeking": ("Mode seeking loss", _LOWER),
    "perceptual": ("Perceptual distance", _LOWER),
    "gradient_penalty": ("Gradient penalty", _LOWER),
    "r1": ("R1 penalty", _LOWER),
    "label_mix": ("LabelMix consistency", _LOWER),
}
_STAGES = {"val": "Validation", "test": "Test"}


class MetricName(NamedTuple):
    """What pages show of a metric.

    Attributes:
        key: Name in files and logs, such as ``val/l1``.
        title: Name for people, such as ``Validation L1``.
        aim: Which value is better, such as ``lower is better``; empty where that is not known.
        unit: Label of an axis of its values: the unit, or what it measures.
    """

    key: str
    title: str
    aim: str = ""
    unit: str = "value"


def name_metric(key: str, described: Mapping[str, MetricInfo] | None = None) -> MetricName:
    """Return what pages show of a logged metric.

    Args:
        key: ``val/<name>``, ``test/<name>``, ``train/<name>``, or a name alone, for example of an evaluation.
        described: What a run's files say about its metrics, by their names without ``val/``; for others the registered
            row counts.

    Returns:
        Title, aim and unit; of an unknown name its key is the title.
    """
    stage, _, name = key.rpartition("/")
    if stage == "train":
        title, aim = _TRAINING.get(name, (key, ""))
        return MetricName(key, title, aim)
    info = (described or {}).get(name) or metric_info(name)
    title = f"{_STAGES[stage]} {info.title}" if stage in _STAGES else info.title
    return MetricName(key, title, format_aim(info), info.unit or info.label)


def format_aim(info: MetricInfo) -> str:
    """Say which value of a metric is better; empty where that is not known."""
    if info.direction == "target":
        return f"nearer to {info.best:g} is better"
    return "" if info.direction == "unknown" else f"{info.direction} is better"


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
