"""Choose how the pairs of a data set lie, by its files."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from pix2pix_lightning.data.files.listing import list_images_below
from pix2pix_lightning.data.layouts import arrow_table, manifest
from pix2pix_lightning.data.layouts.arrow_table import ArrowTable
from pix2pix_lightning.data.layouts.layout import Layout
from pix2pix_lightning.data.layouts.manifest import Manifest
from pix2pix_lightning.data.layouts.missing_split import SPLIT_NAMES
from pix2pix_lightning.data.layouts.side_folders import list_folders
from pix2pix_lightning.data.layouts.side_names import find_role
from pix2pix_lightning.data.layouts.tree import PairTree
from pix2pix_lightning.data.stores.lmdb_store import LmdbStore
from pix2pix_lightning.data.stores.stored_path import AnyPath, Store, StoredPath
from pix2pix_lightning.data.stores.zip_store import ZipStore
from pix2pix_lightning.utils.errors import UserError

TREES = ("strip", "folders", "names", "photos")
LAYOUTS = ("auto", *TREES, "manifest", "huggingface", "lmdb", "zip")
_LOOKED_AT = 100  # entries of a folder; a data set of images may have many
_LMDB_FILE = "data.mdb"
_SAVED = ("dataset_dict.json", "state.json")  # of save_to_disk()
_SUFFIXES = {".zip": "zip", ".mdb": "lmdb", ".lmdb": "lmdb"}
_SUFFIXES |= dict.fromkeys(manifest.SUFFIXES, "manifest") | dict.fromkeys(arrow_table.SUFFIXES, "huggingface")


def choose_layout(
    root: Path,
    layout: str = "auto",
    *,
    names: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    val_split: str = "val",
    cache_folder: Path | None = None,
    may_miss: bool = False,
) -> Layout:
    """Choose how the pairs of a data set lie.

    Args:
        root: Folder of the data set; or a manifest (.csv, .jsonl), a zip file, an LMDB or a Parquet file.
        layout: ``auto`` finds out. In a zip file or an LMDB, ``strip``, ``folders``, ``names`` and ``photos`` say how
            pairs lie in it.
        names: Names of A and B in folders or files.
        columns: Names of the columns of A and B, and perhaps of the mask, of a Hugging Face data set.
        val_split: Name of the split that validation pairs come from.
        cache_folder: Folder of copies of Parquet files.
        may_miss: Whether files of a manifest that do not exist are left to the check of the files.

    Returns:
        The layout.

    Raises:
        UserError: ``root`` is not what ``layout`` says, a key has no effect, or the file is of another kind.
    """
    kind = find_kind(root)
    if layout in TREES and root.is_dir() and kind != "lmdb":  # next to a manifest or tables
        kind = "tree"
    elif layout == "huggingface" and kind == "tree":  # its files may lie deeper than was looked for
        kind = layout
    elif layout in TREES and kind not in ("zip", "lmdb"):
        raise UserError(f"data.layout={layout}, but {root} is of the kind {kind}: leave data.layout out")
    elif layout not in ("auto", kind, *TREES):
        raise UserError(f"data.layout={layout}, but {root} is of another kind: {_EXPECTED[layout]}")
    for key, value, kinds in (("names", names, ("tree", "zip", "lmdb")), ("columns", columns, ("huggingface",))):
        if value is not None and kind not in kinds:
            raise UserError(f"data.{key}={list(value)} has no effect on {root}, which is of the kind {kind}")
    if kind == "manifest":
        return Manifest(_get_manifest(root), val_split, may_miss=may_miss)
    if kind == "huggingface":
        return ArrowTable(root, columns, val_split, cache_folder)
    within: AnyPath = root
    if kind in ("zip", "lmdb"):
        store: Store = ZipStore(root) if kind == "zip" else LmdbStore(root)
        within = _enter_single_folder(StoredPath(store))
    return PairTree(within, layout if layout in TREES else "auto", names)


_EXPECTED = {
    "manifest": "set data.root= to a .csv or .jsonl file, or to a folder with manifest.csv or manifest.jsonl",
    "zip": "set data.root= to a .zip file",
    "lmdb": f"set data.root= to a folder with {_LMDB_FILE}, or to an .lmdb file",
    "huggingface": "set data.root= to a Parquet file, a folder of them, or one that save_to_disk() wrote",
}


def find_kind(root: Path) -> str:
    """Find out what holds the pairs: ``tree`` for a folder of images, else a name of a layout.

    Returns:
        The kind.

    Raises:
        UserError: ``root`` is a file of another kind.
    """
    if root.is_file():
        if (kind := _SUFFIXES.get(root.suffix.lower())) is None:
            raise UserError(
                f"data.root={root} is a file: a folder is expected, or a file that ends with {' '.join(_SUFFIXES)}"
            )
        return kind
    if (root / _LMDB_FILE).is_file():
        return "lmdb"
    if any((root / name).is_file() for name in manifest.NAMES):
        return "manifest"
    if any((root / name).is_file() for name in _SAVED):
        return "huggingface"
    return "huggingface" if _has_parquet(root) else "tree"


def _has_parquet(root: Path) -> bool:
    """Return whether there is a Parquet file in a folder or in those in it, by a few entries of each."""
    folders = [root, *(root / name for name in list_folders(root)[:_LOOKED_AT])]
    return any(entry.name.endswith(".parquet") for folder in folders for entry in islice(folder.iterdir(), _LOOKED_AT))


def _get_manifest(root: Path) -> Path:
    found = [root / name for name in manifest.NAMES if (root / name).is_file()] if root.is_dir() else [root]
    if len(found) > 1:
        raise UserError(f"{root} has {' and '.join(path.name for path in found)}: set data.root= to one of them")
    return found[0]


def _enter_single_folder(folder: StoredPath) -> StoredPath:
    """Go into the folder that a zip file often holds alone, unless it may be a split or a side."""
    usual = {name for names in SPLIT_NAMES.values() for name in names}
    while True:
        inside = list_folders(folder)
        if len(inside) != 1 or list_images_below(folder, recursive=False).files:
            return folder
        if inside[0].lower() in usual or find_role(inside[0]):
            return folder
        folder = folder / inside[0]
