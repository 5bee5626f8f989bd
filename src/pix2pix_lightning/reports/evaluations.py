"""What ``evaluate`` has measured of several runs, and whether it may be compared."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pix2pix_lightning.checkpoints.files import BEST, PROJECT_KEY, read_checkpoint
from pix2pix_lightning.evaluation import FIGURES
from pix2pix_lightning.reports.run_files import damaged, read_json, read_yaml

_USUAL = {"weights": "trained", "norm": "image", "dropout": "off"}
_CHANGE_NO_FIGURE = ("batch_size", "num_workers")


def read_evaluations(runs: Sequence[Path], split: str) -> tuple[list[dict[str, Any]], list[str]]:
    """What stands in the runs' ``metrics.json``, in their order, and remarks on what could not be checked.

    Args:
        runs: Their folders.
        split: That was measured.

    Raises:
        ValueError: A run was not evaluated, or its checkpoint is another one since, or it was evaluated in another way
            than the first.
    """
    found = [_read(run, split) for run in runs]
    remarks = [_check_current(run, facts) for run, facts in zip(runs, found, strict=True)]
    _check_alike(runs, found)
    return found, [remark for remark in remarks if remark]


def measured(found: Sequence[Mapping[str, Any]]) -> str:
    """Of what the figures of evaluations are, which are all of the same."""
    names = [_name(facts) for facts in found if "checkpoint" in facts]
    others = [f"{key}={found[0][key]}" for key, usual in _USUAL.items() if found[0].get(key, usual) != usual]
    return " ".join([names[0] if names else "a checkpoint that they do not name", *others])


def figures_file(run: Path, split: str) -> Path:
    """Where ``evaluate`` writes a run's figures unless told."""
    return run / "evaluation" / f"{split}_deterministic" / FIGURES


def _read(run: Path, split: str) -> dict[str, Any]:
    path = figures_file(run, split)
    if not path.is_file():
        raise ValueError(f"{run} has not been evaluated on {split}: {_command(run, {'split': split})}")
    facts = read_json(path)
    kinds = {"metrics": dict, "checkpoint": str, "data": dict}  # older files do not have all
    wrong = [key for key, kind in kinds.items() if not isinstance(facts.get(key, kind()), kind)]
    if wrong or "metrics" not in facts:
        raise damaged(path, f"no {' and '.join(wrong) or 'metrics'}")
    return {"split": split, **facts}


def _check_current(run: Path, facts: Mapping[str, Any]) -> str | None:
    """Refuse what is of another checkpoint than the run has now; a remark where that cannot be known."""
    said = f"{run}: its evaluation on {facts['split']}"
    if "checkpoint" not in facts or "batches_seen" not in facts:
        return f"{said} does not say after how many batches its checkpoint was, so it may be of an earlier one"
    given, own = Path(facts["checkpoint"]), run / "checkpoints" / _name(facts)
    if given.is_file() and not (own.is_file() and given.samefile(own)):
        raise ValueError(f"{said} is of another run's {given}: {_command(run, facts, like={})}")
    if not own.is_file():
        return f"{said} is of {own.name}, which is there no more, so it may be of an earlier one"
    now = read_checkpoint(own)[PROJECT_KEY]["batches_seen"]
    if now != facts["batches_seen"]:
        raise ValueError(
            f"{said} is of {own.name} after {facts['batches_seen']} batches, and {own.name} is now after {now}: "
            f"{_command(run, facts)}"
        )
    return None


def _check_alike(runs: Sequence[Path], found: Sequence[Mapping[str, Any]]) -> None:
    settings = [_settings(facts) for facts in found]
    of_runs = [_of_run(run) for run in runs]
    for key in dict.fromkeys(key for each in settings for key in each):
        have = [number for number, each in enumerate(settings) if key in each]
        if all(key in of_runs[number] and settings[number][key] == of_runs[number][key] for number in have):
            continue  # the runs' own data, as the sweep has it
        first = have[0]
        for number in have[1:]:
            value, other = settings[number][key], settings[first][key]
            if value != other:
                words = [f"{key}={_said(other)}"] if key.startswith("data.") else []
                raise ValueError(
                    f"{runs[number]}: its evaluation on {found[number]['split']} has {key}={_said(value)}, and that of "
                    f"{runs[first]} has {key}={_said(other)}: "
                    f"{_command(runs[number], found[number], *words, like=found[first])}"
                )


def _settings(facts: Mapping[str, Any]) -> dict[str, Any]:
    """On what the figures depend, as far as an older file says it."""
    checkpoint = {"checkpoint": _name(facts)} if "checkpoint" in facts else {}
    how = {key: facts[key] for key in _USUAL if key in facts}
    return {**checkpoint, **how, **_of_data(facts.get("data", {}))}


def _of_run(run: Path) -> dict[str, Any]:
    data = read_yaml(run / "config.yaml").get("data")
    return _of_data(OmegaConf.to_container(data, resolve=True)) if OmegaConf.is_dict(data) else {}


def _of_data(data: Any) -> dict[str, Any]:
    return {f"data.{key}": value for key, value in data.items() if key not in _CHANGE_NO_FIGURE}


def _name(facts: Mapping[str, Any]) -> str:
    return Path(facts["checkpoint"]).name


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _command(run: Path, facts: Mapping[str, Any], *words: str, like: Mapping[str, Any] | None = None) -> str:
    """That evaluates a run anew, as ``like`` was, by default as it was itself."""
    like = facts if like is None else like
    name = _name(like) if "checkpoint" in like else Path(BEST).name
    checkpoint = run if name == Path(BEST).name else run / "checkpoints" / name
    others = [f"{key}={like[key]}" for key, usual in _USUAL.items() if like.get(key, usual) != usual]
    again = ["overwrite=true"] if "metrics" in facts else []
    words = (f"checkpoint={checkpoint}", f"split={facts['split']}", *others, *words, *again)
    return shlex.join(["python", "-m", "pix2pix_lightning.evaluate", *words])
