"""Slices of volumes as pairs, with their neighbours as channels of the source."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pix2pix_lightning.data.files.image_files import get_suffix
from pix2pix_lightning.data.files.slice_path import AnyFile, SlicePath
from pix2pix_lightning.data.files.volumes import VOLUME_SUFFIXES, check_slices, list_slices
from pix2pix_lightning.data.pairs import FilePairs, Files, PairFiles
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.processes import is_first_process

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Slicing:
    """Describe how pairs of volumes become pairs of slices.

    Args:
        axis: The axis across the slices: 0, 1 or 2.
        neighbours: Number of slices on each side of the source's that are channels of it too.
        source: Which of the files' A and B is the source: ``a`` or ``b``.

    Raises:
        UserError: A value is out of range.
    """

    axis: int = 2
    neighbours: int = 0
    source: str = "a"

    def __post_init__(self) -> None:
        check_slices("data.volumes.", axis=self.axis, neighbours=self.neighbours)

    @classmethod
    def from_config(cls, volumes: Mapping[str, Any] | None, direction: str) -> Slicing:
        """Build the description from the keys of ``data.volumes`` and from ``data.direction``.

        Returns:
            The description.

        Raises:
            UserError: A key is unknown, or a value is out of range.
        """
        values = dict(volumes or {})
        for key in values:
            if key not in ("axis", "neighbours"):
                raise UserError(f"data.volumes has no key {key}: use axis or neighbours")
        return cls(**values, source="b" if direction == "b_to_a" else "a")

    def to_spec(self) -> dict[str, int]:
        """Return the keys of a ``PairSpec``, by which a prediction reads volumes as the training did."""
        return {"slice_axis": self.axis, "neighbours": self.neighbours}

    def divide(self, pairs: PairFiles) -> PairFiles:
        """Divide pairs of volumes into pairs of slices, named ``<volume>/<slice>``, and log how many there are.

        Args:
            pairs: The pairs. One with a file that cannot be read stays one pair, which the check of the data reports.

        Returns:
            The pairs of slices; where no file is a volume of several slices, ``pairs`` itself.

        Raises:
            UserError: The files of a pair differ in their number of slices; or there is no volume, and an axis or
                neighbours are set.
        """
        counts = self._count_slices(pairs) if isinstance(pairs, FilePairs) else []
        if isinstance(pairs, FilePairs) and any(count is not None and count > 1 for count in counts):
            divided = self._divide(pairs, counts)
            if is_first_process():
                _log.info("volumes: %d, whose slices across axis %d are %d pairs", len(pairs), self.axis, len(divided))
            return divided
        if (self.axis, self.neighbours) != (2, 0) and len(pairs):
            raise UserError(
                f"data.volumes.axis={self.axis} and neighbours={self.neighbours} have no effect on "
                f"{pairs.list_files()[0][1][0]}: only A and B that are NIfTI files of several slices are divided, and "
                "not those in a zip file or database: leave data.volumes out"
            )
        return pairs

    def _count_slices(self, pairs: FilePairs) -> list[int | None]:
        """Return the number of slices of the files of each pair, None where one cannot be read."""
        lists = [files for _, files in pairs.list_files()]
        if not any(_is_volume(file) for files in lists for file in files[:1]):
            return []
        return [self._count([files[index] for files in lists]) for index in range(len(pairs))]

    def _count(self, files: list[AnyFile]) -> int | None:
        try:
            counts = [len(list_slices(Path(str(file)), self.axis)) if _is_volume(file) else 1 for file in files]
        except (UserError, OSError):
            return None
        if len(set(counts)) > 1:
            listed = " and ".join(f"{count} in {file}" for file, count in zip(files, counts, strict=True))
            raise UserError(
                f"the files of a pair differ in their number of slices across axis {self.axis}, {listed}: resample "
                "one to the grid of the other"
            )
        return counts[0]

    def _divide(self, pairs: FilePairs, counts: list[int | None]) -> FilePairs:
        sources = {"a": self.neighbours if self.source == "a" else 0, "b": self.neighbours if self.source == "b" else 0}
        a = [self._divide_files(files, counts, sources["a"]) for files in pairs.a]
        is_one = pairs.b is pairs.a and not self.neighbours
        b = a if is_one else [self._divide_files(files, counts, sources["b"]) for files in pairs.b]
        names: list[str] = []
        masks: list[AnyFile | None] = []
        for index, count in enumerate(counts):
            name, mask = pairs.get_name(index), None if pairs.masks is None else pairs.masks[index]
            digits = len(str((count or 1) - 1))
            names += [name] if count is None else [f"{name}/{number:0{digits}}" for number in range(count)]
            masks += [None] * (count or 1) if mask is None else self._divide_files([mask], [count], 0)
        divided = FilePairs(a, b, names, None if pairs.masks is None else masks)
        divided.sides = pairs.sides
        return divided

    def _divide_files(self, files: Files, counts: list[int | None], neighbours: int) -> list[AnyFile]:
        divided: list[AnyFile] = []
        for file, count in zip(files, counts, strict=True):
            if count is None:
                divided.append(file)
            else:
                path = Path(str(file))
                divided += [SlicePath(path, number, self.axis, neighbours) for number in range(count)]
        return divided


def _is_volume(file: AnyFile) -> bool:
    """Return whether a file of a file system is named as volumes are."""
    return isinstance(file, Path) and get_suffix(file.name) in VOLUME_SUFFIXES
