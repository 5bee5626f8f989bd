"""Winograd's minimal filtering in inference, where weights are transformed once for many maps."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from pix2pix_lightning.compat import count_changes
from pix2pix_lightning.networks.fast_convolutions.convolution import Convolution
from pix2pix_lightning.networks.fast_convolutions.layers import FastConv2d, FastConvTranspose2d, is_float
from pix2pix_lightning.networks.fast_convolutions.winograd import convolve_transformed, transform_weight
from pix2pix_lightning.networks.patching import Forward, patch_forwards

__all__ = ["use_winograd"]


class _Kept(NamedTuple):
    """The transformed weight of a layer, and what tells that the layer's own is still the same."""

    key: tuple[int, int]
    sample: Tensor
    weight: Tensor


_MIN_CHANNELS = 160  # harmonic mean of a cell's channels, halved: below, the sums cost more than is spared
_MAX_WEIGHTS = 2**20  # of a cell; above, reading several times as many costs more than is spared
_MIN_TILES, _MAX_TILES = 64, 2048  # of a batch and of an image: the maps take memory
_SAMPLE = 64  # rows and columns of a weight that are compared, since writes by ``.data`` are not counted
_KEPT: WeakKeyDictionary[nn.Module, _Kept] = WeakKeyDictionary()  # not in the layers, so that no file has them


def use_winograd(network: nn.Module) -> AbstractContextManager[nn.Module]:
    """Put ``network`` in eval mode and compute its convolutions by Winograd's method, until the context ends.

    Only those that `convert_to_matmul` or `convert_to_winograd` has converted, and of them those that become faster: in
    float32 on a CPU, without gradients, of many channels and of enough positions. A value that is not finite spreads to
    its neighbours.

    Args:
        network: Any module. Transformed weights, up to six times as many as its own, are kept for further runs.

    Returns:
        A context of ``network`` itself.
    """
    return patch_forwards(network, _choose_forward)


def _choose_forward(index: int, name: str, module: nn.Module) -> Forward | None:
    if isinstance(module, FastConv2d | FastConvTranspose2d) and _is_suited(module):
        return partial(_convolve, module)
    return None


def _is_suited(module: FastConv2d | FastConvTranspose2d) -> bool:
    """Return whether the products of a cell outweigh the sums, and its weights do not outweigh the products."""
    convolution = Convolution.of(module)
    inputs = convolution.input_cell**2 * module.in_channels
    outputs = convolution.output_cell**2 * module.out_channels
    return _MIN_CHANNELS * (inputs + outputs) <= inputs * outputs <= _MAX_WEIGHTS


def _convolve(module: FastConv2d | FastConvTranspose2d, input: Tensor, *options: list[int] | None) -> Tensor:
    """Map (B, in, H, W) to (B, out, H', W')."""
    convolution = Convolution.of(module)
    if any(options) or torch.is_grad_enabled() or not is_float(module, input) or not _is_faster(convolution, input):
        forward: Forward = type(module).forward
        return forward(module, input, *options)
    frame = convolution.get_frame(*input.shape[2:])
    output = convolve_transformed(input, _get_weight(module, convolution), convolution, frame)
    return output if module.bias is None else output.add_(module.bias[:, None, None])


def _is_faster(convolution: Convolution, input: Tensor) -> bool:
    frame = convolution.get_frame(*input.shape[2:])
    rows, columns = convolution.count_tiles(frame)
    return min(frame.size) > 0 and rows * columns <= _MAX_TILES and len(input) * rows * columns >= _MIN_TILES


def _get_weight(module: FastConv2d | FastConvTranspose2d, convolution: Convolution) -> Tensor:
    """Return the transformed weight of a layer, which is kept until the layer's own changes."""
    weight = module.weight
    rows, columns = (max(1, side // _SAMPLE) for side in weight.shape[:2])
    sample = weight.detach()[::rows, ::columns]
    key = weight.data_ptr(), count_changes(weight)
    known = _KEPT.get(module)
    if known is None or known.key != key or not torch.equal(known.sample, sample):
        known = _Kept(key, sample.clone(), transform_weight(weight.detach(), convolution).contiguous())
        _KEPT[module] = known
    return known.weight
