"""Read a file of weights that the user has, as plain data."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pix2pix_lightning.utils.errors import UserError

__all__ = ["read_weights"]


def read_weights(path: Path | str, key: str = "features") -> dict[str, Tensor]:
    """Read a state dict.

    Args:
        path: A file of ``torch.save``.
        key: Where it comes from, for errors.

    Returns:
        Tensors on the CPU by name.

    Raises:
        UserError: There is no such file, it is damaged, or it holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{key}={path}: there is no such file")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()  # torch.load compares no checksums
            if damaged is not None:
                raise UserError(f"{key}={path} is damaged, since the checksum of {damaged} differs: download it again")
        content: Any = torch.load(path, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(
            f"{key}={path} cannot be read as weights alone ({' '.join(str(error).split())[:120]}): give a state dict "
            "that torch.save wrote"
        ) from None
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{key}={path} holds no state dict, tensors by name: give a state dict that torch.save wrote")
    return content
