"""Match the files of A with those of B, also where their names differ by a rule."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.text import format_names

_NUMBER = re.compile(r"\d+")
Key = Callable[[str], str]


@dataclass(frozen=True)
class Match:
    """Which names of A and B belong together.

    Attributes:
        pairs: Names of A and of B, in the order of A's names.
        unmatched_a: Names of A without a partner.
        unmatched_b: Names of B without a partner.
        rule: By what names differ, empty where all are equal.
    """

    pairs: list[tuple[str, str]]
    unmatched_a: list[str]
    unmatched_b: list[str]
    rule: str = ""


def match_names(a: Sequence[str], b: Sequence[str]) -> Match:
    """Match names that are equal, or that differ by case, zeros before a number, or one prefix and suffix of each side.

    Equal names belong together first. What is left is compared without case and leading zeros. Prefix and suffix are
    compared only where no names are equal.

    Args:
        a: Names of A, paths without ending, all different.
        b: Names of B.

    Returns:
        What belongs together. A rule is used only where each name then has at most one partner.

    Raises:
        UserError: By the rule that fits best, several names of one side are equal.
    """
    forms_a, forms_b = ({unicodedata.normalize("NFC", name): name for name in names} for names in (a, b))
    exact = [(forms_a[form], forms_b[form]) for form in forms_a.keys() & forms_b.keys()]
    taken_a, taken_b = {one for one, _ in exact}, {other for _, other in exact}
    left_a = [name for name in a if name not in taken_a]
    left_b = [name for name in b if name not in taken_b]
    best: tuple[list[tuple[str, str]], str] = ([], "")
    if left_a and left_b:
        for rule, key_a, key_b in _list_rules(left_a, left_b, may_strip=not exact):
            found = _match(left_a, left_b, key_a, key_b, rule)
            # two sets that have little but a number in common are probably no pairs
            if "prefix" in rule and 2 * len(found) < min(len(left_a), len(left_b)):
                continue
            if len(found) > len(best[0]):
                best = found, rule
            if len(found) == max(len(left_a), len(left_b)):
                break
    by_rule = {one for one, _ in best[0]}, {other for _, other in best[0]}
    return Match(
        sorted([*exact, *best[0]], key=lambda pair: pair[0].split("/")),
        [name for name in left_a if name not in by_rule[0]],
        [name for name in left_b if name not in by_rule[1]],
        best[1],
    )


def _list_rules(a: Sequence[str], b: Sequence[str], *, may_strip: bool) -> list[tuple[str, Key, Key]]:
    plain: list[tuple[str, Key]] = [
        ("case", str.casefold),
        ("leading zeros", _drop_zeros),
        ("case and leading zeros", lambda name: _drop_zeros(name.casefold())),
    ]
    rules = [(rule, key, key) for rule, key in plain]
    strip_a, strip_b = _find_affixes(a), _find_affixes(b)
    if not may_strip or strip_a == strip_b or min(len(a), len(b)) < 2:  # a single name is all prefix
        return rules
    parts = " and ".join(f'"{prefix}*{suffix}"' for prefix, suffix in (strip_a, strip_b))
    key_a, key_b = (_build_stripper(affixes) for affixes in (strip_a, strip_b))
    rules.append((f"prefix or suffix, {parts}", key_a, key_b))
    for rule, key in plain:
        rules.append((f"prefix or suffix, {parts}, and {rule}", _chain(key_a, key), _chain(key_b, key)))
    return rules


def _chain(first: Key, then: Key) -> Key:
    return lambda name: then(first(name))


def _match(a: Sequence[str], b: Sequence[str], key_a: Key, key_b: Key, rule: str) -> list[tuple[str, str]]:
    groups: tuple[defaultdict[str, list[str]], ...] = (defaultdict(list), defaultdict(list))
    for group, names, key in zip(groups, (a, b), (key_a, key_b), strict=True):
        for name in names:
            group[unicodedata.normalize("NFC", key(name))].append(name)
    found = []
    for form in groups[0].keys() & groups[1].keys():
        ones, others = groups[0][form], groups[1][form]
        if len(ones) > 1 or len(others) > 1:
            raise UserError(
                f"the names of A and B differ by {rule}, and without it {format_names(ones)} of A and "
                f"{format_names(others)} of B are equal: rename them, or list the pairs in a manifest.csv"
            )
        found.append((ones[0], others[0]))
    return found


def _drop_zeros(name: str) -> str:
    return _NUMBER.sub(lambda match: match[0].lstrip("0") or "0", name)


def _build_stripper(affixes: tuple[str, str]) -> Key:
    prefix, suffix = affixes

    def strip(name: str) -> str:
        folder, slash, last = name.rpartition("/")
        return folder + slash + last[len(prefix) : len(last) - len(suffix)]

    return strip


def _find_affixes(names: Sequence[str]) -> tuple[str, str]:
    """Return what the last parts of all names begin and end with, cut where a word or a number ends."""
    lasts = [name.rpartition("/")[2] for name in names]
    prefix = _find_common_start(lasts)
    rests = [last[len(prefix) :] for last in lasts]
    suffix = _find_common_start([rest[::-1] for rest in rests])[::-1]
    while prefix and any(_is_within_word(prefix[-1], last[len(prefix) :][:1]) for last in lasts):
        prefix = prefix[:-1]
    while suffix and any(_is_within_word(suffix[0], last[: len(last) - len(suffix)][-1:]) for last in lasts):
        suffix = suffix[1:]
    return prefix, suffix


def _find_common_start(texts: Sequence[str]) -> str:
    first, last = min(texts), max(texts)  # all others lie between them
    length = next(
        (place for place, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first)
    )
    return first[:length]


def _is_within_word(one: str, other: str) -> bool:
    """Return whether two neighbouring characters are of one word or of one number."""
    return (one.isalpha() and other.isalpha()) or (one.isdigit() and other.isdigit())
