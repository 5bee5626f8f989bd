"""Find a checkpoint, and read and write it as plain data."""

from __future__ import annotations

import os
import pickle
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pix2pix_lightning.checkpoints.builtin import find_builtin, is_builtin
from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.instantiate import check_size
from pix2pix_lightning.utils.memory import is_out_of_memory

if TYPE_CHECKING:
    from torch import Tensor

    from pix2pix_lightning.checkpoints.checksums import Archive

PROJECT_KEY = "pix2pix_lightning"
"""Key of what this project adds to a checkpoint of Lightning."""
EMA_KEY = "ema_generator"
"""Key of the EMA weights of the generator, if the run has them."""
TRAINING_STATE = ("optimizer_states", EMA_KEY)
"""Keys whose tensors are not needed to build a module."""
BEST, LAST = "checkpoints/best.ckpt", "checkpoints/last.ckpt"
"""Paths of the checkpoints in the folder of a run."""
PRETRAINED, JUNYANZ = "model.safetensors", "latest_net_G.pth"
"""Names of the weights in a folder of `save_pretrained` and in one of pytorch-CycleGAN-and-pix2pix."""
_KINDS = {
    ".pth": "junyanz",
    ".pt": "junyanz",
    ".safetensors": "pretrained",
    ".onnx": "exported",
    ".pt2": "exported",
}
_UNREADABLE = (
    RuntimeError,  # RecursionError and NotImplementedError too
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    zlib.error,
    AssertionError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    ValueError,
    ArithmeticError,
    MemoryError,
    struct.error,
)
"""What torch.load raises for bytes that torch.save did not write."""


def infer_checkpoint_kind(path: Path) -> str:
    """Infer who wrote a file from its suffix: ``junyanz``, ``pretrained``, ``exported`` or ``training``."""
    return _KINDS.get(path.suffix.lower(), "training")


def find_checkpoint(path: Path, *, prefer: str | None = None) -> Path:
    """Find the checkpoint in a folder.

    Args:
        path: A file of any kind, which is returned; or a folder: of a run, of `save_pretrained`, or one in which
            pytorch-CycleGAN-and-pix2pix saved its networks; or a model of the package, ``builtin:facades``.
        prefer: ``BEST`` or ``LAST``, the one to take from the folder of a run that has both; by default ``LAST`` of a
            run with a discriminator, whose pictures no metric of pairs can rank, and ``BEST`` of others.

    Returns:
        An existing file.

    Raises:
        FileNotFoundError: The path does not exist, or the folder has no checkpoint.
        UserError: The package has no model of this name.
    """
    if is_builtin(path):
        return find_builtin(path)
    if not path.is_dir():
        if not path.is_file():
            raise FileNotFoundError(f"checkpoint {path} does not exist: give a .ckpt file or a run's folder")
        return path
    present = [name for name in (BEST, LAST, PRETRAINED, JUNYANZ) if (path / name).is_file()]
    if not present:
        raise FileNotFoundError(
            f"{path} has no {prefer or BEST}: give a .ckpt file, or the folder of a run that has one"
        )
    if prefer is None and present[:2] == [BEST, LAST]:
        prefer = LAST if _is_adversarial_run(path) else BEST
    return path / (prefer if prefer in present else present[0])


def has_discriminator(checkpoint: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint, as `read_checkpoint` returns it, is of a training with a discriminator."""
    return any(str(key).startswith("discriminator.") for key in checkpoint["state_dict"])


def _is_adversarial_run(folder: Path) -> bool:
    """Return whether a run has a discriminator, by the first of its checkpoints that can be read."""
    for name in (LAST, BEST):
        with suppress(UserError, OSError), open_checkpoint(folder / name, skip=None) as checkpoint:
            return has_discriminator(checkpoint)
    return False


def read_checkpoint(path: str | Path, *, skip: Collection[str] = ()) -> dict[str, Any]:
    """Read a checkpoint of `Pix2PixModule` as plain data. No code in the file is run.

    Args:
        path: A file that training wrote.
        skip: Keys of the checkpoint whose tensors the caller does not use, so that their checksums are not compared.

    Returns:
        The dict that Lightning saved, with ``hyper_parameters``, ``state_dict`` and ``PROJECT_KEY`` among its keys. Its
        tensors are mapped into memory.

    Raises:
        FileNotFoundError: There is no file at `path`.
        UserError: The file is no such checkpoint, or is damaged.
        OSError: The file cannot be read.
    """
    with open_checkpoint(path, skip=skip) as checkpoint:
        return checkpoint


@contextmanager
def open_checkpoint(path: str | Path, *, skip: Collection[str] | None = ()) -> Iterator[dict[str, Any]]:
    """Yield what `read_checkpoint` returns, and compare checksums of tensors in threads while the block uses them.

    Args:
        path: A file that training wrote.
        skip: As in `read_checkpoint`; None for a block that uses no tensor at all.

    Raises:
        FileNotFoundError: There is no file at `path`.
        UserError: The file is no such checkpoint, or is damaged, which may be known at the block's end only.
        OSError: The file cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist: give a .ckpt file or a run's folder")
    hint = "give a .ckpt file that training wrote"
    archive, checkpoint = _load_data(path, hint, mmap=True)
    if not _is_complete(checkpoint):
        raise UserError(f"{path} is no checkpoint of Pix2PixModule: {hint}")
    check_size(checkpoint["hyper_parameters"], origin=str(path))
    used = {} if skip is None else {key: value for key, value in checkpoint.items() if key not in skip}
    with archive.verify(used) if archive else nullcontext():
        yield cast(dict[str, Any], checkpoint)


def read_ema_weights(path: Path, *, otherwise: str = "weights=trained") -> dict[str, Tensor]:
    """Read the EMA weights of the generator.

    Args:
        path: A file of any kind.
        otherwise: What to set to take other weights, for the error.

    Returns:
        Tensors by their names in the generator's state dict.

    Raises:
        UserError: The file has none, is no checkpoint of a training, or is damaged.
        OSError: The file cannot be read.
    """
    skip = ("state_dict", "optimizer_states")
    checkpoint = read_checkpoint(path, skip=skip) if infer_checkpoint_kind(path) == "training" else {}
    if EMA_KEY not in checkpoint:
        raise UserError(f"{path} has no EMA weights: train with callbacks=[default,ema], or set {otherwise}")
    weights: dict[str, Tensor] = checkpoint[EMA_KEY]
    return weights


def read_batches_seen(path: str | Path) -> int:
    """Read the number of training batches of a checkpoint; raises as `read_checkpoint`."""
    with open_checkpoint(path, skip=None) as checkpoint:
        seen: int = checkpoint[PROJECT_KEY]["batches_seen"]
    return seen


def read_data(path: Path, *, hint: str, verify_tensors: bool = True) -> Any:
    """Read plain data that `torch.save` wrote. No code in the file is run.

    Args:
        path: An existing file. One of torch before 1.6 has no checksums.
        hint: What the user should give instead, for the error message.
        verify_tensors: Whether the checksums of the tensors are compared; those of the rest always are.

    Returns:
        What was saved, with tensors on the CPU.

    Raises:
        UserError: The file has another format, is damaged, or holds more than plain data.
        OSError: The file cannot be read.
    """
    archive, data = _load_data(path, hint, mmap=False)
    with archive.verify(data) if archive and verify_tensors else nullcontext():
        return data


def _load_data(path: Path, hint: str, *, mmap: bool) -> tuple[Archive | None, Any]:
    """Load data and checksums. ``mmap`` reads tensors when they are used, and refuses files of torch before 1.6."""
    import torch

    from pix2pix_lightning.checkpoints.checksums import Archive, DamagedFileError

    with path.open("rb") as file:  # raises the reason, where is_zipfile returns False
        is_pickle = file.read(1) == pickle.PROTO
    is_archive = False
    try:
        is_archive = zipfile.is_zipfile(path)
        if not is_archive and (mmap or not is_pickle):
            raise zipfile.BadZipFile("no zip archive, or one that is cut short")
        archive = Archive(path) if is_archive else None
        with warnings.catch_warnings(action="ignore"):  # about TorchScript, which is refused anyway
            data = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except DamagedFileError:
        raise
    except _UNREADABLE as error:
        # torch before 1.6 allocates what a file claims to hold, which damage can make absurd
        if is_archive and is_out_of_memory(error):
            raise
        raise UserError(f"{path} cannot be read as a checkpoint ({_shorten(error)}): {hint}") from None
    return archive, data


def write_checkpoint(checkpoint: Mapping[str, Any], path: str | Path) -> None:
    """Write a checkpoint atomically. A file at `path` stays as it is until the new one is complete.

    Args:
        checkpoint: Anything that `torch.save` takes.
        path: The file; its folder is created.

    Raises:
        OSError: The disk is full, or the file cannot be written. The error names `path`.
        RuntimeError: torch cannot write the checkpoint for another reason.
    """
    import torch

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with atomic_write(path) as scratch, scratch.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:
        reason = error if isinstance(error, OSError) else error.__context__
        if not isinstance(reason, OSError):
            raise
        # torch's writer hides the error of the disk, which names no file itself
        raise OSError(reason.errno, reason.strerror, str(path)) from None


def _is_complete(checkpoint: Any) -> bool:
    own = checkpoint.get(PROJECT_KEY) if isinstance(checkpoint, dict) else None
    if not isinstance(own, dict):
        return False
    kinds = {"module": str, "live": list, "batches_seen": int}
    parts = [isinstance(checkpoint.get(key), dict) for key in ("hyper_parameters", "state_dict")]
    return all(parts) and all(isinstance(own.get(key), kind) for key, kind in kinds.items())


def _shorten(error: Exception) -> str:
    """Return the reason in a few words, without torch's advice to read the file unsafely."""
    if isinstance(error, pickle.UnpicklingError):
        found = re.search(r"GLOBAL (\S+)", str(error))
        return f"it names {found[1]}, and only plain data is read" if found else "it holds more than plain data"
    if is_out_of_memory(error):
        return "it is damaged, or there is not enough memory for what it holds"
    sentence = re.split(r"\n|(?<=\w)\. ", str(error), maxsplit=1)[0]
    return sentence or type(error).__name__
