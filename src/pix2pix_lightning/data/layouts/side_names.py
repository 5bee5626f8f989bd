"""What folders, files and columns of A and B are called."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pix2pix_lightning.utils.errors import UserError

A_NAMES = frozenset(
    [
        "a",
        "input",
        "inputs",
        "source",
        "sources",
        "src",
        "image",
        "images",
        "img",
        "imgs",
        "photo",
        "photos",
        "input_image",
        "input_images",
        "original",
        "lq",
        "lr",
        "low",
        "blur",
    ]
)
"""Names of A, in lower case: what a network usually takes."""
B_NAMES = frozenset(
    [
        "b",
        "target",
        "targets",
        "tgt",
        "output",
        "outputs",
        "label",
        "labels",
        "mask",
        "masks",
        "gt",
        "groundtruth",
        "ground_truth",
        "annotation",
        "annotations",
        "seg",
        "segmentation",
        "segmentations",
        "edited_image",
        "target_image",
        "target_images",
        "hq",
        "hr",
        "high",
        "sharp",
    ]
)
"""Names of B, in lower case: what a network usually makes."""


def find_role(name: str, chosen: Sequence[str] | None = None) -> str | None:
    """Return which side a name stands for.

    Args:
        name: Name of a folder or column, or a part of a file's name.
        chosen: The names of A and of B, which then are the only ones.

    Returns:
        ``a``, ``b``, or None for neither.
    """
    if chosen is not None:
        return {chosen[0]: "a", chosen[1]: "b"}.get(name)
    lower = name.lower()
    return "a" if lower in A_NAMES else "b" if lower in B_NAMES else None


def choose_names(names: Iterable[str], place: str, key: str = "data.names") -> tuple[str, str] | None:
    """Choose the names of A and B among those that occur: ``A`` and ``B`` themselves, or the only two of the table.

    Args:
        names: Names that occur, such as those of folders.
        place: Where they occur, for the message.
        key: The configuration key that chooses, for the message.

    Returns:
        The names of A and of B, or None where one of them is missing.

    Raises:
        UserError: Several could be A or B.
    """
    found = sorted(set(names))
    exact = [name for name in found if name.lower() in ("a", "b")]
    for candidates in (exact, [name for name in found if name not in exact]):
        a = [name for name in candidates if find_role(name) == "a"]
        b = [name for name in candidates if find_role(name) == "b"]
        if len(a) == 1 and len(b) == 1:
            return a[0], b[0]
        if a and b:
            raise UserError(
                f"{place} has several that could be A or B: {', '.join(a)} and {', '.join(b)}: choose with "
                f"{key}=[{a[0]},{b[0]}], first A, then B"
            )
    return None


def check_names(names: Sequence[str] | None, key: str, most: int = 2) -> tuple[str, ...] | None:
    """Check a configuration key that names A and B.

    Args:
        names: Its value.
        key: The key, for the message.
        most: Greatest number of names; the third is that of a mask.

    Returns:
        The names, or None for none.

    Raises:
        UserError: It is no list of two different names.
    """
    if names is None:
        return None
    is_list = isinstance(names, Sequence) and not isinstance(names, str) and 2 <= len(names) <= most
    if not (is_list and all(isinstance(name, str) and name for name in names) and len(set(names)) == len(names)):
        more = " and perhaps a mask" if most > 2 else ""
        raise UserError(
            f"{key}={names}: a list of two different names is expected, of A and B{more}, as [input,target]"
        )
    return tuple(str(name) for name in names)
