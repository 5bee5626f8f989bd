"""Concatenation of maps along their channels, with dense gradients, alone and together with ReLU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pix2pix_lightning.compat import compute_relu_gradient
from pix2pix_lightning.networks.layers import is_traced

__all__ = ["CatReLU", "cat_dense_grad", "cat_relu"]


class CatReLU(nn.ReLU):
    """ReLU of a map, or of two that it concatenates."""

    def forward(self, *maps: Tensor) -> Tensor:
        """Map one or two maps (B, ..., H, W), the channels of the first in front, to one."""
        return cat_relu(*maps) if len(maps) == 2 else F.relu(maps[0])


def cat_dense_grad(first: Tensor, second: Tensor) -> Tensor:
    """Concatenate maps along their channels.

    The result is that of `torch.cat`, the gradients are dense. `torch.cat` gives views into a larger tensor as
    gradients, with which the backward pass of a batch norm takes fifty times as long on a CPU.

    Args:
        first: Maps (B, C, H, W).
        second: Maps (B, C', H, W).

    Returns:
        (B, C + C', H, W).
    """
    # Compilers and tracers plan the layout themselves, and do not look into a custom function.
    if is_traced() or not (first.requires_grad or second.requires_grad):
        return torch.cat([first, second], dim=1)
    both: Tensor = _CatDenseGrad.apply(first, second)  # type: ignore[no-untyped-call]
    return both


def cat_relu(first: Tensor, second: Tensor) -> Tensor:
    """Compute the ReLU of concatenated maps, in one pass over them, and one over their gradients, which are dense.

    Args:
        first: Maps (B, C, H, W).
        second: Maps (B, C', H, W).

    Returns:
        (B, C + C', H, W).
    """
    if is_traced() or first.dtype != second.dtype:
        return F.relu(cat_dense_grad(first, second))
    both: Tensor = _CatReLU.apply(first, second)  # type: ignore[no-untyped-call]
    return both


class _CatDenseGrad(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(first: Tensor, second: Tensor) -> Tensor:
        return torch.cat([first, second], dim=1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.split = inputs[0].shape[1]

    @staticmethod
    def jvp(ctx: Any, first: Tensor, second: Tensor) -> Tensor:
        return torch.cat([first, second], dim=1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        layout = _get_layout(gradient)
        first, second = (
            part.contiguous(memory_format=layout) if needed else None
            for part, needed in zip(_split(gradient, ctx.split), ctx.needs_input_grad, strict=True)
        )
        return first, second


class _CatReLU(torch.autograd.Function):
    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *maps: Tensor) -> tuple[Tensor, int]:
        return torch.func.vmap(lambda *both: F.relu(torch.cat(both, dim=1)), in_dims)(*maps), 0

    @staticmethod
    def forward(first: Tensor, second: Tensor) -> Tensor:
        return _join(first, second)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.split = inputs[0].shape[1]
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def jvp(ctx: Any, first: Tensor, second: Tensor) -> Tensor:
        (output,) = ctx.saved_tensors
        slopes: Tensor = (output > 0).to(output.dtype)
        return torch.cat([first, second], dim=1) * slopes

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (output,) = ctx.saved_tensors
        parts = zip(_split(gradient, ctx.split), _split(output, ctx.split), ctx.needs_input_grad, strict=True)
        first, second = (compute_relu_gradient(*part) if needed else None for *part, needed in parts)
        return first, second


def _join(first: Tensor, second: Tensor) -> Tensor:
    """Return the ReLU of both, one after the other along the channels."""
    size = len(first), first.shape[1] + second.shape[1], *first.shape[2:]
    both = torch.empty(size, dtype=first.dtype, device=first.device, memory_format=_get_layout(first))
    for maps, part in zip((first, second), _split(both, first.shape[1]), strict=True):
        torch.clamp_min(maps, 0, out=part)
    return both


def _split(maps: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    return maps[:, :channels], maps[:, channels:]


def _get_layout(maps: Tensor) -> torch.memory_format:
    # A map of one pixel is contiguous in both layouts: only what is channels last alone is treated as such. Within
    # torch.func.vmap a tensor does not say whether it is channels last.
    is_last = maps.stride(1) == 1 and maps.shape[2:].numel() > 1 and maps.shape[1] > 1
    return torch.channels_last if is_last else torch.contiguous_format
