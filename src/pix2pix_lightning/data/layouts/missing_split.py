"""What to do where a folder of pairs lacks a split: by the names of what lies in it."""

from __future__ import annotations

from collections.abc import Sequence

from pix2pix_lightning.data.files.image_files import IMAGE_SUFFIXES
from pix2pix_lightning.data.files.listing import list_images_below
from pix2pix_lightning.data.layouts.side_folders import find_side_folders, list_folders
from pix2pix_lightning.data.stores.stored_path import AnyPath
from pix2pix_lightning.utils.text import format_names

SPLIT_NAMES = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "validate", "dev", "eval"),
    "test": ("test", "testing"),
}
"""Usual names of each split, in lower case."""


def explain_missing_split(root: AnyPath, split: str, names: Sequence[str] | None = None) -> str | None:
    """Explain why a split is not found, and what to do.

    Args:
        root: Folder of the data set, in which the split has no folder.
        split: Name of the split.
        names: Names of the folders of A and B, as for `find_side_folders`.

    Returns:
        One line, or None where nothing is known but that it is missing.
    """
    folders = [root / name for name in list_folders(root)]
    listing = list_images_below(root)
    if not listing.files:
        others = ", ".join(f"{count} end with {suffix}" for suffix, count in listing.passed_over.items())
        return (
            f"{root} has no image that is read, {others}: convert them to one of {' '.join(sorted(IMAGE_SUFFIXES))}"
            if others
            else None
        )
    for folder in folders:
        if folder.name.lower() in SPLIT_NAMES.get(split, ()):
            return f"{root} has the folder {folder.name}, but not {split}: rename it to {split}"
        if (folder / split).is_dir() and folder.name not in ("A", "B"):
            return f"{root} has no folder {split}, but {folder} has: set data.root={folder}"
    if split != "train" and (there := _find_split(root, "train", names)):
        has_test = _find_split(root, "test", names) is not None
        other = "data.val_split=test to validate on the test pairs" if has_test else "data.val_split= to another folder"
        advice = {
            "val": f"set data.val_fraction=0.1 to validate on a part of these, or {other}",
            "test": "evaluate with split=val",
        }
        missing = f"{root / split} does not exist: put pairs there"
        if there != str(root / "train"):
            missing = f"{root} has no split {split}: put pairs into folders of it"
        return f"{missing} as in {there}, or {advice[split]}" if split in advice else None
    in_root = [file for file in listing.files if "/" not in file]
    names = [folder.name for folder in folders]
    if in_root:
        return f"{root} has {len(in_root)} images next to {format_names(names)}: move them to {root / split}"
    if names in (["A"], ["B"]):
        other = "B" if names == ["A"] else "A"
        return f"{root} has the folder {names[0]} alone: put the other side of each pair into {root / other}"
    return (
        f"{root} has no folder {split}, but {format_names(names)}: set data.names=[<folder of A>,<folder of B>] if "
        "they hold the two sides of pairs; or rename them to train and val, or set data.val_fraction=0.1 to divide the "
        "strips in all of them"
    )


def _find_split(root: AnyPath, split: str, names: Sequence[str] | None) -> str | None:
    """Return the folder of a split, or those of its A and B, for a message; None where there are none."""
    if (root / split).is_dir():
        return str(root / split)
    sides = find_side_folders(root, split, names)
    return " and ".join(map(str, sides[0])) if sides else None
