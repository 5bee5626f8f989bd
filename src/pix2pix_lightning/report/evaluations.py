"""Read the evaluations of several runs, and check that they can be compared."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pix2pix_lightning.checkpoints.choice import resolve_weights
from pix2pix_lightning.checkpoints.files import find_checkpoint, read_batches_seen
from pix2pix_lightning.evaluation import METRICS_FILE
from pix2pix_lightning.utils.configs import LOADING_KEYS
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.saved_config import read_saved_values
from pix2pix_lightning.utils.saved_files import build_damaged_error, read_json

_DEFAULTS = {"weights": "trained", "norm": "image", "dropout": "off", "features": "lite1"}
_WITHOUT_EFFECT = {"data.batch_size", *LOADING_KEYS}


def read_evaluations(runs: Sequence[Path], split: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Read the runs' ``metrics.json`` and check that they were written in the same way.

    Args:
        runs: Folders of the runs.
        split: Split that was evaluated.

    Returns:
        The contents in the order of the runs, and remarks about what could not be checked.

    Raises:
        UserError: A run was not evaluated, or its checkpoint has changed since, or it was evaluated in another way
            than the first.
    """
    found = [_read_evaluation(run, split) for run in runs]
    remarks = [_check_current(run, facts) for run, facts in zip(runs, found, strict=True)]
    _check_same_settings(runs, found)
    return found, [remark for remark in remarks if remark]


def describe_checkpoint(found: Sequence[Mapping[str, Any]]) -> str:
    """Describe the checkpoint and the settings that all evaluations have in common."""
    names = sorted({_get_checkpoint_name(facts) for facts in found if "checkpoint" in facts})
    if len(names) > 1:
        names = [f"{' or '.join(names)} (the default of each run)"]
    others = [f"{key}={found[0][key]}" for key, default in _DEFAULTS.items() if found[0].get(key, default) != default]
    if len({facts.get("weights") for facts in found}) > 1:
        others = [*(other for other in others if not other.startswith("weights=")), "weights=auto"]
    return " ".join([names[0] if names else "a checkpoint that they do not name", *others])


def get_metrics_path(run: Path, split: str) -> Path:
    """Return the file in which ``evaluate`` writes a run's figures by default."""
    return run / "evaluation" / f"{split}_deterministic" / METRICS_FILE


def _read_evaluation(run: Path, split: str) -> dict[str, Any]:
    path = get_metrics_path(run, split)
    if not path.is_file():
        raise UserError(f"{run} has not been evaluated on {split}: {_format_command(run, {'split': split})}")
    facts = read_json(path)
    kinds = {"metrics": dict, "checkpoint": str, "data": dict}  # older files do not have all
    wrong = [key for key, kind in kinds.items() if not isinstance(facts.get(key, kind()), kind)]
    if wrong or "metrics" not in facts:
        raise build_damaged_error(path, f"no {' and '.join(wrong) or 'metrics'}")
    return {"split": split, **facts}


def _check_current(run: Path, facts: Mapping[str, Any]) -> str | None:
    """Refuse an evaluation of another checkpoint than the run has now; return a remark if that is not known."""
    subject = f"{run}: its evaluation on {facts['split']}"
    if "checkpoint" not in facts or "batches_seen" not in facts:
        return f"{subject} does not name the batches of its checkpoint, so it may be of an earlier one"
    given, own = Path(facts["checkpoint"]), run / "checkpoints" / _get_checkpoint_name(facts)
    if given.is_file() and not (own.is_file() and given.samefile(own)):
        raise UserError(f"{subject} is of another run's {given}: {_format_command(run, facts, like={})}")
    if not own.is_file():
        return f"{subject} is of {own.name}, which no longer exists, so it may be of an earlier one"
    now = read_batches_seen(own)
    if now != facts["batches_seen"]:
        raise UserError(
            f"{subject} is of {own.name} after {facts['batches_seen']} batches, and {own.name} is now after {now}: "
            f"{_format_command(run, facts)}"
        )
    return None


def _check_same_settings(runs: Sequence[Path], found: Sequence[Mapping[str, Any]]) -> None:
    settings = [_select_settings(facts) for facts in found]
    configured = [_read_data_settings(run) for run in runs]
    for key in dict.fromkeys(key for each in settings for key in each):
        have = [number for number, each in enumerate(settings) if key in each]
        if all(key in configured[number] and settings[number][key] == configured[number][key] for number in have):
            continue  # data that the sweep itself varies
        if key == "checkpoint" and all(_is_of_default(runs[number], found[number]) for number in have):
            continue  # the last of a run with a discriminator, the best of others
        if key == "weights" and all(_has_default_weights(runs[number], found[number]) for number in have):
            continue  # EMA weights of a run that has some, the trained ones of others
        first = have[0]
        for number in have[1:]:
            value, other = settings[number][key], settings[first][key]
            if value != other:
                words = [f"{key}={_format_value(other)}"] if key.startswith("data.") else []
                raise UserError(
                    f"{runs[number]}: its evaluation on {found[number]['split']} has {key}={_format_value(value)}, "
                    f"and that of {runs[first]} has {key}={_format_value(other)}: "
                    f"{_format_command(runs[number], found[number], *words, like=found[first])}"
                )


def _select_settings(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Select the settings that figures depend on; older files do not have all of them."""
    checkpoint = {"checkpoint": _get_checkpoint_name(facts)} if "checkpoint" in facts else {}
    how = {key: facts[key] for key in _DEFAULTS if key in facts}
    return {**checkpoint, **how, **_select_data_settings(facts.get("data", {}))}


def _read_data_settings(run: Path) -> dict[str, Any]:
    data = read_saved_values(run / "config.yaml").get("data")
    return _select_data_settings(data) if isinstance(data, dict) else {}


def _select_data_settings(data: Any) -> dict[str, Any]:
    return {f"data.{key}": value for key, value in data.items() if f"data.{key}" not in _WITHOUT_EFFECT}


def _get_checkpoint_name(facts: Mapping[str, Any]) -> str:
    return Path(facts["checkpoint"]).name


def _format_value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _format_command(run: Path, facts: Mapping[str, Any], *words: str, like: Mapping[str, Any] | None = None) -> str:
    """Format the command that evaluates a run again, with the settings of ``like``, by default with its own."""
    like = facts if like is None else like
    default = _find_default(run)
    checkpoint = run / "checkpoints" / _get_checkpoint_name(like) if "checkpoint" in like else default
    others = [f"{key}={like[key]}" for key in _DEFAULTS if _is_needed(key, like, checkpoint or run)]
    again = ["overwrite=true"] if "metrics" in facts else []
    named = run if checkpoint in (None, default) else checkpoint
    words = (f"checkpoint={named}", f"split={facts['split']}", *others, *words, *again)
    return shlex.join(["python", "-m", "pix2pix_lightning.evaluate", *words])


def _is_needed(key: str, like: Mapping[str, Any], checkpoint: Path) -> bool:
    """Return whether a command must set a key, since it would not be so by default."""
    if key != "weights" or key not in like:
        return bool(like.get(key, _DEFAULTS[key]) != _DEFAULTS[key])
    with suppress(UserError, OSError):
        return bool(like[key] != resolve_weights(checkpoint, "auto"))
    return True


def _find_default(run: Path) -> Path | None:
    """Return the checkpoint that the run's folder stands for, or None."""
    with suppress(FileNotFoundError):
        return find_checkpoint(run)
    return None


def _is_of_default(run: Path, facts: Mapping[str, Any]) -> bool:
    """Return whether an evaluation is of the checkpoint that the run's folder stands for."""
    default = _find_default(run)
    return default is not None and default.name == _get_checkpoint_name(facts)


def _has_default_weights(run: Path, facts: Mapping[str, Any]) -> bool:
    """Return whether an evaluation is of the weights that ``weights=auto`` takes of its checkpoint."""
    if "checkpoint" not in facts:
        return False
    with suppress(UserError, OSError):
        return bool(facts["weights"] == resolve_weights(run / "checkpoints" / _get_checkpoint_name(facts), "auto"))
    return False
