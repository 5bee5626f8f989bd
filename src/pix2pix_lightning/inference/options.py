"""Check and read the options of a `Translator`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt
import torch
from torch import Tensor

from pix2pix_lightning.data.sides import Side
from pix2pix_lightning.data.sides.picture import PictureSide
from pix2pix_lightning.data.sizes import Size, parse_size
from pix2pix_lightning.utils.checks import check_choice
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.memory import is_out_of_memory

_MAX_FLOAT = 1.5  # resizing may go a little beyond 1
_PIL_TYPES = {("uint8", 1), ("uint8", 3), ("uint16", 1), ("float32", 1)}
"""Types and numbers of channels for which PIL has a mode: L, RGB, I;16 and F."""


def check_exported_options(path: Path, *, dropout: str, weights: str, precision: str, pair: object) -> None:
    """Check that no option is set that an exported graph cannot follow.

    Args:
        path: The exported file.
        dropout: ``on`` or ``off``.
        weights: ``auto``, ``trained`` or ``ema``.
        precision: ``32``, ``bf16`` or ``auto``.
        pair: Meaning of the images, or None.

    Raises:
        UserError: One of them is.
    """
    for name, value, allowed in (
        ("dropout", dropout, ("off",)),
        ("weights", weights, ("auto", "trained")),
        ("precision", precision, ("32", "auto")),
        ("pair", pair, (None,)),
    ):
        if value not in allowed:
            raise UserError(
                f"{name}={value} with {path}: an exported graph is fixed; use the checkpoint that it was exported from"
            )


def check_packages(trust: Sequence[str] | bool) -> Sequence[str]:
    """Return the packages that are trusted.

    Raises:
        UserError: It is True.
    """
    if trust is True:
        raise UserError("trust=True is for .pt2 files: name the packages whose classes the file may name, trust=[...]")
    return (trust,) if isinstance(trust, str) else trust or ()


def parse_resize(resize: object) -> Size | Literal["training"] | None:
    """Return to what images are resized: to a size, as in the training, or not at all.

    Raises:
        UserError: It is neither ``training`` nor a size.
    """
    if resize == "training" or resize is None:
        return resize
    if isinstance(resize, str):
        raise UserError(f"resize={resize!r} is unknown: training, a side in pixels, or [height,width] is expected")
    return parse_size("resize", resize)


def check_rounding(rounding: str, target: Side, *, in_graph: bool) -> None:
    """Check how floats are to become whole numbers.

    Args:
        rounding: ``nearest`` or ``floor``.
        target: The side of the outputs.
        in_graph: Whether an exported graph returns values of files, which it has rounded itself.

    Raises:
        UserError: It is none of these, or has no effect.
    """
    check_choice("rounding", rounding, ("nearest", "floor"))
    if rounding != "nearest" and target.dtype.startswith("float"):
        raise UserError(f"rounding={rounding} for a target of {target.dtype}, which is not rounded: leave rounding out")
    if rounding != "nearest" and target.kind == "label":
        raise UserError(f"rounding={rounding} for a target of kind label, whose pixels are classes: leave rounding out")
    if rounding != "nearest" and in_graph:
        raise UserError(
            f"rounding={rounding}, but the exported file rounds in its graph: export it with values_out=float"
        )


def parse_array(image: npt.NDArray[Any], side: Side) -> npt.NDArray[Any]:
    """Return an array as ``Side.prepare`` takes it.

    Args:
        image: (H, W, C) or (H, W).
        side: The side that it is of.

    Returns:
        (H, W, C).

    Raises:
        UserError: It has another type or shape than the side's files.
    """
    is_picture = isinstance(side, PictureSide)
    image = image.astype(image.dtype.newbyteorder("="), copy=False)  # as files of other machines hold them
    if image.ndim not in (2, 3) or not image.size or (is_picture and image.dtype != side.dtype):
        raise UserError(
            f"an array of {image.dtype} and shape {image.shape}: (H, W, C) or (H, W) of {side.dtype} is expected, with "
            "a pixel at least"
        )
    image = image[..., None] if image.ndim == 2 else image
    if is_picture and image.shape[2] not in (1, 3):
        alpha = "; give an image with alpha as a PIL image or a file" if image.shape[2] in (2, 4) else ""
        raise UserError(f"an image of {image.shape[2]} channels: 1 or 3 are expected{alpha}")
    return image


def check_tensor_floats(batch: Tensor) -> None:
    """Check that a tensor of floats, (B, C, H, W), can be of [-1, 1].

    Raises:
        UserError: It is not.
    """
    low, high = (bound.item() for bound in torch.aminmax(batch))
    if not -_MAX_FLOAT <= low <= high <= _MAX_FLOAT:  # nor NaN
        raise UserError(f"a tensor of floats from {low:g} to {high:g}: -1 to 1 is expected; bytes become x / 127.5 - 1")


def check_pil_target(target: Side) -> None:
    """Check that a PIL image can hold what files of the target hold.

    Raises:
        UserError: It cannot.
    """
    if (target.dtype, target.file_channels) not in _PIL_TYPES:
        channels = f"{target.file_channels} channel{'s' if target.file_channels > 1 else ''}"
        raise UserError(
            f"a PIL image holds no {channels} of {target.dtype}, which this model returns: give an array, a tensor or "
            "a path"
        )


def find_device(name: str) -> torch.device:
    """Return a device that works here, for ``auto`` a GPU if there is one; raise a UserError for others."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(str(name))
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:  # torch without CUDA raises AssertionError
        if is_out_of_memory(error):
            raise
        here = f"auto, cpu or cuda is expected, and torch {torch.__version__} finds {torch.cuda.device_count()} GPUs"
        raise UserError(f"device={name} cannot be used here: {here}") from None
    return device
