"""Find gray levels and colours among the files of one side, by their headers."""

from __future__ import annotations

from collections.abc import Sequence

from pix2pix_lightning.data.check.headers import CheckedSplit
from pix2pix_lightning.data.files.image_header import ImageHeader


def find_mixed_colours(splits: Sequence[CheckedSplit]) -> list[str]:
    """Warn of a grayscale side of which some files have colours, such as all of another split.

    Files of colours alone are taken as they are: gray pictures are often saved so.

    Args:
        splits: All splits.

    Returns:
        A warning for each such side.
    """
    warnings = []
    for number, key in enumerate("ab"):
        counts = {False: 0, True: 0}
        coloured: dict[str, int] = {}
        for split in splits:
            side = split.pairs.sides[number]
            if side is None or side.kind != "grayscale":
                continue
            for entries, indices in split.list_header_groups():
                for role, entry in zip(split.roles, entries, strict=True):
                    if key in role and role != "mask" and isinstance(entry, ImageHeader):
                        has_colours = entry.pixel_channels > 1
                        counts[has_colours] += len(indices)
                        if has_colours:
                            coloured[split.name] = coloured.get(split.name, 0) + len(indices)
        if all(counts.values()):
            listed = " and ".join(f"{count} files of {name}" for name, count in coloured.items())
            warnings.append(
                f"data.{key}: {listed} have colours, and the others gray levels: their luminance is taken; set "
                f"data.{key}.kind=rgb if colours matter"
            )
    return warnings
