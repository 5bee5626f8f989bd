"""Pair the files of A with those of B, and name those that have no partner."""

from __future__ import annotations

import logging
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

from pix2pix_lightning.data.files.image_files import IMAGE_SUFFIXES
from pix2pix_lightning.data.files.listing import PathList, get_stem, list_images_below, log_passed_over
from pix2pix_lightning.data.layouts.file_names import NamedSides
from pix2pix_lightning.data.layouts.layout import Found, format_rule
from pix2pix_lightning.data.layouts.name_matching import Match, match_names
from pix2pix_lightning.data.layouts.side_folders import SidesInside
from pix2pix_lightning.data.pairs import FilePairs
from pix2pix_lightning.data.stores.stored_path import AnyPath
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.text import format_names

_log = logging.getLogger(__name__)


def pair_folders(folder_a: AnyPath, folder_b: AnyPath) -> Found:
    """Pair the files of two folders; A and B of a pair have the same path below them, but for the ending.

    Names may also differ by a rule (``match_names``). Files without a partner are left out and named in a warning.

    Args:
        folder_a: Folder of the files of A; those in folders below it count too.
        folder_b: Folder of the files of B.

    Returns:
        The pairs, in the order of A's names.

    Raises:
        UserError: A folder has no image, two files differ in their ending alone, or no file has a partner.
    """
    a, b = _index_by_stem(folder_a), _index_by_stem(folder_b)
    for folder, found in ((folder_a, a), (folder_b, b)):
        if not found:
            raise UserError(format_no_image(folder))
    try:
        match = match_names(list(a), list(b))
    except UserError as error:
        raise UserError(f"{folder_a} and {folder_b}: {error}") from None
    unmatched = [f"{folder_a}/{a[name]}" for name in match.unmatched_a]
    unmatched += [f"{folder_b}/{b[name]}" for name in match.unmatched_b]
    if not match.pairs:
        raise UserError(
            f"{folder_a} and {folder_b} have no file name in common: A and B are matched by the path below these "
            f"folders before the ending; without a partner: {format_names(unmatched)}; or list the pairs in a "
            "manifest.csv"
        )
    _warn_of_unmatched(unmatched)
    return Found(_build_pairs(folder_a, folder_b, a, b, match), "folders", str(folder_a), str(folder_b), _format(match))


def _build_pairs(
    folder_a: AnyPath, folder_b: AnyPath, a: Mapping[str, str], b: Mapping[str, str], match: Match
) -> FilePairs:
    files_a = PathList(folder_a, [a[one] for one, _ in match.pairs])
    files_b = PathList(folder_b, [b[other] for _, other in match.pairs])
    return FilePairs([files_a], [files_b], [one for one, _ in match.pairs])


def pair_named(folder: AnyPath, found: NamedSides) -> Found:
    """Pair the files of one folder whose names tell A from B."""
    _warn_of_unmatched(
        [
            *(f"{folder}/{found.a[name]}" for name in found.match.unmatched_a),
            *(f"{folder}/{found.b[name]}" for name in found.match.unmatched_b),
            *(f"{folder}/{file}" for file in found.others),
        ]
    )
    pairs = _build_pairs(folder, folder, found.a, found.b, found.match)
    a, b = (f"{folder}/{pattern}" for pattern in found.patterns)
    return Found(pairs, "names", a, b, _format(found.match))


def pair_inside(folder: AnyPath, found: SidesInside) -> Found:
    """Pair the files of folders of A and of B inside those of series.

    Args:
        folder: The folder of all series.
        found: What was found in it.

    Returns:
        The pairs.

    Raises:
        UserError: Two files differ in their ending alone, or no file has a partner.
    """
    a, b = ({get_stem(name): file for name, file in side.items()} for side in (found.a, found.b))
    for side, files in ((a, found.a), (b, found.b)):
        if len(side) < len(files):
            twice = sorted(name for name, count in Counter(map(get_stem, files)).items() if count > 1)
            raise UserError(f"{folder} has several files with the stem {format_names(twice)}: keep one file of each")
    match = match_names(list(a), list(b))
    unmatched = [a[name] for name in match.unmatched_a] + [b[name] for name in match.unmatched_b] + found.others
    if not match.pairs:
        raise UserError(
            f"{folder}: the folders {found.names[0]} and {found.names[1]} of its series have no file name in common; "
            f"without a partner: {format_names(unmatched)}"
        )
    _warn_of_unmatched([f"{folder}/{file}" for file in unmatched])
    pairs = _build_pairs(folder, folder, a, b, match)
    a_place, b_place = (f"{folder}/*/{name}" for name in found.names)
    return Found(pairs, "folders", a_place, b_place, _format(match))


def _format(match: Match) -> str:
    return format_rule(match.rule, match.pairs)


def _warn_of_unmatched(files: Sequence[str]) -> None:
    if files:
        _log.warning("%d files without a partner are left out: %s", len(files), format_names(files))


def format_no_image(folder: AnyPath) -> str:
    """Return that there is no image in a folder."""
    return f"{folder}: no image in it; files that end with {' '.join(sorted(IMAGE_SUFFIXES))} are expected"


def _index_by_stem(folder: AnyPath) -> dict[str, str]:
    """Return the files below a folder, relative to it, by their path without the ending."""
    listing = list_images_below(folder)
    log_passed_over(folder, listing)
    # the systems that wrote A and B may differ in the form of an accented letter
    stems = [unicodedata.normalize("NFC", get_stem(file)) for file in listing.files]
    duplicates = find_duplicates(stems)
    if duplicates:
        raise UserError(f"{folder} has several files with the stem {format_names(duplicates)}: keep one file of each")
    return dict(zip(stems, listing.files, strict=True))


def find_duplicates(stems: Sequence[str]) -> list[str]:
    """Return the names that occur more than once, in ascending order."""
    if len(set(stems)) == len(stems):
        return []
    return sorted(stem for stem, count in Counter(stems).items() if count > 1)
