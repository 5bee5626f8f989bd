"""How the trainer writes its checkpoints."""

from __future__ import annotations

import io
import logging
import pickle
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.fabric.utilities.types import _PATH
from lightning.pytorch.trainer.states import TrainerFn, TrainerState, TrainerStatus
from torch import Tensor, UntypedStorage
from torch.storage import TypedStorage

from pix2pix_lightning.checkpoints.files import write_checkpoint
from pix2pix_lightning.utils.background import Background

_log = logging.getLogger(__name__)
_SNAPSHOTS = 2
"""As many are held while training goes on; a further one is made, for a path that has one, in place of that."""
_UNLIMITED = 1_000_000


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint whole or not at all.

    Lightning's own writes to the folder of temporary files and moves the result, which copies it where that is another
    disk: onto the last good checkpoint, which a full disk then cuts short.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any = None) -> None:
        """Write to a file beside ``path``, and put it in its place.

        Raises:
            OSError: There is no room for it, or it may not be written.
        """
        assert storage_options is None
        write_checkpoint(checkpoint, path)


class BackgroundCheckpointIO(WholeCheckpointIO):
    """Copies a checkpoint in memory at once, and writes the copy whole or not at all while training goes on.

    Copies are written one after the other, in order. Two are held at most: who brings another one waits. One that was
    not begun when its path gets a newer one is left out. Saves of equal content, as the best and the last checkpoint
    of one epoch, share a copy. What the disk refuses is raised by the next call, ``check`` among them. Before and
    after training, and when it is interrupted, a checkpoint is on the disk when ``save_checkpoint`` returns.

    Args:
        state: ``trainer.state``, which says whether training goes on.
    """

    def __init__(self, state: TrainerState) -> None:
        super().__init__()
        self._state = state
        self._background = Background("checkpoints", at_most=_UNLIMITED)  # copies are counted here
        self._writes: list[_Write] = []

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any = None) -> None:
        """Copy now and write soon.

        Raises:
            OSError: There was no room for an earlier one, or it may not be written; outside of training, for this one.
        """
        assert storage_options is None
        if not self._goes_on():
            self._finish()
            super().save_checkpoint(checkpoint, path)
            return
        self._background.check()
        path = Path(path)
        snapshot = self._snapshot(*_taken_apart(checkpoint), path)
        for write in self._writes:
            if write.path == path:
                write.done.cancel()
        done = self._background.do(partial(_write, snapshot, path))
        self._writes.append(_Write(path, snapshot, done))

    def load_checkpoint(self, path: _PATH, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Read it, when what is being written is whole."""
        self._finish()
        return super().load_checkpoint(path, *args, **kwargs)

    def remove_checkpoint(self, path: _PATH) -> None:
        """Remove it, when what was saved before is whole."""
        if self._goes_on():
            self._background.do(partial(super().remove_checkpoint, path))
        else:
            self._finish()
            super().remove_checkpoint(path)

    def check(self) -> None:
        """Raise what the disk has refused, if it has; takes no time.

        Raises:
            OSError: There was no room for a checkpoint, or it may not be written.
        """
        self._background.check()

    def teardown(self) -> None:
        """Training ends when all is written.

        Raises:
            OSError: As ``check``; where training is interrupted already a warning, so as not to hide why.
        """
        self._finish()

    def _goes_on(self) -> bool:
        return self._state.fn == TrainerFn.FITTING and self._state.status == TrainerStatus.RUNNING

    def _finish(self) -> None:
        try:
            self._background.wait()
        except OSError as error:
            if self._state.status != TrainerStatus.INTERRUPTED:
                raise
            _log.warning("%s stays as it was: %s", error.filename, error.strerror)
        finally:
            self._writes.clear()

    def _snapshot(self, described: bytes, storages: Sequence[UntypedStorage], path: Path) -> _Snapshot:
        """The newest one, where it is equal, or another one when there is room for it."""
        self._writes = _unfinished(self._writes)
        if self._writes and _is_equal(newest := self._writes[-1].snapshot, described, storages):
            return newest
        while len({id(write.snapshot) for write in self._writes if write.path != path or write.done.running()}) >= (
            _SNAPSHOTS
        ):
            wait([write.done for write in self._writes], return_when=FIRST_COMPLETED)
            self._writes = _unfinished(self._writes)
        return _Snapshot(described, [_copied(storage) for storage in storages])


class _Snapshot(NamedTuple):
    """A checkpoint as it was at one moment: pickled without what its tensors hold, and that."""

    described: bytes
    storages: list[UntypedStorage]


class _Write(NamedTuple):
    path: Path
    snapshot: _Snapshot
    done: Future[object]


def _unfinished(writes: Sequence[_Write]) -> list[_Write]:
    return [write for write in writes if not write.done.done()]


def _write(snapshot: _Snapshot, path: Path) -> None:
    write_checkpoint(_Unpickler(snapshot).load(), path)


class _Pickler(pickle.Pickler):
    """Tells tensors apart by what they hold, as ``torch.save`` does: what is shared stays shared, strides are kept."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=2)
        self.storages: list[UntypedStorage] = []
        self._numbers: dict[int, int] = {}

    def persistent_id(self, value: object) -> tuple[int, torch.dtype] | None:
        if not isinstance(value, TypedStorage):
            return None
        storage = value._untyped_storage
        number = self._numbers.setdefault(storage._cdata, len(self.storages))
        if number == len(self.storages):
            self.storages.append(storage)
        return number, value.dtype


class _Unpickler(pickle.Unpickler):
    """Reads what this process has just written, with the copies in place of what the tensors held."""

    def __init__(self, snapshot: _Snapshot) -> None:
        super().__init__(io.BytesIO(snapshot.described))
        self._storages = snapshot.storages

    def persistent_load(self, identity: tuple[int, torch.dtype]) -> TypedStorage:
        number, dtype = identity
        rebuilt: TypedStorage = cast(Any, TypedStorage)(
            wrap_storage=self._storages[number], dtype=dtype, _internal=True
        )
        return rebuilt


def _taken_apart(checkpoint: dict[str, Any]) -> tuple[bytes, list[UntypedStorage]]:
    file = io.BytesIO()
    pickler = _Pickler(file)
    pickler.dump(checkpoint)
    return file.getvalue(), pickler.storages


def _copied(storage: UntypedStorage) -> UntypedStorage:
    """In the memory of the CPU; from a GPU into pages that stay where they are, which is ten times as fast."""
    on_gpu = storage.device.type == "cuda"
    copy = torch.empty(storage.nbytes(), dtype=torch.uint8, pin_memory=on_gpu).untyped_storage()
    return copy.copy_(storage, non_blocking=False)


def _is_equal(snapshot: _Snapshot, described: bytes, storages: Sequence[UntypedStorage]) -> bool:
    return snapshot.described == described and all(
        torch.equal(_numbers(live), _numbers(copy).to(live.device))
        for live, copy in zip(storages, snapshot.storages, strict=True)
    )


def _numbers(storage: UntypedStorage) -> Tensor:
    """Its bytes; eight at a time are compared in half the time."""
    dtype = torch.uint8 if storage.nbytes() % 8 else torch.int64
    return torch.empty(0, dtype=dtype, device=storage.device).set_(storage)
