"""Archive: what is known of the file that a data set is downloaded as."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pix2pix_lightning.utils.checks import check_counts
from pix2pix_lightning.utils.errors import UserError

_COMMAND = "python -m pix2pix_lightning.download"


@dataclass(frozen=True)
class Archive:
    """What is known of the archive of a data set; None for what is not known.

    Args:
        name: Name of the data set, as ``data=<name>`` chooses it.
        url: Address of a ``.tar.gz`` or ``.zip`` file.
        num_bytes: Size of that file.
        sha256: SHA-256 of that file, 64 hexadecimal digits.
        pairs: Number of pairs of each split; empty where it is not known.
        license: Under which terms the images may be used.
        citation: What to cite.
        note: What to do where there is no address.

    Raises:
        UserError: A size or a count is no whole number, or the checksum is none.
    """

    name: str | None = None
    url: str | None = None
    num_bytes: int | None = None
    sha256: str | None = None
    pairs: Mapping[str, int] = field(default_factory=dict)
    license: str | None = None
    citation: str | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        if self.num_bytes is not None:
            check_counts(prefix="data.archive.", num_bytes=self.num_bytes)
        if self.sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", str(self.sha256)):
            raise UserError(f"data.archive.sha256={self.sha256}: 64 hexadecimal digits are expected")
        if not isinstance(self.pairs, Mapping):
            raise UserError(f"data.archive.pairs={self.pairs}: a number for each split is expected, {{train: 400}}")
        counts = {str(split): count for split, count in self.pairs.items()}
        check_counts(at_least=0, prefix="data.archive.pairs.", **counts)

    @classmethod
    def from_config(cls, value: Archive | Mapping[str, Any] | str | None) -> Archive:
        """Build an archive from the configuration key ``data.archive``.

        Args:
            value: The facts by name, an address alone, or None.

        Returns:
            The archive.

        Raises:
            UserError: A name is unknown, or a value is out of range.
        """
        if isinstance(value, Archive):
            return value
        if not isinstance(value, Mapping):
            return cls(url=None if value is None else str(value))
        known = [item.name for item in fields(cls)]
        unknown = [str(key) for key in value if key not in known]
        if unknown:
            raise UserError(f"data.archive.{unknown[0]} is unknown: one of {', '.join(known)} is expected")
        return cls(**{key: item for key, item in value.items() if item is not None})

    def format_command(self, root: Path) -> str | None:
        """Format the command that downloads the data set to ``root``; None where there is nothing to download."""
        if self.name is not None:
            return f"{_COMMAND} data={self.name} data.root={root}"
        return None if self.url is None else f"{_COMMAND} data.root={root} url={self.url}"

    def describe_terms(self) -> str:
        """Describe in one line under which terms the images may be used, and what to cite."""
        terms = self.license or "not known, ask the authors"
        return f"license: {terms}" + (f"; please cite {self.citation}" if self.citation else "")


def find_url(value: Any) -> str | None:
    """Find the address in the value of ``data.archive`` of any run; None where there is none."""
    url = value.get("url") if isinstance(value, Mapping) else value
    return url if isinstance(url, str) else None
