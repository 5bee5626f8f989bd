"""What to do where a folder of pairs lacks a split: by the names of what lies in it."""

from __future__ import annotations

from pix2pix_lightning.data.files.image_files import IMAGE_SUFFIXES
from pix2pix_lightning.data.files.listing import list_images_below
from pix2pix_lightning.data.layouts.side_folders import list_folders
from pix2pix_lightning.data.stores.stored_path import AnyPath
from pix2pix_lightning.utils.text import format_names

SPLIT_NAMES = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "validate", "dev", "eval"),
    "test": ("test", "testing"),
}
"""Usual names of each split, in lower case."""


def explain_missing_split(root: AnyPath, split: str) -> str | None:
    """Explain why a split is not found, and what to do.

    Args:
        root: Folder of the data set, in which the split has no folder.
        split: Name of the split.

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
    if split != "train" and (root / "train").is_dir():
        advice = {
            "val": "set data.val_fraction=0.1 to validate on a part of these, or data.val_split= to another folder",
            "test": "evaluate with split=val",
        }
        return (
            f"{root / split} does not exist: put pairs there as in {root / 'train'}, or {advice[split]}"
            if split in advice
            else None
        )
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
