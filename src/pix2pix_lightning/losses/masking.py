"""Losses over the pixels that count: those of a mask, without a choice of pixels that a device would be waited for."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["compute_masked_loss", "replace_masked"]

_PIXEL_MEANS = (nn.L1Loss, nn.MSELoss, nn.SmoothL1Loss, nn.HuberLoss)  # 0 for a pixel that equals its target


def replace_masked(output: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    """Return an output that equals its target where that does not count: no loss and no gradient comes from there.

    Args:
        output: A generator's output, (B, C, H, W).
        target: What it should be, (B, C, H, W).
        mask: (B, 1, H, W) booleans, True where a pixel counts; None: everywhere.

    Returns:
        (B, C, H, W) in the type of ``output``.
    """
    return output if mask is None else torch.where(mask, output, target.to(output.dtype))


def compute_masked_loss(loss: nn.Module, output: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    """Compute a reconstruction loss over the pixels that count.

    Mean L1, L2, smooth L1 and Huber losses are exactly the mean over the pixels of the batch that count, 0 if there is
    none. A loss whose attribute ``takes_mask`` is true gets the mask as its third argument. In any other loss the
    pixels that do not count are equal.

    Args:
        loss: A loss of (output, target).
        output: (B, C, H, W), as ``replace_masked`` returns it.
        target: (B, C, H, W).
        mask: As for ``replace_masked``.

    Returns:
        A scalar.
    """
    if getattr(loss, "takes_mask", False):
        masked: Tensor = loss(output, target, mask)
        return masked
    value: Tensor = loss(output, target)
    if mask is None or not (isinstance(loss, _PIXEL_MEANS) and loss.reduction == "mean"):
        return value
    share = mask.to(torch.promote_types(value.dtype, torch.float32)).mean()
    return value / share.clamp_min(1 / mask.numel())
