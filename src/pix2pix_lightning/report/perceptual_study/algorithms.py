"""Find the evaluations whose pictures a perceptual study shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pix2pix_lightning.evaluation import METRICS_FILE
from pix2pix_lightning.report.evaluations import get_metrics_path
from pix2pix_lightning.report.sweep import find_runs
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.saved_files import read_json

_EVALUATIONS, _IMAGES = "evaluation", "images"
_PICTURES = ("output.png", "target.png")


class Algorithm(NamedTuple):
    """An evaluation whose outputs people judge.

    Attributes:
        label: Unique name, as the table has it.
        folder: Folder of the evaluation.
        pairs: Sorted names of the pairs' folders in ``images/``, each with ``output.png`` and ``target.png``.
    """

    label: str
    folder: Path
    pairs: Sequence[str]

    def get_pictures(self, pair: str) -> tuple[Path, Path]:
        """Return the files of a pair: the target, which is real, and the output, which is generated."""
        output, target = (self.folder / _IMAGES / pair / name for name in _PICTURES)
        return target, output

    def read_facts(self) -> dict[str, Any]:
        """Read what the evaluation says about its checkpoint and its pairs."""
        facts = read_json(self.folder / METRICS_FILE)
        return {key: facts.get(key) for key in ("checkpoint", "weights", "split", "mode")}


def find_algorithms(folders: Sequence[Path], *, split: str | None = None) -> list[Algorithm]:
    """Find the evaluations in folders, and check that all have the same pairs.

    Args:
        folders: Folders of evaluations or of runs, or folders of run folders.
        split: Split that was evaluated; needed only for runs with several evaluations.

    Returns:
        The evaluations, each with a label of its own.

    Raises:
        UserError: A folder has no evaluation, or several; two are the same; or they have other pairs.
    """
    found = list(dict.fromkeys(path for folder in folders for path in _find_evaluations(folder, split)))
    labels = _build_labels([path.resolve() for path in found])
    algorithms = [Algorithm(label, path, _list_pairs(path)) for label, path in zip(labels, found, strict=True)]
    first = algorithms[0]
    for other in algorithms[1:]:
        if lacking := sorted({*first.pairs} ^ {*other.pairs}):
            raise UserError(
                f"{other.folder} and {first.folder} have not the same pairs, only one has {lacking[0]}: "
                "evaluate both on the same pairs"
            )
    return algorithms


def _find_evaluations(folder: Path, split: str | None) -> list[Path]:
    if (folder / METRICS_FILE).is_file():
        return [folder]
    found = []
    for run in find_runs(folder):
        if split is not None:
            evaluations = [path for path in [get_metrics_path(run, split)] if path.is_file()]
        else:
            evaluations = sorted((run / _EVALUATIONS).glob(f"*/{METRICS_FILE}"))
        if not evaluations:
            wanted = "" if split is None else f" on {split}"
            raise UserError(
                f"{run} has not been evaluated{wanted}: python -m pix2pix_lightning.evaluate checkpoint={run}"
                f"{'' if split is None else f' split={split}'}"
            )
        if len(evaluations) > 1:
            names = ", ".join(path.parent.name for path in evaluations)
            raise UserError(f"{run} has several evaluations, {names}: set split=, or runs=[{evaluations[0].parent}]")
        found.append(evaluations[0].parent)
    return found


def _list_pairs(folder: Path) -> list[str]:
    images = folder / _IMAGES
    pairs = sorted(path.name for path in images.iterdir() if path.is_dir()) if images.is_dir() else []
    if not pairs:
        raise UserError(f"{folder} holds no pictures of pairs, images/<name>/output.png: evaluate again")
    for pair in pairs:
        for name in _PICTURES:
            if not (images / pair / name).is_file():
                raise UserError(f"{images / pair} has no {name}: evaluate again, or remove the pair's folder")
    return pairs


def _build_labels(folders: Sequence[Path]) -> list[str]:
    """Name evaluations by their runs, with as many folders above as make the names unique."""
    parts = [folder.parts[1:-2] if folder.parent.name == _EVALUATIONS else folder.parts[1:] for folder in folders]
    if len({*parts}) < len(parts):  # several evaluations of one run
        parts = [folder.parts[1:] for folder in folders]
    longest = max(map(len, parts))
    for depth in range(1, longest + 1):
        labels = ["/".join(each[-depth:]) for each in parts]
        if len({*labels}) == len(labels):
            return labels
    raise UserError(f"{folders[0]} is there twice: name each evaluation once")
