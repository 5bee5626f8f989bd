"""Files in an LMDB, a database that is one file, which maps names to bytes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from pix2pix_lightning.data.stores.stored_path import Store
from pix2pix_lightning.utils.errors import UserError


class LmdbStore(Store):
    """Read the values of an LMDB: encoded images, as they would be in files.

    Keys are names, UTF-8, as ``train/A/1`` or ``1_A``. Those that begin with ``__``, as ``__len__``, are passed over.

    Raises:
        UserError: The package lmdb is missing, or the database is damaged.
    """

    has_endings = False

    def read(self, name: str) -> bytes:
        """Return a value.

        Raises:
            FileNotFoundError: There is no such key.
        """
        with self._get_handle().begin() as transaction:
            value: bytes | None = transaction.get(_encode(name))
        if value is None:
            raise FileNotFoundError(2, "No such key", f"{self.path}/{name}")
        return value

    def get_status(self, name: str) -> tuple[int, int]:
        """Return the size of a value, and the time of the database's last change in nanoseconds."""
        if not name:  # LMDB has no empty key
            return -1, -1
        with self._get_handle().begin(buffers=True) as transaction:
            value = transaction.get(_encode(name))
            return (-1, -1) if value is None else (len(value), self._time)

    @cached_property
    def _time(self) -> int:
        return (self.path / "data.mdb" if self.path.is_dir() else self.path).stat().st_mtime_ns

    def _open(self) -> Any:
        try:
            import lmdb
        except ImportError:
            raise UserError(
                f"{self.path} is an LMDB, which the package lmdb reads: pip install 'pix2pix-lightning[lmdb]'"
            ) from None
        try:
            # no lock and no file beside it, so that a folder that cannot be written to will do
            return lmdb.open(str(self.path), subdir=self.path.is_dir(), readonly=True, lock=False, readahead=False)
        except lmdb.Error as error:
            raise UserError(f"{self.path} is no LMDB, or is damaged: {error}") from None

    def _list_names(self) -> Sequence[str]:
        with self._get_handle().begin() as transaction:
            names = [_decode(bytes(key)) for key in transaction.cursor().iternext(values=False)]
        return [name for name in names if not name.startswith("__")]


def _encode(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _decode(key: bytes) -> str:
    return key.decode("utf-8", "surrogateescape")
