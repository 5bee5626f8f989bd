"""Pairs in the rows of a Hugging Face data set: Parquet files, or a folder that save_to_disk() of datasets wrote."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pix2pix_lightning.data.files.listing import PathList
from pix2pix_lightning.data.layouts.layout import Found
from pix2pix_lightning.data.layouts.missing_split import SPLIT_NAMES
from pix2pix_lightning.data.layouts.side_names import find_role
from pix2pix_lightning.data.pairs import FilePairs
from pix2pix_lightning.data.stores.arrow_store import ArrowStore, import_pyarrow, is_image_type, read_table
from pix2pix_lightning.data.stores.stored_path import StoredPath
from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.disk import check_disk_space
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.lock import wait_for_lock
from pix2pix_lightning.utils.text import format_names

SUFFIXES = (".parquet", ".arrow")
_log = logging.getLogger(__name__)
_DICT, _STATE = "dataset_dict.json", "state.json"
_BATCH = 32  # rows that are copied at once


class ArrowTable:
    """Open the pairs in two columns of images of a data set.

    Parquet files are copied once as an Arrow file, whose rows can be read in any order: a Parquet file has to be
    decoded in groups of up to all of its rows.

    Args:
        root: Folder of the data set, or one Parquet or Arrow file.
        columns: Names of the columns of A and of B, and perhaps of the mask; by default the two of images.
        val_split: Name of the split that validation pairs come from; ``val`` finds ``validation`` too.
        cache_folder: Folder of the copies of Parquet files.

    Raises:
        UserError: The package pyarrow is missing, or there is no data set.
    """

    def __init__(
        self, root: Path, columns: Sequence[str] | None = None, val_split: str = "val", cache_folder: Path | None = None
    ) -> None:
        self.root = root
        self.columns = columns
        self.val_split = val_split
        self.cache_folder = cache_folder or (root if root.is_dir() else root.parent) / ".pix2pix_cache"
        self._files = _list_splits(root)

    def has_split(self, split: str) -> bool:
        """Return whether a split has files, also by another name that is usual for it."""
        return self._find_split(split) is not None

    def is_flat(self, splits: Iterable[str], *, is_divided: bool) -> bool:
        """Return whether no file belongs to a split."""
        return set(self._files) == {""}

    def explain_missing(self, split: str) -> str:
        """Say which splits there are."""
        return f"{self.root} has no split {split}: its splits are {format_names(sorted(self._files))}" + (
            "; set data.val_split= to one of them, or data.val_fraction=0.1 to validate on a part of train"
            if split != "train"
            else ""
        )

    def open(self, split: str) -> Found:
        """Open the pairs of a split, in the order of its rows.

        Returns:
            The pairs, and where they are.

        Raises:
            UserError: A file is damaged, a column is missing, or which columns are A and B is not known.
        """
        found = self._find_split(split)
        if found is None:
            raise UserError(self.explain_missing(split))
        files = self._files[found]
        columns = _choose_columns(_read_schema(files[0]), self.columns, self.root)
        if files[0].suffix == ".parquet":
            files = [self._copy(found, files, columns)]
        store = ArrowStore(self.root, tuple(files), tuple(columns))
        rows = [f"{row:08}" for row in range(store.num_rows)]
        if not rows:
            raise UserError(f"{self.root} has no rows of the split {found}")
        a, b, *masks = (PathList(StoredPath(store, column), rows) for column in columns)
        pairs = FilePairs([a], [b], rows, list(masks[0]) if masks else None)
        return Found(pairs, "huggingface", *(f"the column {column} of {self.root}" for column in columns[:2]))

    def _find_split(self, split: str) -> str | None:
        usual = (split, *SPLIT_NAMES.get(split, ()))
        return next((name for name in usual if name in self._files), None)

    def _copy(self, split: str, files: Sequence[Path], columns: Sequence[str]) -> Path:
        """Return an Arrow file with some columns of Parquet files, which is written where it does not exist."""
        facts = [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
        digest = hashlib.sha256(json.dumps([facts, [*columns]]).encode()).hexdigest()[:12]
        copy = self.cache_folder / f"rows_{split or 'all'}_{digest}.arrow"
        if copy.is_file():
            return copy
        try:
            self.cache_folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{self.cache_folder} cannot be written to ({error.strerror}), and Parquet files are copied there: set "
                "data.cache=<folder>"
            ) from None
        size = sum(file.stat().st_size for file in files)
        with wait_for_lock(
            self.cache_folder / f".{copy.stem}.lock", lambda: _log.info("another process writes %s: waiting", copy)
        ):
            if not copy.is_file():
                check_disk_space(self.cache_folder, size, "data.cache")
                _log.info("%s: copying %.1f MB of Parquet files to %s, once", self.root, size / 1e6, copy)
                with atomic_write(copy) as scratch:
                    _write_rows(scratch, files, columns)
        return copy


def _write_rows(scratch: Path, files: Sequence[Path], columns: Sequence[str]) -> None:
    pa = import_pyarrow(files[0])
    import pyarrow.parquet as pq

    schema = None
    with pa.OSFile(str(scratch), "wb") as sink:
        writer = None
        for file in files:
            try:
                with pq.ParquetFile(file) as table:
                    for batch in table.iter_batches(batch_size=_BATCH, columns=[*columns], use_threads=False):
                        chosen = batch.select([*columns])
                        if writer is None:
                            schema = chosen.schema.remove_metadata()
                            writer = pa.ipc.new_stream(sink, schema)
                        writer.write_batch(chosen.replace_schema_metadata(None).cast(schema))
            except (pa.ArrowException, OSError, KeyError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                raise UserError(f"{file} is damaged, or unlike {files[0]}: {error}; download it again") from None
        if writer is None:
            raise UserError(f"{files[0]} has no rows")
        writer.close()


def _list_splits(root: Path) -> dict[str, list[Path]]:
    """Return the files of each split; a data set without splits has one, whose name is empty."""
    if root.is_file():
        return {"": [root]}
    if (root / _DICT).is_file():
        named = _read_json(root / _DICT).get("splits")
        if not (isinstance(named, list) and all(isinstance(name, str) and "/" not in name for name in named)):
            raise UserError(f"{root / _DICT} is damaged: it lists no splits")
        return {name: _list_saved(root / name) for name in named}
    if (root / _STATE).is_file():
        return {"": _list_saved(root)}
    below = (path.relative_to(root) for path in root.rglob("*.parquet"))
    files = sorted(root / path for path in below if not any(part.startswith(".") for part in path.parts))
    if not files:
        raise UserError(
            f"{root} has no Parquet files, and no {_DICT} or {_STATE} of save_to_disk(): set data.root=<folder> to "
            "that of the data set"
        )
    splits: dict[str, list[Path]] = {}
    for file in files:
        splits.setdefault(_find_split_name(file.relative_to(root)), []).append(file)
    if "" in splits and len(splits) > 1:
        names = format_names([str(file) for file in splits[""]])
        raise UserError(f"{root}: the split of {names} is not in their names, as it is in those of other files")
    return splits


def _find_split_name(path: Path) -> str:
    """Return the split that a path names: ``data/train-00000-of-00002.parquet`` or ``train/0000.parquet``."""
    words = re.split(r"[^a-z]+", path.with_suffix("").as_posix().lower())
    usual = {name for names in SPLIT_NAMES.values() for name in names}
    return next((word for word in words if word in usual), "")


def _list_saved(folder: Path) -> list[Path]:
    listed = _read_json(folder / _STATE).get("_data_files")
    try:
        files = [folder / Path(entry["filename"]).name for entry in listed or ()]
    except (TypeError, LookupError):
        raise UserError(f"{folder / _STATE} is damaged: it lists no files") from None
    for file in files:
        if not file.is_file():
            raise UserError(f"{file} does not exist, but {folder / _STATE} lists it: copy the whole folder again")
    return files


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: copy the whole folder that save_to_disk() wrote") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error}") from None
    return values if isinstance(values, dict) else {}


def _read_schema(file: Path) -> Any:
    pa = import_pyarrow(file)
    if file.suffix != ".parquet":
        return read_table(file).schema
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise UserError(f"{file} is no Parquet file, or is damaged: {error}") from None


def _choose_columns(schema: Any, columns: Sequence[str] | None, root: Path) -> list[str]:
    described = ", ".join(f"{field.name} ({'image' if is_image_type(field.type) else field.type})" for field in schema)
    images = [field.name for field in schema if is_image_type(field.type)]
    if columns is not None:
        for column in columns:
            if column not in images:
                raise UserError(f"data.columns={list(columns)}: {root} has no images in {column}, but {described}")
        return list(columns)
    if len(images) != 2:
        example = ",".join(images[:2]) or "source,target"
        raise UserError(
            f"{root} has {len(images)} columns of images, and those of A and B are not known: set "
            f"data.columns=[{example}], first A, then B; its columns are {described}"
        )
    is_swapped = find_role(images[0]) == "b" or find_role(images[1]) == "a"
    if is_swapped and find_role(images[0]) != "a" and find_role(images[1]) != "b":
        images.reverse()
    return images
