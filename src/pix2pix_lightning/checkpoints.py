"""Finding a checkpoint and reading it as plain data."""

from __future__ import annotations

import pickle
import re
import struct
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import torch

PROJECT_KEY = "pix2pix_lightning"
"""Where a checkpoint keeps what is this project's own."""
AVERAGED_KEY = "averaged_generator"
"""Where it keeps the average of the generator's weights, if the run took one."""
BEST, LAST = "checkpoints/best.ckpt", "checkpoints/last.ckpt"
"""Where a run's folder keeps its checkpoints."""
_UNREADABLE = (
    RuntimeError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    ValueError,
    struct.error,
)
"""What torch.load raises where the bytes are none that torch.save wrote."""


def checkpoint_in(path: Path, *, prefer: str = BEST) -> Path:
    """The checkpoint that a file or a run's folder stands for.

    Args:
        path: A checkpoint, or a run's folder.
        prefer: Which is taken from a folder that has ``BEST`` and ``LAST``.

    Raises:
        FileNotFoundError: There is none.
    """
    if not path.is_dir():
        if not path.is_file():
            raise FileNotFoundError(f"checkpoint {path} does not exist: give a .ckpt file or a run's folder")
        return path
    for name in (prefer, BEST, LAST):
        if (path / name).is_file():
            return path / name
    raise FileNotFoundError(f"{path} has no {prefer}: give a .ckpt file, or the folder of a run that has one")


def read_checkpoint(path: str | Path, map_location: str | torch.device = "cpu") -> dict[str, Any]:
    """A checkpoint of ``Pix2PixModule`` as plain data; no code in the file is run.

    Tensors are mapped into memory, and read when they are used.

    Raises:
        ValueError: The file is something else.
        FileNotFoundError: There is no such file.
    """
    import torch

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist: give a .ckpt file or a run's folder")
    try:
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("no zip archive, or one that is cut short")
        with warnings.catch_warnings(action="ignore"):  # of TorchScript, which is then refused
            checkpoint = torch.load(path, map_location=map_location, weights_only=True, mmap=True)
    except _UNREADABLE as error:
        raise ValueError(
            f"{path} cannot be read as a checkpoint ({_reason(error)}): give a .ckpt file that training wrote"
        ) from None
    if not _is_complete(checkpoint):
        raise ValueError(f"{path} is no checkpoint of Pix2PixModule: give a .ckpt file that training wrote")
    return cast(dict[str, Any], checkpoint)


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
