"""Keep the maps of layers in memory or in files, and the last rows of others."""

from __future__ import annotations

import os
import tempfile
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from pix2pix_lightning.inference.layerwise.operations import Rows
from pix2pix_lightning.utils.errors import UserError

_PENDING = 4  # blocks that wait to be written


def find_folder() -> Path:
    """Return the folder of files of maps: ``TMPDIR``, or else one that is on a disk rather than in memory."""
    for folder in (os.environ.get("TMPDIR"), "/var/tmp"):
        if folder and Path(folder).is_dir() and os.access(folder, os.W_OK | os.X_OK):
            return Path(folder)
    return Path(tempfile.gettempdir())


class WholeMap(Protocol):
    """A map that is written and read by rows."""

    def write(self, rows: Rows, maps: Tensor) -> None:
        """Write (1, C, h, W)."""

    def read(self, rows: Rows) -> tuple[Tensor, bool]:
        """Read rows that were written.

        Returns:
            (1, C, h, W) on the CPU, and whether it is a copy.
        """

    def close(self) -> None:
        """Free the memory, or remove the file."""


class MemoryMap:
    """A map in memory.

    Args:
        shape: Height, width and channels.
        dtype: Type of its values.
    """

    def __init__(self, shape: tuple[int, int, int], dtype: torch.dtype) -> None:
        self._pixels = torch.empty(shape, dtype=dtype)

    def write(self, rows: Rows, maps: Tensor) -> None:
        """Write (1, C, h, W)."""
        self._pixels[rows.start : rows.stop] = maps[0].permute(1, 2, 0)

    def read(self, rows: Rows) -> tuple[Tensor, bool]:
        """Return a view of rows, (1, C, h, W), and False."""
        return self._pixels[rows.start : rows.stop].permute(2, 0, 1)[None], False

    def close(self) -> None:
        """Free the memory."""
        self._pixels = torch.empty(0)


class FileMap:
    """A map in a file without a name, which goes away with the process, however it ends.

    It is read and written, not mapped into memory: pages of a mapped file would count as memory of the process.

    Args:
        shape: Height, width and channels.
        dtype: Type of its values.
        folder: Folder of the file; None: the system's for temporary files.
        writer: Thread that writes.
    """

    def __init__(
        self, shape: tuple[int, int, int], dtype: torch.dtype, folder: Path | None, writer: ThreadPoolExecutor
    ) -> None:
        self._row, self._dtype, self._writer = shape[1:], dtype, writer
        self._folder = folder or tempfile.gettempdir()
        self._row_bytes = shape[1] * shape[2] * dtype.itemsize
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        self._pending: deque[Future[None]] = deque()

    def write(self, rows: Rows, maps: Tensor) -> None:
        """Write (1, C, h, W) in the thread."""
        pixels = maps[0].permute(1, 2, 0).to("cpu", self._dtype).contiguous()
        while len(self._pending) >= _PENDING:
            self._pending.popleft().result()
        self._pending.append(self._writer.submit(self._write, rows.start * self._row_bytes, _view_bytes(pixels)))

    def _write(self, position: int, data: memoryview) -> None:
        try:
            self._file.seek(position)
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise UserError(
                f"a temporary file in {self._folder} could not be written ({error.strerror}): set TMPDIR to a folder "
                "on another disk, or a larger memory="
            ) from error

    def read(self, rows: Rows) -> tuple[Tensor, bool]:
        """Read rows, (1, C, h, W), and return True with them."""
        while self._pending:
            self._pending.popleft().result()
        pixels = torch.empty(rows.stop - rows.start, *self._row, dtype=self._dtype)
        data = _view_bytes(pixels)
        self._file.seek(rows.start * self._row_bytes)
        while data:
            count = self._file.readinto(data)
            if not count:
                raise OSError("a temporary file of maps has been cut short")
            data = data[count:]
        return pixels.permute(2, 0, 1)[None], True

    def close(self) -> None:
        """Remove the file."""
        for future in self._pending:
            future.cancel()
        self._writer.submit(self._file.close).result()  # after a write that has begun


def _view_bytes(pixels: Tensor) -> memoryview:
    return pixels.view(-1).view(torch.uint8).numpy().data  # flat: a single channel may have any stride


class RowBuffer:
    """The last rows of a map, as far as they are still needed.

    A plan counts the same rows without values.
    """

    def __init__(self) -> None:
        self._parts: deque[tuple[Rows, Tensor | None]] = deque()

    @property
    def held(self) -> int:
        """How many rows are in memory."""
        return sum(rows.stop - rows.start for rows, _ in self._parts)

    def append(self, rows: Rows, maps: Tensor | None) -> None:
        """Append the next rows, (1, C, h, W)."""
        self._parts.append((rows, maps))

    def drop(self, start: int) -> None:
        """Free what lies before a row."""
        while self._parts and self._parts[0][0].stop <= start:
            self._parts.popleft()

    def read(self, rows: Rows) -> Tensor:
        """Read rows, (1, C, h, W), which may be a view of those in the buffer."""
        found = []
        for part, maps in self._parts:
            inside = Rows(max(rows.start, part.start), min(rows.stop, part.stop))
            if inside.start < inside.stop:
                assert maps is not None
                found.append(maps[:, :, inside.start - part.start : inside.stop - part.start])
        return found[0] if len(found) == 1 else torch.cat(found, 2)
