"""Pairs that are not resized: A and B need one size, and those that are cropped a least one."""

from __future__ import annotations

from pix2pix_lightning.data.check.findings import BadPair
from pix2pix_lightning.data.check.headers import CheckedSplit
from pix2pix_lightning.data.files.image_header import ImageHeader
from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.prepared import format_too_small, format_unequal
from pix2pix_lightning.data.sizes import get_sides


def find_misfits(split: CheckedSplit, spec: PairSpec, *, is_cropped: bool) -> list[BadPair]:
    """Find pairs whose files have no size that can be trained on as it is.

    Args:
        split: The split.
        spec: Size of the crops, and how pairs are resized.
        is_cropped: Whether the pairs of this split are cropped where training has crops.

    Returns:
        An entry for each of them; none where pairs are resized.
    """
    if spec.resize != "none":
        return []
    least = get_sides(spec.size) if is_cropped and not spec.is_whole else (1, 1)
    bad = []
    for entries, indices in split.list_header_groups():
        found = [entry.upright_size[::-1] for entry in entries if isinstance(entry, ImageHeader)]
        if len(found) < len(entries):  # a file that is reported already
            continue
        first = dict(zip(reversed(split.roles), reversed(found), strict=True))
        if "ab" in first:
            first["a"] = first["b"] = (first["ab"][0], first["ab"][1] // 2)
        a, b = first["a"], first["b"]
        for index in indices:
            if a != b:
                bad.append(split.build_bad(index, f"{split.get_paths(index)[0]}: {format_unequal(a, b)}"))
            elif a[0] < least[0] or a[1] < least[1]:
                bad.append(split.build_bad(index, f"{split.get_paths(index)[0]} {format_too_small(a, least)}"))
    return bad
