"""Find a checkpoint, and read and write it as plain data."""

from __future__ import annotations

import os
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pix2pix_lightning.utils.atomic import atomic_write
from pix2pix_lightning.utils.errors import UserError

if TYPE_CHECKING:
    import torch

PROJECT_KEY = "pix2pix_lightning"
"""Key of what this project adds to a checkpoint of Lightning."""
EMA_KEY = "ema_generator"
"""Key of the EMA weights of the generator, if the run has them."""
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
    RuntimeError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    AssertionError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    ValueError,
    struct.error,
)
"""What torch.load raises for bytes that torch.save did not write."""


def infer_checkpoint_kind(path: Path) -> str:
    """Infer who wrote a file from its suffix: ``junyanz``, ``pretrained``, ``exported`` or ``training``."""
    return _KINDS.get(path.suffix.lower(), "training")


def find_checkpoint(path: Path, *, prefer: str = BEST) -> Path:
    """Find the checkpoint in a folder.

    Args:
        path: A file of any kind, which is returned; or a folder: of a run, of `save_pretrained`, or one in which
            pytorch-CycleGAN-and-pix2pix saved its networks.
        prefer: ``BEST`` or ``LAST``, the one to take from the folder of a run that has both.

    Returns:
        An existing file.

    Raises:
        FileNotFoundError: The path does not exist, or the folder has no checkpoint.
    """
    if not path.is_dir():
        if not path.is_file():
            raise FileNotFoundError(f"checkpoint {path} does not exist: give a .ckpt file or a run's folder")
        return path
    for name in (prefer, BEST, LAST, PRETRAINED, JUNYANZ):
        if (path / name).is_file():
            return path / name
    raise FileNotFoundError(f"{path} has no {prefer}: give a .ckpt file, or the folder of a run that has one")


def read_checkpoint(path: str | Path, map_location: str | torch.device = "cpu") -> dict[str, Any]:
    """Read a checkpoint of `Pix2PixModule` as plain data. No code in the file is run.

    Args:
        path: A file that training wrote.
        map_location: Device of the tensors. On the CPU they are mapped into memory and read when they are used.

    Returns:
        The dict that Lightning saved, with ``hyper_parameters``, ``state_dict`` and ``PROJECT_KEY`` among its keys.

    Raises:
        FileNotFoundError: There is no file at `path`.
        UserError: The file is no such checkpoint.
        OSError: The file cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist: give a .ckpt file or a run's folder")
    hint = "give a .ckpt file that training wrote"
    checkpoint = read_data(path, hint=hint, map_location=map_location, mmap=True)
    if not _is_complete(checkpoint):
        raise UserError(f"{path} is no checkpoint of Pix2PixModule: {hint}")
    return cast(dict[str, Any], checkpoint)


def read_data(path: Path, *, hint: str, map_location: str | torch.device = "cpu", mmap: bool = False) -> Any:
    """Read plain data that `torch.save` wrote. No code in the file is run.

    Args:
        path: An existing file.
        hint: What the user should give instead, for the error message.
        map_location: Device of the tensors.
        mmap: Whether tensors are mapped into memory and read when they are used. Files of torch before 1.6 are then
            refused.

    Returns:
        What was saved.

    Raises:
        UserError: The file has another format, is damaged, or holds more than plain data.
        OSError: The file cannot be read.
    """  # noqa: DOC501  BadZipFile is caught here
    import torch

    with path.open("rb") as file:  # raises the reason, where is_zipfile returns False
        is_pickle = file.read(1) == pickle.PROTO
    try:
        if not zipfile.is_zipfile(path) and (mmap or not is_pickle):
            raise zipfile.BadZipFile("no zip archive, or one that is cut short")
        with warnings.catch_warnings(action="ignore"):  # about TorchScript, which is refused anyway
            return torch.load(path, map_location=map_location, weights_only=True, mmap=mmap)
    except _UNREADABLE as error:
        raise UserError(f"{path} cannot be read as a checkpoint ({_shorten(error)}): {hint}") from None


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
    sentence = re.split(r"\n|(?<=\w)\. ", str(error), maxsplit=1)[0]
    return sentence or type(error).__name__
