"""Winograd's minimal filtering in inference, where weights are transformed once for many maps."""

from __future__ import annotations

from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from pix2pix_lightning.compat import count_changes
from pix2pix_lightning.networks.fast_convolutions.convolution import Convolution
from pix2pix_lightning.networks.fast_convolutions.winograd import (
    convolve_transformed,
    count_tiles,
    transform_weight,
    transpose_transformed,
)

__all__ = ["convolve", "forget_weight", "get_weight", "suits_kept_weight"]


class _Kept(NamedTuple):
    """The transformed weight of a layer, and what tells that the layer's own is still the same."""

    key: tuple[int, int]
    sample: Tensor
    weight: Tensor


_MIN_CHANNELS = 128  # harmonic mean of a cell's channels, halved: below, the sums cost more than is spared
_MAX_WEIGHTS = 2**21  # of a cell; above, reading several times as many costs more than is spared
_MIN_TILES = 64  # of a batch
_LARGE_WEIGHTS = 2**20  # of a cell, of a transposed convolution
_SAMPLE = 64  # rows and columns of a weight that are compared, since writes by ``.data`` are not counted
_KEPT: WeakKeyDictionary[nn.Module, _Kept] = WeakKeyDictionary()  # not in the layers, so that no file has them


def suits_kept_weight(module: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    """Return whether the products of a cell outweigh the sums, and its weights do not outweigh the products.

    Args:
        module: A layer of a square kernel without groups and dilation.
    """
    outputs, inputs = module.weight.shape[0], module.stride[0] ** 2 * module.weight.shape[1]
    return _MIN_CHANNELS * (inputs + outputs) <= inputs * outputs <= _MAX_WEIGHTS


def convolve(module: nn.Conv2d | nn.ConvTranspose2d, input: Tensor, padding: tuple[int, int]) -> Tensor | None:
    """Convolve maps without a bias by the transformed weight of a layer, without gradients, if they have enough tiles.

    Args:
        module: A layer of which `suits_kept_weight` is true.
        input: (B, in, H, W) of the type of the weight, float32 or float64.
        padding: The padding of rows and columns, instead of the layer's.

    Returns:
        (B, out, H', W'), channels last; None where there are few tiles.
    """
    convolution = Convolution.of(module)._replace(padding=padding)
    is_transposed = isinstance(module, nn.ConvTranspose2d)
    size = input.shape[2:] if is_transposed else convolution.get_output_size(*input.shape[2:])
    if min(size) <= 0 or len(input) * count_tiles(*size) < _MIN_TILES:
        return None
    method = transpose_transformed if is_transposed else convolve_transformed
    return method(input, get_weight(module), convolution)


def get_weight(module: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    """Return the transformed weight of a layer, which is kept until the layer's own changes."""
    weight = module.weight
    rows, columns = (max(1, side // _SAMPLE) for side in weight.shape[:2])
    sample = weight.detach()[::rows, ::columns]
    key = weight.data_ptr(), count_changes(weight)
    known = _KEPT.get(module)
    if known is None or known.key != key or not torch.equal(known.sample, sample):
        known = _Kept(key, sample.clone(), _transform(module))
        _KEPT[module] = known
    return known.weight


def forget_weight(module: nn.Module) -> None:
    """Give the memory of a layer's transformed weight back."""
    _KEPT.pop(module, None)


def _transform(module: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    """Transform a layer's weight, and store it in the order that the products read fastest."""
    is_small = module.weight.numel() < _LARGE_WEIGHTS * Convolution.of(module).kernel ** 2
    outputs_last = not (isinstance(module, nn.ConvTranspose2d) and is_small)
    return transform_weight(module.weight.detach(), Convolution.of(module), outputs_last=outputs_last)
