"""Images in the columns of Arrow files, as Hugging Face datasets saves them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from pix2pix_lightning.data.stores.stored_path import Store
from pix2pix_lightning.utils.errors import UserError


class ArrowStore(Store):
    """Read the images of some columns of Arrow files, which are mapped into memory.

    A row's image has the name ``<column>/<row>``, with a row number of eight digits from 0 over all files.

    Args:
        path: Folder of the data set, for messages.
        files: The Arrow files, in the order of their rows.
        columns: Names of the columns, of images ``{bytes, path}`` or of bytes.

    Raises:
        UserError: The package pyarrow is missing, or a file is damaged.
    """

    has_endings = False

    def __init__(self, path: Path, files: tuple[Path, ...], columns: tuple[str, ...]) -> None:
        super().__init__(path, files, columns)
        self.files = files
        self.columns = columns

    @cached_property
    def num_rows(self) -> int:
        """Number of rows of all files."""
        return sum(self._counts)

    def read(self, name: str) -> bytes:
        """Return the bytes of an image.

        Raises:
            UserError: The row has none.
            FileNotFoundError: There is no such column or row.
        """
        column, _, row = name.rpartition("/")
        if column not in self.columns or not (row.isdigit() and int(row) < self.num_rows):
            raise FileNotFoundError(2, "No such row", f"{self.path}/{name}")
        place = bisect_right(self._starts, int(row)) - 1
        content: bytes | None = self._get_handle()[column][place][int(row) - self._starts[place]].as_py()
        if content is None:
            raise UserError(
                f"{self.path}: row {int(row)} holds no bytes in the column {column}, only a path or nothing: save the "
                "data set with its images in it, as save_to_disk() and push_to_hub() of datasets do"
            )
        return content

    def get_status(self, name: str) -> tuple[int, int]:
        """Return the size of an image, and the time of the last change of the newest file in nanoseconds."""
        column, _, row = name.rpartition("/")
        if column not in self.columns or not (row.isdigit() and int(row) < self.num_rows):
            return -1, -1
        return int(self._lengths[column][int(row)]), self._time

    @cached_property
    def _time(self) -> int:
        return max(file.stat().st_mtime_ns for file in self.files)

    @cached_property
    def _counts(self) -> list[int]:
        return [len(chunk) for chunk in self._get_handle()[self.columns[0]]]

    @cached_property
    def _starts(self) -> list[int]:
        """The number of the first row of each chunk."""
        return [0, *accumulate(self._counts)][:-1]

    @cached_property
    def _lengths(self) -> dict[str, Any]:
        import pyarrow.compute as pc

        handle = self._get_handle()
        return {
            column: np.concatenate(
                [pc.fill_null(pc.binary_length(chunk), 0).to_numpy(zero_copy_only=False) for chunk in handle[column]]
            )
            for column in self.columns
        }

    def _open(self) -> dict[str, list[Any]]:
        """Return the chunks of bytes of each column."""
        chunks: dict[str, list[Any]] = {column: [] for column in self.columns}
        for file in self.files:
            table = read_table(file)
            for column in self.columns:
                if column not in table.column_names:
                    raise UserError(f"{file} has no column {column}: it has {', '.join(table.column_names)}")
                chunks[column] += [get_bytes(chunk) for chunk in table.column(column).chunks if len(chunk)]
        return chunks

    def _list_names(self) -> Sequence[str]:
        return [f"{column}/{row:08}" for column in self.columns for row in range(self.num_rows)]


def import_pyarrow(path: Path) -> Any:
    """Import pyarrow.

    Args:
        path: What it is to read, for the message.

    Returns:
        The module.

    Raises:
        UserError: It is not installed.
    """
    try:
        import pyarrow as pa
    except ImportError:
        raise UserError(
            f"{path} is a table, which the package pyarrow reads: pip install 'pix2pix-lightning[huggingface]'"
        ) from None
    return pa


def read_table(path: Path) -> Any:
    """Map an Arrow file into memory, of either kind: a stream, as datasets writes it, or a file.

    Args:
        path: The file.

    Returns:
        A ``pyarrow.Table``, whose columns are read when they are used.

    Raises:
        UserError: The file is damaged.
        OSError: The file cannot be read.
    """
    pa = import_pyarrow(path)
    try:
        mapped = pa.memory_map(str(path))
        is_file = mapped.read(6) == b"ARROW1"
        mapped.seek(0)
        opened = pa.ipc.open_file(mapped) if is_file else pa.ipc.open_stream(mapped)
        return opened.read_all()
    except (pa.ArrowInvalid, pa.ArrowException, OSError) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise UserError(f"{path} is no Arrow file, or is damaged: {error}") from None


def get_bytes(chunk: Any) -> Any:
    """Return the bytes of images, a ``pyarrow.Array``: those of a field ``bytes``, or the values themselves."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(chunk, pa.ExtensionArray):
        chunk = chunk.storage
    return pc.struct_field(chunk, "bytes") if pa.types.is_struct(chunk.type) else chunk


def is_image_type(kind: Any) -> bool:
    """Return whether a column of this ``pyarrow.DataType`` may hold images: bytes, or a struct with bytes."""
    import pyarrow as pa

    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_struct(kind):
        position = kind.get_field_index("bytes")
        kind = kind.field(position).type if position >= 0 else pa.null()
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
