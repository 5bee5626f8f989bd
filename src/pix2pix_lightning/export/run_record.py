"""Read from a run's folder what trained a model and how good it is, for the files that are made from it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pix2pix_lightning.checkpoints.pretrained.card import join_lines
from pix2pix_lightning.evaluation import METRICS_FILE
from pix2pix_lightning.utils.csv_file import read_metrics
from pix2pix_lightning.utils.saved_config import read_saved_values
from pix2pix_lightning.utils.saved_files import read_json

_LOCAL_KEYS = ("root", "archive", "cache", "augmentation", "num_workers", "pin_memory", "prefetch_factor")
"""Keys of a run's data that describe the machine, or training alone."""
_COMMAND = ["python", "-m", "pix2pix_lightning.train"]
_SHARED_GROUPS = (
    *("experiment", "recipe", "ingredient", "data", "module", "generator", "discriminator", "loss", "adversarial"),
    *("optimizer", "schedule", "trainer", "speed", "callbacks", "seed", "debug"),
)
"""Groups of a command that describe the training itself; the others describe folders, loggers and accounts."""


def describe_training(run: Path, batches_seen: int, weights: str) -> dict[str, Any]:
    """Describe how a model was trained and how good it is, as plain data without paths.

    Args:
        run: Folder of the run.
        batches_seen: Number of training batches after which the weights were saved.
        weights: ``trained`` or ``ema``.

    Returns:
        ``train``, the command; ``metrics``, the means by name; and ``measured_on``, the split. What is unknown is left
        out. An evaluation goes before the validation during training.
    """
    found: dict[str, Any] = {}
    if command := format_training_command(_read_config(run).get("command")):
        found["train"] = command
    if evaluations := read_evaluations(run, batches_seen, weights):
        metrics = {name: values["mean"] for name, values in evaluations[-1]["metrics"].items()}
        return {**found, "metrics": metrics, "measured_on": evaluations[-1]["split"]}
    if weights == read_validated_weights(run) and (row := read_last_validation(run, batches_seen)):
        metrics = {key.removeprefix("val/"): value for key, value in row.items() if key.startswith("val/")}
        return {**found, "metrics": metrics, "measured_on": "val"}
    return found


def describe_data(run: Path) -> dict[str, Any] | None:
    """Return the description of the run's data without paths of this machine; None where there is none."""
    data = _read_config(run).get("data")
    return {key: value for key, value in data.items() if key not in _LOCAL_KEYS} if isinstance(data, dict) else None


def _read_config(run: Path) -> dict[str, Any]:
    return read_saved_values(run / "config.yaml") if (run / "config.yaml").is_file() else {}


def read_validated_weights(run: Path) -> str:
    """Return which weights the validations of a run measured: ``trained``, or ``ema``."""
    ema = (_read_config(run).get("callbacks") or {}).get("ema")
    return "ema" if isinstance(ema, dict) and ema.get("validate") else "trained"


def read_last_validation(run: Path, batches_seen: int) -> Mapping[str, float] | None:
    """Read the metrics of the last validation before the weights were saved."""
    rows = read_metrics(run / "metrics.csv")
    measured = [row for row in rows if "epoch" in row and any(key.startswith("val/") for key in row)]
    earlier = [row for row in measured if row["step"] < batches_seen]
    return earlier[-1] if earlier else None


def read_evaluations(run: Path, batches_seen: int, weights: str) -> list[dict[str, Any]]:
    """Read the results of the evaluations of some weights.

    Args:
        run: Folder of the run.
        batches_seen: Number of training batches after which the weights were saved.
        weights: ``trained`` or ``ema``.

    Returns:
        What ``evaluate`` wrote, an item for each evaluation.

    Raises:
        UserError: A file is damaged.
    """
    return [
        evaluation
        for path in sorted((run / "evaluation").glob(f"*/{METRICS_FILE}"))
        if (evaluation := read_json(path)).get("batches_seen") == batches_seen and evaluation.get("weights") == weights
    ]


def format_training_command(command: Any) -> str | None:
    """Keep the words of a command that describe the training itself, with ``<path>`` in place of paths."""
    try:
        words = shlex.split(str(command or ""))
    except ValueError:
        return None
    if words[:3] != _COMMAND:
        return None
    shared = []
    for word in words[3:]:
        key, _, value = word.partition("=")
        if key.lstrip("+~").partition(".")[0].partition("/")[0] in _SHARED_GROUPS:
            is_path = key == "data.root" or re.search(r"[/\\~]", value)
            shared.append(f"{key}=<path>" if is_path else word)
    return join_lines(shlex.join([*_COMMAND, *shared]))
