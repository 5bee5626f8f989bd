"""The splits of a data set: folders or rows of their own, or parts that a hash of the pairs' names divides it into."""

from __future__ import annotations

import hashlib
import logging
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pix2pix_lightning.data.archives.archive import Archive
from pix2pix_lightning.data.layouts.choosing import LAYOUTS, choose_layout
from pix2pix_lightning.data.layouts.layout import Layout
from pix2pix_lightning.data.layouts.side_names import check_names
from pix2pix_lightning.data.layouts.tree import PairTree
from pix2pix_lightning.data.pairs import PairFiles, StripPairs
from pix2pix_lightning.data.slicing import Slicing
from pix2pix_lightning.data.strips import find_strip_size, is_strip_shape
from pix2pix_lightning.utils.checks import check_choice, check_counts
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.processes import is_first_process

DEFAULT_FRACTION = 0.1
"""Share of the validation pairs where a folder has no splits."""
_VERBS = {"train": "train", "val": "validate", "test": "test"}
_log = logging.getLogger(__name__)


class PairFolder:
    """Open the splits of a folder of pairs.

    A folder with ``train`` has its splits in folders of their own (layouts: ``choose_layout``). Pairs that lie in the
    folder itself are divided into training, validation and test pairs. So are those of ``train`` where a fraction is
    given.

    Args:
        root: The folder, or a file that holds or lists pairs.
        layout: As in ``choose_layout``.
        val_split: Name of the split that validation pairs come from.
        val_fraction: Share of the pairs that are validated on, 1 at most. By default 0.1 where the pairs lie in the
            folder itself, and none of those of ``train``.
        test_fraction: Share of the test pairs.
        split_seed: Seed of the division.
        archive: What is known of the data set's archive, arguments of ``Archive`` by name, or its address alone.
        names: Names of A and B in folders or files, where auto does not find them.
        columns: Names of the columns of A and B, and perhaps of the mask, in a Hugging Face data set.
        cache_folder: Folder of what is copied from Parquet files; by default it is below ``root``.
        may_miss: Whether files of a manifest that do not exist are left to the check of the files.
        slicing: How pairs of volumes become pairs of slices. A fraction is a share of the volumes, so that all slices
            of one are in the same split.

    Attributes:
        found: What was recognised when a split was first opened, as plain values: ``layout``, ``a`` and ``b``, where
            the two sides are, and ``rule``, by what their names differ. Empty before.

    Raises:
        UserError: A fraction or the seed is out of range, the layout is unknown, or names are no pair of names.
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
        *,
        names: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        cache_folder: Path | None = None,
        may_miss: bool = False,
        slicing: Slicing | None = None,
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
        check_choice("data.layout", layout, LAYOUTS)
        self.root = root
        self.layout = layout
        self.val_split = val_split
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction
        self.split_seed = split_seed
        self.archive = Archive.from_config(archive)
        self.names = check_names(names, "data.names")
        self.columns = check_names(columns, "data.columns", most=3)
        self.cache_folder = cache_folder
        self.may_miss = may_miss
        self.slicing = Slicing() if slicing is None else slicing
        self.found: dict[str, str] = {}
        self._layout: Layout | None = None
        self._parts: dict[str, PairFiles] | None = None
        self._places: dict[str, PairFiles] = {}  # as they lie there; below, as they are divided
        self._opened: dict[str, PairFiles] = {}

    def open(self, split: str) -> PairFiles:
        """Open the pairs of a split, once. A division is logged by the first of several processes.

        Args:
            split: ``train``, ``test`` or the name of the validation split.

        Returns:
            The pairs, in the order of their files' names.

        Raises:
            UserError: The folder, the split, its images or a partner folder is missing, or a split has a folder and a
                fraction too.
        """
        if not self.root.exists():
            command = self.archive.format_command(self.root)
            hint = f": download it by {command} or data.download=true, or" if command else ":"
            raise UserError(f"data.root={self.root} is no folder{hint} set data.root=<folder> to that of the pairs")
        try:
            if split not in self._opened:
                self._opened[split] = self.slicing.divide(self._open(split))
            return self._opened[split]
        except ValueError as error:
            url = self.archive.url
            raise UserError(f"{error}; the archive is at {url}" if url else str(error)) from None

    def is_flat(self) -> bool:
        """Return whether pairs lie in the folder itself, which then is divided."""
        splits = {"train", "val", "test", self.val_split}
        is_divided = self.val_fraction is not None
        return self.root.exists() and self._get_layout().is_flat(splits, is_divided=is_divided)

    def has_split(self, split: str) -> bool:
        """Return whether a split has a folder, or two for A and B, or rows of a manifest or a table."""
        return self.root.exists() and self._get_layout().has_split(split)

    def find_strips(self) -> bool | tuple[int, int] | None:
        """Find out whether the training pairs are strips, as ``PairSpec.strips`` says it.

        Returns:
            False; True or the size that they have in common; None where there are none, or they have no such shape.
        """
        try:
            if not isinstance(self._get_layout(), PairTree):  # whose sides are columns of a table
                return False
            pairs = self._open_found("" if self.is_flat() else "train")
        except (OSError, UserError):  # which opening them again reports
            return None
        if not isinstance(pairs, StripPairs):
            return False
        files: Any = pairs.files  # not yet divided into slices
        size = find_strip_size(files)
        if size is not None and self.layout == "auto" and not is_strip_shape(*size):
            return None
        return size or True

    def _get_layout(self) -> Layout:
        if self._layout is None:
            self._layout = choose_layout(
                self.root,
                self.layout,
                names=self.names,
                columns=self.columns,
                val_split=self.val_split,
                cache_folder=self.cache_folder,
                may_miss=self.may_miss,
            )
        return self._layout

    def _open(self, split: str) -> PairFiles:
        fractions, is_flat = self._choose_fractions(), self.is_flat()
        if split not in (*fractions, "train") or not (fractions or is_flat):
            if is_flat:
                raise UserError(self._format_missing(split))
            reason = None if self.has_split(split) else self._get_layout().explain_missing(split)
            if reason:
                raise UserError(reason)
            return self._open_found(split)
        if self._parts is None:
            self._parts = self._divide("" if is_flat else "train", fractions)
        pairs = self._parts[split]
        if not pairs:
            raise UserError(
                f"{self.root} has too few pairs to divide, none is left to {_VERBS[split]}: add pairs, or set "
                "data.val_split=train to validate on those that are trained on"
            )
        return pairs

    def _open_found(self, place: str) -> PairFiles:
        """Open the pairs of a split once, and log once where they are."""
        if place in self._places:
            return self._places[place]
        found = self._get_layout().open(place)
        self._places[place] = found.pairs
        if not self.found:
            self.found = found.to_dict()
            if is_first_process():
                rule = f"; their names differ by {found.rule}" if found.rule else ""
                _log.info("%s: data.layout=%s, A is %s, B is %s%s", self.root, found.layout, found.a, found.b, rule)
        return found.pairs

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

    def _divide(self, place: str, fractions: Mapping[str, float]) -> dict[str, PairFiles]:
        pairs = self._open_found(place)
        parts = divide_names([pairs.get_name(index) for index in range(len(pairs))], fractions, self.split_seed)
        if fractions and len(pairs) > 1 and is_first_process():
            verbs = _VERBS | ({"val": "are left out"} if self.val_split == "train" else {})
            counts = ", ".join(f"{len(part)} {verbs[split]}" for split, part in parts.items())
            keys = ", ".join(f"data.{split}_fraction={fraction:g}" for split, fraction in fractions.items())
            why = f"{place} of {self.root} is divided" if place else f"no train and val in {self.root}"
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
