"""Class numbers of label sides: their check, their channels, and pixels without a class, -1 in all channels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pix2pix_lightning.utils.errors import UserError

NO_CLASS = -1
"""Value of all channels of a pixel without a class. Any class has one channel of 1."""
_MAX_NUMBER = 255
_MAX_NOISE = 0.1  # share of the pixels of a mask that JPEG and resizing make neither dark nor bright


def check_class_numbers(image: npt.NDArray[np.uint8], num_classes: int, ignore_index: int | None) -> None:
    """Check that an image holds class numbers; recognise masks of 0 and 255, and gray levels that stand for classes.

    Args:
        image: (H, W, 1) uint8.
        num_classes: Number of classes.
        ignore_index: Number of pixels without a class, or None.

    Raises:
        UserError: A number is neither below ``num_classes`` nor ``ignore_index``. The message advises what fits the
            numbers that occur.
    """
    if image.max(initial=0) < num_classes:
        return
    counts = np.bincount(image.ravel(), minlength=_MAX_NUMBER + 1)
    numbers = np.flatnonzero(counts).tolist()
    wrong = [number for number in numbers if number >= num_classes and number != ignore_index]
    if not wrong:
        return
    is_void = wrong == [_MAX_NUMBER] and ignore_index is None
    void = "set ignore_index=255 if 255 marks pixels without a class"
    is_noisy = num_classes == 2 and counts[192:].sum() > 0 and counts[64:192].sum() <= _MAX_NOISE * counts.sum()
    if set(numbers) <= {0, _MAX_NUMBER} or is_noisy:  # by JPEG
        mask = "a mask of 0 and 255: set palette=[[0,0,0],[255,255,255]] in place of num_classes"
        raise UserError(mask + (f", or {void}" if is_void and num_classes != 2 else ""))
    if is_void:
        raise UserError(
            f"255 among the numbers of {num_classes} classes: {void}, or a palette where files hold colours"
        )
    if len(numbers) == num_classes > 2:
        palette = ",".join(f"[{level},{level},{level}]" for level in numbers)
        raise UserError(
            f"gray levels {', '.join(map(str, numbers))} in place of the numbers of {num_classes} classes: set "
            f"palette=[{palette}] in place of num_classes"
        )
    raise UserError(
        f"class number {wrong[-1]} in a side of {num_classes} classes: raise num_classes, or give a palette where "
        "files hold colours"
    )


def check_ignore_index(ignore_index: object, num_classes: int | None, *, has_palette: bool) -> None:
    """Check the class number that stands for no class.

    Args:
        ignore_index: The number, or None.
        num_classes: Number of classes of the side, None where it has no classes.
        has_palette: Whether its files hold the colours of a palette, and not class numbers.

    Raises:
        UserError: It is no number that a file can hold, has no effect, or leaves no class.
    """
    if ignore_index is None:
        return
    if num_classes is None:
        raise UserError(f"ignore_index={ignore_index} has no effect without classes: set kind=label, or leave it out")
    most = num_classes - 1 if has_palette else _MAX_NUMBER
    if type(ignore_index) is not int or not 0 <= ignore_index <= most:
        meaning = "the number of a colour of the palette" if has_palette else "a class number"
        raise UserError(f"ignore_index={ignore_index}: {meaning} is expected, from 0 to {most}")
    if num_classes == 1 and ignore_index == 0:
        raise UserError("ignore_index=0 of a side with one class, number 0: no class remains, leave it out")


def encode_classes(numbers: Tensor, num_classes: int, ignore_index: int | None, dtype: torch.dtype) -> Tensor:
    """Encode class numbers as one channel for each class.

    Args:
        numbers: (B, 1, H, W) integers.
        num_classes: Number of channels.
        ignore_index: Number of pixels that have no class: they are -1 in all channels.
        dtype: Type of the result.

    Returns:
        (B, num_classes, H, W), 1 where the class is and -1 elsewhere.
    """
    wanted = build_channel_numbers(num_classes, ignore_index, numbers.device)
    return (numbers.int() == wanted).to(dtype).mul_(2).sub_(1)


def build_channel_numbers(num_classes: int, ignore_index: int | None, device: torch.device) -> Tensor:
    """Return the class number of each channel.

    Args:
        num_classes: Number of channels.
        ignore_index: Number of pixels without a class, or None. If it is that of a channel, this is always off.
        device: Device of the result.

    Returns:
        (1, num_classes, 1, 1) integers, -1 for the channel that is off.
    """
    # made on the device: a copy of numbers to it would wait until it has done all else
    numbers = torch.arange(num_classes, dtype=torch.int32, device=device)[None, :, None, None]
    return numbers if ignore_index is None else torch.where(numbers == ignore_index, -1, numbers)


def decode_classes(values: Tensor, ignore_index: int | None, *, is_output: bool) -> Tensor:
    """Return the class number of each pixel.

    Args:
        values: (B, num_classes, H, W) floats in [-1, 1].
        ignore_index: Number of pixels that are -1 in all channels, or None.
        is_output: Whether a generator returned the values. It may return -1 in all channels, which then is a class.

    Returns:
        (B, H, W) integers; ``ignore_index`` is among them only where ``is_output`` is off.
    """
    classes = hide_ignored_channel(values, ignore_index).argmax(1)
    if ignore_index is None or is_output:
        return classes
    return torch.where(find_ignored(values)[:, 0], ignore_index, classes)


def hide_ignored_channel(output: Tensor, ignore_index: int | None) -> Tensor:
    """Return an output whose greatest channel at each pixel is that of a class.

    Args:
        output: (B, num_classes, H, W) floats.
        ignore_index: Number of pixels without a class, or None. If it is that of a channel, this becomes -infinity.

    Returns:
        (B, num_classes, H, W) floats.
    """
    if ignore_index is None or ignore_index >= output.shape[1]:
        return output
    numbers = build_channel_numbers(output.shape[1], ignore_index, output.device)
    return output.masked_fill(numbers < 0, -torch.inf)


def find_ignored(values: Tensor) -> Tensor:
    """Return which pixels have no class.

    Args:
        values: (B, num_classes, H, W), as ``encode_classes`` returns them.

    Returns:
        (B, 1, H, W) booleans.
    """
    return (values == NO_CLASS).all(1, keepdim=True)


def compute_level_step(num_classes: int, ignore_index: int | None) -> int:
    """Return by how many gray levels successive classes of a picture differ.

    Args:
        num_classes: Number of classes, of which the first is black.
        ignore_index: Number of pixels without a class, or None. If it is beyond the classes, white is left for it.
    """
    has_more = ignore_index is not None and ignore_index >= num_classes
    return _MAX_NUMBER // max(1, num_classes - 1 + has_more)
