"""Files in a zip file, which is not unpacked."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from functools import cached_property

from pix2pix_lightning.data.stores.stored_path import Store
from pix2pix_lightning.utils.errors import UserError

_MAX_BYTES = 2**32  # of a member once unpacked
_MAX_RATIO = 1100  # Deflate reaches 1032


class ZipStore(Store):
    """Read the members of a zip file.

    Raises:
        UserError: The file is no zip file, or is damaged.
    """

    def read(self, name: str) -> bytes:
        """Return the content of a member, whose checksum is compared.

        Raises:
            UserError: The member is damaged, encrypted or larger than it can be.
            FileNotFoundError: There is no such member.
        """
        info = self._members.get(name)
        if info is None:
            raise FileNotFoundError(2, "No such file or directory", f"{self.path}/{name}")
        if info.file_size > min(_MAX_BYTES, _MAX_RATIO * info.compress_size + 1024):
            raise UserError(f"{self.path}/{name} claims to be {info.file_size} bytes: it is damaged, or a bomb")
        try:
            content: bytes = self._get_handle().read(info)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise UserError(f"{self.path}/{name} is damaged: {error}; copy or download the file again") from None
        except (RuntimeError, NotImplementedError) as error:  # encrypted, or a compression that this Python lacks
            raise UserError(f"{self.path}/{name} cannot be read: {error}; pack it without, or unpack it") from None
        return content

    def get_status(self, name: str) -> tuple[int, int]:
        """Return size and CRC of a member."""
        info = self._members.get(name)
        return (-1, -1) if info is None else (info.file_size, info.CRC)

    @cached_property
    def _members(self) -> dict[str, zipfile.ZipInfo]:
        infos: list[zipfile.ZipInfo] = self._get_handle().infolist()
        # Windows programs write names with backslashes
        return {info.filename.replace("\\", "/"): info for info in infos if not info.is_dir()}

    def _open(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, EOFError, ValueError) as error:
            raise UserError(f"{self.path} is no zip file, or is damaged: {error}") from None

    def _list_names(self) -> Sequence[str]:
        return list(self._members)
