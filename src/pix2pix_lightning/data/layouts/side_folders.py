"""Find the two folders of A and B, by the places and the names that are usual."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pix2pix_lightning.data.files.listing import is_folder, is_system_folder
from pix2pix_lightning.data.layouts.side_names import choose_names, find_role
from pix2pix_lightning.data.stores.stored_path import AnyPath

_MOST_LEFT_OUT = 0.5


class SidesInside(NamedTuple):
    """Folders of A and of B that lie inside the folders of a series, as ``series1/A/001.png``.

    Attributes:
        names: Names of the folders of A and of B.
        a: Paths of the files of A by their path without that folder.
        b: Paths of the files of B.
        others: Files in neither.
    """

    names: tuple[str, str]
    a: dict[str, str]
    b: dict[str, str]
    others: list[str]


def list_side_folders(root: AnyPath, split: str) -> list[tuple[AnyPath, AnyPath]]:
    """List the places of the folders A and B of a split, each once; an empty ``split`` stands for ``root`` itself."""
    return _list_places(root, split, ("A", "B"))


def find_side_folders(root: AnyPath, split: str, names: Sequence[str] | None = None) -> list[tuple[AnyPath, AnyPath]]:
    """Find the two folders of a split: called A and B, or by names that the table of sides has.

    Args:
        root: Folder of the data set.
        split: Name of the split; empty for ``root`` itself.
        names: Names of the folders of A and B, which then are the only ones.

    Returns:
        All that are complete, the one to use first. Names of the table count where there are no A and B.

    Raises:
        UserError: Several folders could be A or B.
    """
    if names is not None:
        return [both for both in _list_places(root, split, names) if _are_folders(both)]
    if complete := [both for both in list_side_folders(root, split) if _are_folders(both)]:
        return complete
    found: list[tuple[AnyPath, AnyPath]] = []
    within = root / split if split else root
    if chosen := choose_names(filter(find_role, list_folders(within)), str(within)):
        found.append((within / chosen[0], within / chosen[1]))
    if not split:
        return found
    in_root = list_folders(root)
    holding = [name for name in in_root if find_role(name) and (root / name / split).is_dir()]
    if chosen := choose_names(holding, f"{root}, with a folder {split} inside,"):
        found.append((root / chosen[0] / split, root / chosen[1] / split))
    sides = {side: name for name in in_root if (side := _find_side_in(name, split))}
    if chosen := choose_names(sides, f"{root}, in folders of {split},"):
        found.append((root / sides[chosen[0]], root / sides[chosen[1]]))
    return found


def find_sides_inside(folder: AnyPath, files: Sequence[str], names: Sequence[str] | None = None) -> SidesInside | None:
    """Find folders of A and of B inside the folders of series.

    Args:
        folder: The folder of all series, for messages.
        files: Paths of its images, relative to it.
        names: Names of the folders of A and B, which then are the only ones.

    Returns:
        What was found, or None where most files are in neither, or all on one side.

    Raises:
        UserError: Several folders could be A or B.
    """
    places: dict[str, list[int]] = {}
    for file in files:
        above = file.rpartition("/")[0]
        if above and above not in places:
            places[above] = [place for place, part in enumerate(above.split("/")) if find_role(part, names)]
    inside = {above: above.split("/")[found[0]] for above, found in places.items() if len(found) == 1}
    chosen = choose_names(inside.values(), str(folder)) if names is None else (names[0], names[1])
    if chosen is None or not set(chosen) <= set(inside.values()):
        return None
    sides: tuple[dict[str, str], dict[str, str]] = ({}, {})
    others = []
    for file in files:
        above = file.rpartition("/")[0]
        if inside.get(above) not in chosen:
            others.append(file)
            continue
        parts = file.split("/")
        name = parts.pop(places[above][0])
        sides[chosen.index(name)]["/".join(parts)] = file
    if len(others) > _MOST_LEFT_OUT * len(files):
        return None
    return SidesInside((chosen[0], chosen[1]), *sides, others)


def list_folders(folder: AnyPath) -> list[str]:
    """Return the names of the folders in a folder in ascending order, without those of a system."""
    if not folder.is_dir():
        return []
    if isinstance(folder, Path):  # which may hold many files
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if is_folder(entry)]
    else:
        names = [path.name for path in folder.iterdir() if path.is_dir()]
    return sorted(name for name in names if not is_system_folder(name))


def _list_places(root: AnyPath, split: str, names: Sequence[str]) -> list[tuple[AnyPath, AnyPath]]:
    a, b = names
    places = [
        (root / split / a, root / split / b),
        (root / a / split, root / b / split),
        (root / f"{split}{a}", root / f"{split}{b}"),
    ]
    if split:
        places += [(root / f"{split}{mark}{a}", root / f"{split}{mark}{b}") for mark in "_-"]
        places += [(root / f"{a}{mark}{split}", root / f"{b}{mark}{split}") for mark in "_-"]
    return list(dict.fromkeys(places))


def _find_side_in(name: str, split: str) -> str | None:
    """Return the part of a folder's name that stands for a side, as that of ``train_input``."""
    marked = re.fullmatch(rf"{re.escape(split)}[_-]?(.+)|(.+)[_-]{re.escape(split)}", name)
    side = (marked[1] or marked[2]) if marked else None
    return side if side and find_role(side) else None


def _are_folders(both: tuple[AnyPath, AnyPath]) -> bool:
    return both[0].is_dir() and both[1].is_dir()
