"""Finding a checkpoint and reading it as plain data."""

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
"""Where a checkpoint keeps what is this project's own."""
EMA_KEY = "ema_generator"
"""Key of the EMA weights of the generator, if the run has them."""
BEST, LAST = "checkpoints/best.ckpt", "checkpoints/last.ckpt"
"""Where a run's folder keeps its checkpoints."""
PRETRAINED, JUNYANZ = "model.safetensors", "latest_net_G.pth"
"""What a folder of ``save_pretrained`` has, and one of pytorch-CycleGAN-and-pix2pix."""
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
"""What torch.load raises where the bytes are none that torch.save wrote."""


def kind_of(path: Path) -> str:
    """Who wrote a file, by its name's ending: ``junyanz``, ``pretrained``, ``exported``, or ``training``."""
    return _KINDS.get(path.suffix.lower(), "training")


def checkpoint_in(path: Path, *, prefer: str = BEST) -> Path:
    """The file that a file or a folder stands for.

    Args:
        path: A file of any kind; a run's folder, one of ``save_pretrained``, or one of J's checkpoints.
        prefer: Which is taken from a folder that has ``BEST`` and ``LAST``.

    Raises:
        FileNotFoundError: There is none.
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
    """A checkpoint of ``Pix2PixModule`` as plain data; no code in the file is run.

    Tensors are mapped into memory, and read when they are used.

    Raises:
        ValueError: The file is something else.
        OSError: There is no such file, or it may not be read.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist: give a .ckpt file or a run's folder")
    mend = "give a .ckpt file that training wrote"
    checkpoint = read_data(path, mend=mend, map_location=map_location, mapped=True)
    if not _is_complete(checkpoint):
        raise UserError(f"{path} is no checkpoint of Pix2PixModule: {mend}")
    return cast(dict[str, Any], checkpoint)


def read_data(path: Path, *, mend: str, map_location: str | torch.device = "cpu", mapped: bool = False) -> Any:
    """What ``torch.save`` wrote, if it is plain data; no code in the file is run.

    Args:
        path: A file that exists.
        mend: What to give instead, for the message.
        map_location: Where the tensors go.
        mapped: Map tensors into memory, and read them when they are used; files of torch before 1.6 are then refused.

    Raises:
        ValueError: The file is something else.
        OSError: It may not be read.
    """
    import torch

    with path.open("rb") as file:  # says what is wrong, where is_zipfile only says no
        is_pickle = file.read(1) == pickle.PROTO
    try:
        if not zipfile.is_zipfile(path) and (mapped or not is_pickle):
            raise zipfile.BadZipFile("no zip archive, or one that is cut short")
        with warnings.catch_warnings(action="ignore"):  # of TorchScript, which is then refused
            return torch.load(path, map_location=map_location, weights_only=True, mmap=mapped)
    except _UNREADABLE as error:
        raise UserError(f"{path} cannot be read as a checkpoint ({_reason(error)}): {mend}") from None


def write_checkpoint(checkpoint: Mapping[str, Any], path: str | Path) -> None:
    """Write a checkpoint, whole or not at all: what stands at ``path`` stays until the new file is complete.

    Raises:
        OSError: There is no room for it, or it may not be written.
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
        # torch's writer hides what the disk has said, which names no file
        raise OSError(reason.errno, reason.strerror, str(path)) from None


def _is_complete(checkpoint: Any) -> bool:
    own = checkpoint.get(PROJECT_KEY) if isinstance(checkpoint, dict) else None
    if not isinstance(own, dict):
        return False
    kinds = {"module": str, "live": list, "batches_seen": int}
    parts = [isinstance(checkpoint.get(key), dict) for key in ("hyper_parameters", "state_dict")]
    return all(parts) and all(isinstance(own.get(key), kind) for key, kind in kinds.items())


def _reason(error: Exception) -> str:
    """In a few words, without torch's advice to read the file unsafely."""
    if isinstance(error, pickle.UnpicklingError):
        found = re.search(r"GLOBAL (\S+)", str(error))
        return f"it names {found[1]}, and only plain data is read" if found else "it holds more than plain data"
    sentence = re.split(r"\n|(?<=\w)\. ", str(error), maxsplit=1)[0]
    return sentence or type(error).__name__
