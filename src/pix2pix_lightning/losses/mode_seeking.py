"""Mode seeking: two outputs of one source with different noise should differ."""

import torch
from torch import Tensor

from pix2pix_lightning.losses.masking import compute_masked_loss
from pix2pix_lightning.losses.precision import widen_to_float32

__all__ = ["mode_seeking"]

_LEAST = 1e-5  # as in the authors' implementation: a limit for outputs that are equal


def mode_seeking(one: Tensor, other: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compute the inverse of the distance between outputs (Mao et al., arXiv 1903.05628, equation 2).

    The paper divides the distance by that of the two noises. Here they are independent draws of several numbers, whose
    distance hardly varies, so it is left out.

    Args:
        one: Outputs (B, C, H, W).
        other: Outputs of the same sources with other noise, equal to ``one`` where a pixel does not count.
        mask: (B, 1, H, W) booleans, True where a pixel counts; None: everywhere.

    Returns:
        1 / (mean absolute difference + 1e-5), a scalar in float32 at least; 0 if no pixel counts.
    """
    distance = compute_masked_loss(torch.nn.L1Loss(), widen_to_float32(one), widen_to_float32(other), mask)
    value = 1 / (distance + _LEAST)
    return value if mask is None else value * mask.any()
