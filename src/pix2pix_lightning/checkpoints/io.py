"""Write the checkpoints of a trainer: atomically, and in the background while training continues."""

from __future__ import annotations

import io
import logging
import pickle
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.trainer.states import TrainerFn, TrainerState, TrainerStatus
from torch import Tensor, UntypedStorage

from pix2pix_lightning.checkpoints.files import read_data, write_checkpoint
from pix2pix_lightning.utils.background import Background

_log = logging.getLogger(__name__)
_MAX_SNAPSHOTS = 2
"""Number of snapshots in memory while training continues."""
_UNLIMITED = 1_000_000


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint completely or not at all.

    Lightning's own plugin writes to the system's temporary folder and moves the result. If that folder is on another
    disk, the move is a copy onto the last good checkpoint, which a full disk then truncates.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write to a file next to `path` and rename it.

        Args:
            checkpoint: What the trainer saves.
            path: The file.
            storage_options: Must be None; part of Lightning's interface.

        Raises:
            OSError: The disk is full, or the file cannot be written.
        """
        assert storage_options is None
        write_checkpoint(checkpoint, path)

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = None) -> Any:
        """Read a checkpoint as plain data.

        Args:
            path: The file. Whoever chose it has compared the checksums of its tensors (`training.resuming`).
            map_location: Must be None; part of Lightning's interface.
            weights_only: Must not be false: no code in the file is run.

        Returns:
            What was saved, with tensors on the CPU.

        Raises:
            UserError: The file is no checkpoint, or is damaged.
            OSError: The file cannot be read.
        """
        assert map_location is None
        assert weights_only is not False
        return read_data(Path(path), hint="give a .ckpt file that training wrote", verify_tensors=False)


class BackgroundCheckpointIO(AtomicCheckpointIO):
    """Copy a checkpoint in memory at once, and write the copy in a thread while training continues.

    - Copies are written in the order of the calls. At most two are in memory; a further call waits.
    - A copy whose path gets a newer one before its writing has begun is dropped. So a disk that is slower than
      training delays checkpoints, not training.
    - Equal contents share a copy, as the best and the last checkpoint of an epoch do.
    - The next call raises the errors of the disk, `check` among them.
    - Before and after training, and when it is interrupted, `save_checkpoint` returns when the file is written.

    Lightning's `AsyncCheckpointIO` copies each checkpoint: best and last take 1.96 times the size of a checkpoint in
    memory, here 0.96 times, and hold up training for 0.74 s, here 0.53 s (686 MB, two cores, medians of five). It
    has no limit on the copies: after four epochs with a slow disk they take 6.3 times the size, here 1.96 times. It
    also separates tensors that share memory. ``examples/measure_checkpoint_writers.py`` compares both.

    Args:
        state: ``trainer.state``, which tells whether training is running.
    """

    def __init__(self, state: TrainerState) -> None:
        super().__init__()
        self._state = state
        self._background = Background("checkpoints", at_most=_UNLIMITED)  # `_take_snapshot` sets the limit
        self._writes: list[_Write] = []

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Copy the checkpoint now and write it soon.

        Args:
            checkpoint: What the trainer saves. It may be changed as soon as this returns.
            path: The file.
            storage_options: Must be None; part of Lightning's interface.

        Raises:
            OSError: An earlier file could not be written, or this one while training is not running.
        """
        assert storage_options is None
        if not self._is_training():
            self._finish()
            super().save_checkpoint(checkpoint, path)
            return
        self._background.check()
        path = Path(path)
        snapshot = self._take_snapshot(checkpoint, path)
        for write in self._writes:
            if write.path == path:
                write.done.cancel()  # does nothing to a write that has begun
        done = self._background.do(partial(_write_snapshot, snapshot, path))
        self._writes.append(_Write(path, snapshot, done))

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> Any:
        """Read a checkpoint after all earlier ones are written."""
        self._finish()
        return super().load_checkpoint(path, *args, **kwargs)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint after all earlier ones are written."""
        if self._is_training():
            self._background.do(partial(super().remove_checkpoint, path))
        else:
            self._finish()
            super().remove_checkpoint(path)

    def check(self) -> None:
        """Raise the error of an earlier write, if there is one. Takes no time.

        Raises:
            OSError: A checkpoint could not be written.
        """
        self._background.check()

    def teardown(self) -> None:
        """Wait until all is written.

        Raises:
            OSError: As in `check`. If training was interrupted it is a warning instead, to not hide the reason.
        """
        self._finish()

    def _is_training(self) -> bool:
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

    def _take_snapshot(self, checkpoint: dict[str, Any], path: Path) -> _Snapshot:
        """Return the newest snapshot if it is equal, or wait until there may be another one and copy."""
        live = _disassemble(checkpoint)
        self._writes = _select_unfinished(self._writes)
        if self._writes and _is_equal(newest := self._writes[-1].snapshot, live):
            return newest
        # A waiting write to the same path does not count: it is about to be cancelled.
        while len({id(write.snapshot) for write in self._writes if write.path != path or write.done.running()}) >= (
            _MAX_SNAPSHOTS
        ):
            wait([write.done for write in self._writes], return_when=FIRST_COMPLETED)
            self._writes = _select_unfinished(self._writes)
        return live._replace(storages=[_copy_to_cpu(storage) for storage in live.storages])


class _Layout(NamedTuple):
    """How a tensor lies in its storage."""

    storage: int
    dtype: torch.dtype
    offset: int
    size: torch.Size
    stride: tuple[int, ...]
    requires_grad: bool


class _Snapshot(NamedTuple):
    """A checkpoint in three parts.

    A copy of the storages, not of the tensors, keeps what `torch.save` keeps: tensors that share memory still do, and
    strides stay. The file is the same, byte for byte, as one written at the time of the copy.
    """

    pickled: bytes  # everything but the tensors
    layouts: list[_Layout]
    storages: list[UntypedStorage]


class _Write(NamedTuple):
    path: Path
    snapshot: _Snapshot
    done: Future[object]


def _select_unfinished(writes: Sequence[_Write]) -> list[_Write]:
    return [write for write in writes if not write.done.done()]


def _write_snapshot(snapshot: _Snapshot, path: Path) -> None:
    write_checkpoint(_Unpickler(snapshot).load(), path)


def _disassemble(checkpoint: dict[str, Any]) -> _Snapshot:
    """Take a checkpoint apart without a copy: the storages are those of the live tensors."""
    file = io.BytesIO()
    pickler = _Pickler(file)
    pickler.dump(checkpoint)
    numbers: dict[object, int] = {}
    storages: list[UntypedStorage] = []
    layouts = []
    for tensor in pickler.tensors:
        storage = tensor.untyped_storage()
        key = (storage.device, storage.data_ptr()) if storage.nbytes() else len(storages)
        number = numbers.setdefault(key, len(storages))
        if number == len(storages):
            storages.append(storage)
        offset = int(tensor.storage_offset())
        layout = _Layout(number, tensor.dtype, offset, tensor.size(), tensor.stride(), tensor.requires_grad)
        layouts.append(layout)
    return _Snapshot(file.getvalue(), layouts, storages)


class _Pickler(pickle.Pickler):
    """Pickle everything but plain tensors, which are numbered and collected.

    Other tensors, such as sparse ones and parameters, are pickled as torch does, down to the plain tensors in them.
    """

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=2)
        self.tensors: list[Tensor] = []  # also keeps temporary tensors alive, whose id could be used again
        self._numbers: dict[int, int] = {}

    def persistent_id(self, value: object) -> int | None:
        if type(value) is not Tensor or value.layout is not torch.strided:
            return None
        if value.is_quantized or value.is_conj() or value.is_neg():  # more than a layout describes
            return None
        number = self._numbers.setdefault(id(value), len(self.tensors))
        if number == len(self.tensors):
            self.tensors.append(value)
        return number


class _Unpickler(pickle.Unpickler):
    """Rebuild the checkpoint of a snapshot. The pickle is of this process, so that it is safe to load."""

    def __init__(self, snapshot: _Snapshot) -> None:
        super().__init__(io.BytesIO(snapshot.pickled))
        self._tensors = [
            torch.empty(0, dtype=layout.dtype)
            .set_(snapshot.storages[layout.storage], layout.offset, layout.size, layout.stride)
            .requires_grad_(layout.requires_grad)
            for layout in snapshot.layouts
        ]

    def persistent_load(self, number: int) -> Tensor:
        return self._tensors[number]


def _copy_to_cpu(storage: UntypedStorage) -> UntypedStorage:
    """Copy to the memory of the CPU; from a GPU to pinned memory, which is ten times as fast."""
    on_gpu = storage.device.type == "cuda"
    copy = torch.empty(storage.nbytes(), dtype=torch.uint8, pin_memory=on_gpu).untyped_storage()
    return copy.copy_(storage, non_blocking=False)


def _is_equal(snapshot: _Snapshot, live: _Snapshot) -> bool:
    return snapshot[:2] == live[:2] and all(
        torch.equal(_view_integers(storage), _view_integers(copy).to(storage.device))
        for storage, copy in zip(live.storages, snapshot.storages, strict=True)
    )


def _view_integers(storage: UntypedStorage) -> Tensor:
    """View a storage as integers, of eight bytes if possible, which are compared in half the time of single bytes."""
    dtype = torch.uint8 if storage.nbytes() % 8 else torch.int64
    return torch.empty(0, dtype=dtype, device=storage.device).set_(storage)
