"""Translate volumes slice by slice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.files.volumes import write_volume
from pix2pix_lightning.data.sides import RawSide, Side
from pix2pix_lightning.inference.source_files import Source, format_source
from pix2pix_lightning.inference.translator import Translator
from pix2pix_lightning.utils.errors import UserError

Array = npt.NDArray[Any]


def translate_volume(translator: Translator, volume: Source) -> Array:
    """Translate a volume slice by slice, across the axis and with the neighbours of the training.

    Args:
        translator: Translator of the model.
        volume: A NIfTI file, or several whose channels are put together.

    Returns:
        (X, Y, Z) in the type of the target's files.

    Raises:
        UserError: The volume cannot be read or does not fit the model, outputs have several channels, or their size
            is not that of the slices.
    """
    spec = translator.pair_spec
    name = format_source(volume)
    if spec.target.file_channels != 1:
        raise UserError(
            f"{name} is a volume, and this model's outputs have {spec.target.file_channels} channels, which a NIfTI "
            "file does not hold: translate its slices as pictures"
        )
    slices = []
    for index in translator.reader.list_slices(volume):
        source = translator.reader.read_slice(volume, index)
        output = translator.translate_arrays([source])[0]
        if output.shape[:2] != source.shape[:2]:
            raise UserError(
                f"{name}: outputs of {output.shape[1]} x {output.shape[0]} pixels for slices of {source.shape[1]} x "
                f"{source.shape[0]} would not fit the volume's grid: set resize=training, or leave resize out"
            )
        slices.append(output[..., 0])
    return np.stack(slices, spec.slice_axis)


def write_translation(path: Path, volume: Array, target: Side, *, like: Path, overwrite: bool) -> None:
    """Write a translated volume with the place in space of the one that it is translated from.

    Args:
        path: The file to write.
        volume: What `translate_volume` returned.
        target: What its values mean.
        like: The volume that was translated.
        overwrite: Replace the file if it exists.

    Raises:
        FileExistsError: The file exists, and ``overwrite`` is off.
    """
    scale, offset = (target.scale, target.offset) if isinstance(target, RawSide) else (1.0, 0.0)
    write_volume(path, volume, like=like, scale=scale, offset=offset, overwrite=overwrite)
