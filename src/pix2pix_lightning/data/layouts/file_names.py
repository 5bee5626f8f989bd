"""Find A and B among the files of one folder, by what their names end or begin with: ``x_A.png`` and ``x_B.png``."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from pix2pix_lightning.data.files.listing import get_stem
from pix2pix_lightning.data.layouts.name_matching import Match, match_names
from pix2pix_lightning.data.layouts.side_names import choose_names, find_role
from pix2pix_lightning.data.stores.stored_path import AnyPath
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.text import format_names

_LEAST_MATCHED = 0.9  # share of the images; with fewer, single names only look like sides
_MARKS = "_-. "
_AFFIXES = {
    "suffix": re.compile(r"(?P<rest>.*[^_\-. ])[_\-. ]+(?P<side>[^_\-. ]+)"),
    "prefix": re.compile(r"(?P<side>[^_\-. ]+)[_\-. ]+(?P<rest>[^_\-. ].*)"),
}


class NamedSides(NamedTuple):
    """Files of A and B in one folder.

    Attributes:
        patterns: What the names of A and of B look like, as ``*_A`` and ``*_B``.
        a: Paths of the files of A by what is left of their names.
        b: Paths of the files of B.
        match: Which of these names belong together.
        others: Files that are neither.
    """

    patterns: tuple[str, str]
    a: dict[str, str]
    b: dict[str, str]
    match: Match
    others: list[str]


def find_named_sides(
    folder: AnyPath, files: Sequence[str], names: Sequence[str] | None = None, *, is_sure: bool = False
) -> NamedSides | None:
    """Find A and B among the files of one folder by their names.

    Args:
        folder: The folder, for messages.
        files: Paths of its images, relative to it.
        names: What the names of A and of B end or begin with; by default what the table of sides has.
        is_sure: Whether any pair will do; else nine tenths of the files have to be in pairs.

    Returns:
        What was found, or None.

    Raises:
        UserError: The names could be read in two ways.
    """
    least = 1 if is_sure else max(2, _LEAST_MATCHED * len(files))
    results = [found for affix in _AFFIXES if (found := _find(folder, files, names, affix, least)) is not None]
    if len(results) > 1:
        patterns = " or ".join(f"{found.patterns[0]} and {found.patterns[1]}" for found in results)
        raise UserError(
            f"{folder}: A and B could be {patterns}: put them into the folders {folder / 'A'} and {folder / 'B'}, or "
            "list the pairs in a manifest.csv"
        )
    return results[0] if results else None


def _find(
    folder: AnyPath, files: Sequence[str], names: Sequence[str] | None, affix: str, least: float
) -> NamedSides | None:
    groups: defaultdict[str, dict[str, str]] = defaultdict(dict)
    duplicates = []
    num_others = 0
    for file in files:
        above, slash, last = get_stem(file).rpartition("/")
        split = _split_chosen(last, names, affix) if names else _split(last, affix)
        if split is not None:
            rest = f"{above}{slash}{split[0]}"
            if rest in groups[split[1]]:
                duplicates.append(file)
            groups[split[1]].setdefault(rest, file)
        else:
            num_others += 1
            if len(files) - num_others < least:  # most of many strips
                return None
    chosen = choose_names(groups, str(folder)) if names is None else (names[0], names[1])
    if chosen is None or not all(name in groups for name in chosen):
        return None
    a, b = groups[chosen[0]], groups[chosen[1]]
    match = match_names(list(a), list(b))
    if 2 * len(match.pairs) < least:
        return None
    if duplicates:
        raise UserError(
            f"{folder}: {format_names(duplicates)}: other files have the same names but for the ending: keep one"
        )
    used = {*a.values(), *b.values()}
    marks = [
        _find_mark(get_stem(next(iter(side.values()))), name, affix) for side, name in zip((a, b), chosen, strict=True)
    ]
    patterns = [
        f"*{mark}{name}" if affix == "suffix" else f"{name}{mark}*" for mark, name in zip(marks, chosen, strict=True)
    ]
    return NamedSides((patterns[0], patterns[1]), a, b, match, [file for file in files if file not in used])


def _split(stem: str, affix: str) -> tuple[str, str] | None:
    """Split a name into what a pair shares and what stands for a side; None where nothing does."""
    found = _AFFIXES[affix].fullmatch(stem)
    return (found["rest"], found["side"]) if found and find_role(found["side"]) else None


def _split_chosen(stem: str, names: Sequence[str], affix: str) -> tuple[str, str] | None:
    for name in sorted(names, key=len, reverse=True):
        rest = stem.removesuffix(name) if affix == "suffix" else stem.removeprefix(name)
        if rest != stem and rest.strip(_MARKS):
            return rest.strip(_MARKS), name
    return None


def _find_mark(stem: str, name: str, affix: str) -> str:
    """Return the mark between a name and what stands for a side."""
    rest = stem.removesuffix(name)[-1:] if affix == "suffix" else stem.rpartition("/")[2].removeprefix(name)[:1]
    return rest if rest and rest in _MARKS else ""
