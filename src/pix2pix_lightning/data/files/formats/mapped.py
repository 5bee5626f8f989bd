"""Arrays over the bytes of a file, of which only what is looked at is read."""

from __future__ import annotations

import io
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from pix2pix_lightning.data.files.formats.header import DamagedPixelsError


def map_array(
    file: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, ...], start: int, order: Literal["C", "F"] = "C"
) -> npt.NDArray[Any]:
    """Return an array over a part of a file, which is not copied.

    Args:
        file: A file on a disk, which is mapped into memory, or one in memory.
        dtype: Type of the values.
        shape: Shape of the array.
        start: Where it begins, in bytes.
        order: ``C`` where the last axis varies fastest in the file, ``F`` where the first one does.

    Returns:
        The array, which cannot be written to.

    Raises:
        DamagedPixelsError: The file ends before the array does.
    """
    count = dtype.itemsize
    for length in shape:
        count *= length
    if start + count > file.seek(0, io.SEEK_END):
        raise DamagedPixelsError("its pixels end early")
    if isinstance(file, io.BytesIO):
        return np.ndarray(shape, dtype, file.getvalue(), start, order=order)
    return np.asarray(np.memmap(file, dtype, "r", start, shape, order))
