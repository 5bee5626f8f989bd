"""Strided convolutions of inference by Winograd's minimal filtering: 4 products in place of 9, and more additions.

A 4x4 convolution of stride 2 is a 2x2 convolution of stride 1 over cells of 2x2 pixels: of the input's cells for a
convolution, of the output's for a transposed one. F(3x3, 2x2) of Lavin and Gray ("Fast Algorithms for Convolutional
Neural Networks", arXiv 1509.09308) computes 3x3 cells of it with 16 products for each pair of channels instead of 36.
Its transforms of maps are additions alone, so that rounding stays that of float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from pix2pix_lightning.compat import count_changes
from pix2pix_lightning.networks.layers import is_traced
from pix2pix_lightning.networks.matmul_convolution import MatmulConv2d, MatmulConvTranspose2d, multiply_transposed
from pix2pix_lightning.networks.patching import Forward, patch_forwards

__all__ = ["use_winograd"]


class _Kept(NamedTuple):
    """The transformed weight of a layer, and what tells that the layer's own is still the same."""

    key: tuple[int, int]
    sample: Tensor
    weight: Tensor


_OUT, _IN = 3, 4  # cells of a tile's side
_MIN_CHANNELS = 160  # harmonic mean of a cell's channels, halved: below, the additions cost more than is spared
_MAX_WEIGHTS = 2**20  # of a cell; above, reading four times as many costs more than is spared
_MIN_TILES, _MAX_TILES = 64, 2048  # of a batch and of an image: the maps take memory
_THIN = 4  # output channels of a transposed convolution for which a matrix product is faster than the library's
_SAMPLE = 64  # rows and columns of a weight that are compared, since writes by ``.data`` are not counted
_KEPT: WeakKeyDictionary[nn.Module, _Kept] = WeakKeyDictionary()  # not in the layers, so that no file has them


def use_winograd(network: nn.Module) -> AbstractContextManager[nn.Module]:
    """Put ``network`` in eval mode and compute its convolutions by Winograd's method, until the context ends.

    Only those that `convert_to_matmul` has converted, and of them those that become faster: in float32 on a CPU,
    without gradients, of many channels and of enough positions. A value that is not finite spreads to its neighbours.

    Args:
        network: Any module. Its layers keep the transformed weights, four times as many as their own, for further runs.

    Returns:
        A context of ``network`` itself.
    """
    return patch_forwards(network, _choose_forward)


def _choose_forward(index: int, name: str, module: nn.Module) -> Forward | None:
    if isinstance(module, MatmulConv2d) and _is_suited(4 * module.in_channels, module.out_channels):
        return partial(_convolve, module)
    if isinstance(module, MatmulConvTranspose2d):
        if module.out_channels <= _THIN:
            return partial(_convolve_thin, module)
        if _is_suited(module.in_channels, 4 * module.out_channels):
            return partial(_convolve_transposed, module)
    return None


def _is_suited(inputs: int, outputs: int) -> bool:
    """Return whether the products of a cell outweigh the additions, and its weights do not outweigh the products."""
    return _MIN_CHANNELS * (inputs + outputs) <= inputs * outputs <= _MAX_WEIGHTS


def _convolve(module: MatmulConv2d, input: Tensor) -> Tensor:
    """Map (B, in, H, W) to (B, out, H/2, W/2)."""
    height, width = input.shape[2] // 2, input.shape[3] // 2
    rows, columns = _count_tiles(height), _count_tiles(width)
    if input.shape[2] % 2 or input.shape[3] % 2 or not _is_faster(module, input, rows * columns):
        return type(module).forward(module, input)
    weight = _get_weight(module, (1, 0, 4, 5, 3, 2), mirrored=False)

    def run(maps: Tensor) -> Tensor:
        padded = _pad(maps, 2 * (_OUT * rows + 1), 2 * (_OUT * columns + 1))
        cells = padded.view(len(maps), _OUT * rows + 1, 2, _OUT * columns + 1, -1)
        return _multiply_tiles(cells, weight, rows, columns, num_rows=1)[:, :height, 0, :width]

    return _run_groups(run, module.bias, input, rows * columns, weight)


def _convolve_transposed(module: MatmulConvTranspose2d, input: Tensor, output_size: list[int] | None = None) -> Tensor:
    """Map (B, in, H, W) to (B, out, 2H, 2W)."""
    height, width = input.shape[2:]
    rows, columns = _count_tiles(height + 1), _count_tiles(width + 1)  # the output's border of a pixel is cut off
    if output_size is not None or not _is_faster(module, input, rows * columns):
        return type(module).forward(module, input, output_size)
    weight = _get_weight(module, (1, 0, 2, 4, 5, 3), mirrored=True)

    def run(maps: Tensor) -> Tensor:
        cells = _pad(maps, _OUT * rows + 1, _OUT * columns + 1)[:, :, None]
        pixels = _multiply_tiles(cells, weight, rows, columns, num_rows=2)
        pixels = pixels.view(len(maps), 2 * _OUT * rows, 2 * _OUT * columns, module.out_channels)
        return pixels[:, 1 : 2 * height + 1, 1 : 2 * width + 1]

    return _run_groups(run, module.bias, input, rows * columns, weight)


def _convolve_thin(module: MatmulConvTranspose2d, input: Tensor, output_size: list[int] | None = None) -> Tensor:
    if output_size is not None or not _is_plain(module, input) or input.shape[2:].numel() > _MAX_TILES * _OUT**2:
        return type(module).forward(module, input, output_size)
    output = multiply_transposed(input, module.weight)
    return output if module.bias is None else output + module.bias[:, None, None]


def _is_faster(module: nn.Conv2d | nn.ConvTranspose2d, input: Tensor, tiles: int) -> bool:
    return _is_plain(module, input) and tiles <= _MAX_TILES and len(input) * tiles >= _MIN_TILES


def _is_plain(module: nn.Conv2d | nn.ConvTranspose2d, input: Tensor) -> bool:
    """Return whether a layer runs on a batch of float32 on a CPU, without gradients and under no tracer."""
    is_float = input.dtype == module.weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return is_float and input.ndim == 4 and input.device.type == "cpu" and not (torch.is_grad_enabled() or is_traced())


def _count_tiles(side: int) -> int:
    return -(-side // _OUT)


def _run_groups(
    run: Callable[[Tensor], Tensor], bias: Tensor | None, input: Tensor, tiles: int, weight: Tensor
) -> Tensor:
    """Run a function of maps (B, H, W, C) on groups of images, each of ``tiles``, and add the bias."""
    inputs, outputs = weight.shape[1:]
    # as many tiles as it takes to read much less of the weights than of the maps, which then stay in the cache
    at_once = inputs * outputs * 3 // (5 * (inputs + outputs))
    maps = input.permute(0, 2, 3, 1)
    output = torch.cat([run(group) for group in torch.split(maps, max(1, at_once // tiles))])
    return (output if bias is None else output.add_(bias)).permute(0, 3, 1, 2)


def _pad(maps: Tensor, height: int, width: int) -> Tensor:
    """Return maps (B, H, W, C) with a border of a pixel at the top and the left, and zeros up to the given sides."""
    padded = maps.new_zeros(len(maps), height, width, maps.shape[3])
    padded[:, 1 : maps.shape[1] + 1, 1 : maps.shape[2] + 1] = maps
    return padded


def _multiply_tiles(cells: Tensor, weight: Tensor, rows: int, columns: int, *, num_rows: int) -> Tensor:
    """Convolve cells with 2x2 kernels, 3x3 cells at a time.

    Args:
        cells: (B, 3 * rows + 1, p, 3 * columns + 1, k): cells of p rows of pixels, with k values of each row.
        weight: (16, p * k, q * n), of `_get_weight`.
        rows: Tiles on top of each other.
        columns: Tiles next to each other.
        num_rows: Rows q of a cell of the output.

    Returns:
        (B, 3 * rows, q, 3 * columns, n).
    """
    batch, _, height, width, values = cells.shape
    halfway = cells.new_empty(_IN, batch, rows, height, width, values)
    _combine_inputs([cells[:, place:][:, : _OUT * rows : _OUT] for place in range(_IN)], halfway)
    tiles = cells.new_empty(_IN, _IN, batch, rows, columns, height, values)
    parts = [halfway[:, :, :, :, place:][:, :, :, :, : _OUT * columns : _OUT].transpose(3, 4) for place in range(_IN)]
    _combine_inputs(parts, tiles.transpose(0, 1))

    products = torch.bmm(tiles.view(_IN**2, -1, height * values), weight)
    products = products.view(_IN, _IN, batch, rows, columns, num_rows, -1)
    summed = torch.empty_like(products[:_OUT])
    _combine_products(products, summed)
    output = cells.new_empty(batch, rows, _OUT, num_rows, columns, _OUT, products.shape[-1])
    _combine_products(summed.transpose(0, 1), output.permute(5, 2, 0, 1, 4, 3, 6))
    return output.view(batch, _OUT * rows, num_rows, _OUT * columns, -1)


def _combine_inputs(cells: Sequence[Tensor], out: Tensor) -> None:
    """Write what is multiplied along one axis of the tiles, from their four cells."""
    torch.sub(cells[0], cells[2], out=out[0])
    torch.add(cells[1], cells[2], out=out[1])
    torch.sub(cells[2], cells[1], out=out[2])
    torch.sub(cells[3], cells[1], out=out[3])


def _combine_products(products: Tensor, out: Tensor) -> None:
    """Write the three cells of the tiles along one axis, from the four products."""
    middle = torch.add(products[1], products[2])
    torch.add(products[0], middle, out=out[0])
    torch.sub(products[1], products[2], out=out[1])
    torch.add(products[3], middle, out=out[2])


def _get_weight(module: nn.Conv2d | nn.ConvTranspose2d, order: tuple[int, ...], *, mirrored: bool) -> Tensor:
    """Return the transformed weight of a layer, (16, inputs, outputs), which the layer keeps until its own changes."""
    weight = module.weight
    rows, columns = (max(1, side // _SAMPLE) for side in weight.shape[:2])
    sample = weight.detach()[::rows, ::columns]
    key = weight.data_ptr(), count_changes(weight)
    known = _KEPT.get(module)
    if known is None or known.key != key or not torch.equal(known.sample, sample):
        kernel = weight.detach().reshape(*weight.shape[:2], 2, 2, 2, 2)  # cell y, pixel y, cell x, pixel x
        kernel = kernel.flip(2, 4) if mirrored else kernel
        kernel = _combine_weights(_combine_weights(kernel, 2), 4).permute(order)
        inputs = kernel.shape[2:-1].numel() if not mirrored else kernel.shape[2]
        known = _Kept(key, sample.clone(), kernel.reshape(_IN**2, inputs, -1).contiguous())
        _KEPT[module] = known
    return known.weight


def _combine_weights(kernel: Tensor, dim: int) -> Tensor:
    """Return the four weights of an axis of the tiles, as a new first axis, of the two along ``dim``."""
    first, second = kernel.unbind(dim)
    return torch.stack([first, (first + second) / 2, (first - second) / 2, second])
