"""The splits of a folder of pairs: folders of their own, or parts that a hash of the pairs' names divides it into."""

from __future__ import annotations

import hashlib
import logging
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pix2pix_lightning.data.archives.archive import Archive
from pix2pix_lightning.data.files.listing import PathList, list_images_below
from pix2pix_lightning.data.missing_split import explain_missing_split
from pix2pix_lightning.data.pairs import FolderPairs, StripPairs, list_side_folders, open_pairs
from pix2pix_lightning.data.strips import find_strip_size, is_strip_shape
from pix2pix_lightning.utils.checks import check_counts
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.processes import is_first_process

DEFAULT_FRACTION = 0.1
"""Share of the validation pairs where a folder has no splits."""
_VERBS = {"train": "train", "val": "validate", "test": "test"}
_log = logging.getLogger(__name__)


class PairFolder:
    """Open the splits of a folder of pairs.

    A folder with ``train`` has its splits in folders of their own (layouts: ``open_pairs``). Pairs that lie in the
    folder itself are divided into training, validation and test pairs. So are those of ``train`` where a fraction is
    given.

    Args:
        root: The folder.
        layout: As in ``open_pairs``.
        val_split: Name of the split that validation pairs come from.
        val_fraction: Share of the pairs that are validated on, 1 at most. By default 0.1 where the pairs lie in the
            folder itself, and none of those of ``train``.
        test_fraction: Share of the test pairs.
        split_seed: Seed of the division.
        archive: What is known of the data set's archive, arguments of ``Archive`` by name, or its address alone.

    Raises:
        UserError: A fraction or the seed is out of range.
    """

    def __init__(
        self,
        root: Path,
        layout: str = "auto",
        val_split: str = "val",
        val_fraction: float | None = None,
        test_fraction: float = 0.0,
        split_seed: int = 0,
        archive: Mapping[str, Any] | str | None = None,
    ) -> None:
        if val_fraction is not None and not (_is_number(val_fraction) and 0 < val_fraction <= 1):
            raise UserError(f"data.val_fraction={val_fraction}: a number above 0 and up to 1 is expected, such as 0.1")
        if not (_is_number(test_fraction) and 0 <= test_fraction < 1):
            raise UserError(f"data.test_fraction={test_fraction}: a number from 0 to below 1 is expected, such as 0.1")
        if (val_fraction or 0) + test_fraction > 1:
            raise UserError(
                f"data.val_fraction={val_fraction} and data.test_fraction={test_fraction} are more than 1 together"
            )
        check_counts(prefix="data.", at_least=0, split_seed=split_seed)
        self.root = root
        self.layout = layout
        self.val_split = val_split
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction
        self.split_seed = split_seed
        self.archive = Archive.from_config(archive)
        self._parts: dict[str, StripPairs | FolderPairs] | None = None

    def open(self, split: str) -> StripPairs | FolderPairs:
        """Open the pairs of a split. A division is logged once, by the first of several processes.

        Args:
            split: ``train``, ``test`` or the name of the validation split.

        Returns:
            The pairs, in the order of their files' names.

        Raises:
            UserError: The folder, the split, its images or a partner folder is missing, or a split has a folder and a
                fraction too.
        """
        if not self.root.is_dir():
            command = self.archive.format_command(self.root)
            hint = f": download it by {command} or data.download=true, or" if command else ":"
            raise UserError(f"data.root={self.root} is no folder{hint} set data.root=<folder> to that of the pairs")
        try:
            return self._open(split)
        except ValueError as error:
            url = self.archive.url
            raise UserError(f"{error}; the archive is at {url}" if url else str(error)) from None

    def is_flat(self) -> bool:
        """Return whether pairs lie in the folder itself, which then is divided."""
        if any(self.has_split(split) for split in {"train", "val", "test", self.val_split}):
            return False
        if all((self.root / side).is_dir() for side in ("A", "B")) or self.val_fraction is not None:
            return self.root.is_dir()
        return bool(list_images_below(self.root, recursive=False).files)

    def has_split(self, split: str) -> bool:
        """Return whether a split has a folder, or two for A and B."""
        places = [self.root / split, *(folder for sides in list_side_folders(self.root, split) for folder in sides)]
        return any(folder.is_dir() for folder in places)

    def find_strips(self) -> bool | tuple[int, int] | None:
        """Find out whether the training pairs are strips, as ``PairSpec.strips`` says it; None where there are none."""
        try:
            return self._find_strips()
        except OSError:  # a folder that may not be read, which opening it reports
            return None

    def _find_strips(self) -> bool | tuple[int, int] | None:
        split = "" if self.is_flat() else "train"
        sides = list_side_folders(self.root, split)
        if self.layout != "strip" and any(a.is_dir() and b.is_dir() for a, b in sides):
            return False
        files = list_images_below(self.root / split).files
        if not files or self.layout == "folders":
            return None
        size = find_strip_size(PathList(self.root / split, files))
        if size is not None and self.layout == "auto" and not is_strip_shape(*size):
            return None
        return True if size is None else size

    def _open(self, split: str) -> StripPairs | FolderPairs:
        fractions, is_flat = self._choose_fractions(), self.is_flat()
        if split not in (*fractions, "train") or not (fractions or is_flat):
            if is_flat:
                raise UserError(self._format_missing(split))
            reason = None if self.has_split(split) else explain_missing_split(self.root, split)
            if reason:
                raise UserError(reason)
            return open_pairs(self.root, split, self.layout)
        if self._parts is None:
            self._parts = self._divide("" if is_flat else "train", fractions)
        pairs = self._parts[split]
        if not pairs:
            raise UserError(
                f"{self.root} has too few pairs to divide, none is left to {_VERBS[split]}: add pairs, or set "
                "data.val_split=train to validate on those that are trained on"
            )
        return pairs

    def _choose_fractions(self) -> dict[str, float]:
        """Return the fractions of validation and test pairs by split, without those that have a folder."""
        takes_default = self.val_fraction is None and self.val_split != "train" and self.is_flat()
        val = DEFAULT_FRACTION if takes_default else self.val_fraction or 0.0
        fractions = {"val": val, "test": self.test_fraction}
        for split, fraction in fractions.items():
            name = self.val_split if split == "val" else split
            if fraction and name != "train" and self.has_split(name):
                raise UserError(
                    f"data.{split}_fraction={fraction}, but {self.root} has the split {name}: leave the fraction out, "
                    "or move that folder away to take a part of train"
                )
        return {split: fraction for split, fraction in fractions.items() if fraction}

    def _divide(self, place: str, fractions: Mapping[str, float]) -> dict[str, StripPairs | FolderPairs]:
        pairs = open_pairs(self.root, place, self.layout)
        parts = divide_names([pairs.get_name(index) for index in range(len(pairs))], fractions, self.split_seed)
        if fractions and len(pairs) > 1 and is_first_process():
            verbs = _VERBS | ({"val": "are left out"} if self.val_split == "train" else {})
            counts = ", ".join(f"{len(part)} {verbs[split]}" for split, part in parts.items())
            keys = ", ".join(f"data.{split}_fraction={fraction:g}" for split, fraction in fractions.items())
            why = f"{self.root / place} is divided" if place else f"no train/ and val/ in {self.root}"
            _log.warning("%s: of %d pairs %s (%s, data.split_seed=%d)", why, len(pairs), counts, keys, self.split_seed)
        return {split: pairs.select(part) for split, part in parts.items()}

    def _format_missing(self, split: str) -> str:
        if split == "test":
            return (
                f"{self.root} has no test pairs: take split=val, or train with data.test_fraction=0.1, which leaves "
                "these pairs out"
            )
        return f"data.val_split={split}: {self.root} has no such split; leave val_split out for a part of its pairs"


def divide_names(names: Sequence[str], fractions: Mapping[str, float], seed: int) -> dict[str, list[int]]:
    """Divide pairs by a hash of their names, so that a pair stays where it is when others are added.

    Args:
        names: Names of the pairs.
        fractions: Shares by part; what they leave is ``train``.
        seed: Seed of the hash.

    Returns:
        Numbers of the pairs of each part, in ascending order. While there are enough pairs, no part is empty.
    """
    values = [_hash_name(name, seed) for name in names]
    order = sorted(range(len(names)), key=values.__getitem__)
    parts: dict[str, list[int]] = {"train": []}
    begin, bound = 0, 0.0
    for number, (part, fraction) in enumerate(fractions.items()):
        bound += fraction
        end = next((place for place in range(begin, len(order)) if values[order[place]] >= bound), len(order))
        others = len(fractions) - number - (sum(fractions.values()) >= 1)  # parts that are still to get a pair
        parts[part] = order[begin : (begin := max(begin + 1, min(end, len(order) - others)))]
    parts["train"] = order[begin:]
    return {part: sorted(numbers) for part, numbers in parts.items()}


def _hash_name(name: str, seed: int) -> float:
    """Return a number from 0 to below 1. Systems differ in the form of an accented letter, which is left out."""
    text = f"{seed}/{unicodedata.normalize('NFC', name)}"
    digest = hashlib.sha256(text.encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
