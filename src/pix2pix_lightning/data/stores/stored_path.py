"""Paths of files in an archive or a database, which are used like those of a file system."""

from __future__ import annotations

import io
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any


class Store(ABC):
    """Named files that lie in one file or database.

    Each process opens a handle of its own when it first reads: one that was inherited shares its position with the
    parent's. Pickled, a store is the arguments of its constructor.

    Args:
        path: Where the store lies.
        *more: Further arguments of a class of stores, which are kept for pickling.

    Attributes:
        path: Where the store lies.
        arguments: The arguments of its constructor.
        has_endings: Whether the names of images end as those of files do; else every name is that of an image.
    """

    has_endings = True

    def __init__(self, path: Path, *more: Any) -> None:
        self.path = path
        self.arguments = (path, *more)
        self._handles: dict[int, Any] = {}
        self._lock = Lock()

    @cached_property
    def names(self) -> Sequence[str]:
        """Names of the files in ascending order, with ``/`` between folders; none that leads out of the store."""
        return sorted(name for name in self._list_names() if not {"", ".", ".."} & {*name.split("/")})

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            UserError: It is damaged.
            FileNotFoundError: There is no such file.
        """

    @abstractmethod
    def get_status(self, name: str) -> tuple[int, int]:
        """Return the size of a file in bytes, and a number that changes with its content; -1 and -1 for no file."""

    @abstractmethod
    def _open(self) -> Any:
        """Open a handle."""

    @abstractmethod
    def _list_names(self) -> Sequence[str]:
        """Return the names of the files in any order."""

    def _get_handle(self) -> Any:
        """Return the handle of this process."""
        process = os.getpid()
        if process not in self._handles:
            with self._lock:
                if process not in self._handles:
                    self._handles[process] = self._open()
        return self._handles[process]

    @cached_property
    def folders(self) -> dict[str, list[str]]:
        """The names that lie in each folder, by the folder's path; that of the store itself is empty."""
        found: dict[str, dict[str, None]] = {"": {}}
        for name in self.names:
            folder = ""
            *above, last = name.split("/")
            for part in above:
                found[folder][part] = None
                folder = f"{folder}/{part}" if folder else part
                found.setdefault(folder, {})
            found[folder][last] = None
        return {folder: list(parts) for folder, parts in found.items()}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Store) and type(other) is type(self) and self.arguments == other.arguments

    def __hash__(self) -> int:
        return hash(self.arguments)

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), self.arguments


@dataclass(frozen=True)
class StoredPath:
    """The path of a file or folder in a store, with those methods of ``pathlib.Path`` that pairs need.

    Args:
        store: The store.
        within: Path in it, with ``/`` between names; empty for the store itself.

    Example:
        >>> str(StoredPath(ZipStore(Path("pairs.zip")), "train") / "1.png")
        'pairs.zip/train/1.png'
    """

    store: Store
    within: str = ""

    def __str__(self) -> str:
        return f"{self.store.path}/{self.within}" if self.within else str(self.store.path)

    def __truediv__(self, name: str) -> StoredPath:
        return StoredPath(self.store, "/".join(part for part in (self.within, name) if part))

    def __lt__(self, other: StoredPath) -> bool:
        return self.within.split("/") < other.within.split("/")

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.within.rpartition("/")[2] or self.store.path.name

    @property
    def parent(self) -> StoredPath:
        """The folder that this lies in."""
        return StoredPath(self.store, self.within.rpartition("/")[0])

    def is_dir(self) -> bool:
        """Return whether this is a folder."""
        return self.within in self.store.folders

    def is_file(self) -> bool:
        """Return whether this is a file."""
        return self.store.get_status(self.within) != (-1, -1)

    def iterdir(self) -> Iterator[StoredPath]:
        """Yield what lies in this folder."""
        for name in self.store.folders[self.within]:
            yield self / name

    def list_below(self) -> list[str]:
        """Return the paths of all files below this folder, relative to it."""
        start = f"{self.within}/" if self.within else ""
        return [name.removeprefix(start) for name in self.store.names if name.startswith(start)]

    def read_bytes(self) -> bytes:
        """Return the content of the file."""
        return self.store.read(self.within)

    def open(self, mode: str = "rb") -> io.BytesIO:
        """Open the file for reading bytes."""
        assert mode == "rb", mode
        return io.BytesIO(self.read_bytes())

    def get_status(self) -> tuple[int, int]:
        """Return size and state of the file, as ``Store.get_status`` does."""
        return self.store.get_status(self.within)


AnyPath = Path | StoredPath
