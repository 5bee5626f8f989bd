"""Feature matching: the generated pair is to look real to the discriminator's inner layers."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from pix2pix_lightning.losses.precision import at_least_float32

__all__ = ["feature_matching"]


def feature_matching(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Compare a real and a generated pair by the discriminator's layers (pix2pixHD, arXiv 1711.11585, 3.3).

    Args:
        real: Outputs of the discriminator's layers for the real pair, each (B, C_i, h_i, w_i), without the
            logits. They are a target: no gradient reaches them.
        fake: The same for the generated pair.

    Returns:
        The mean over layers of each layer's mean absolute difference, a scalar, in float32 at least.

    Raises:
        ValueError: If there are no layers, or not equally many on both sides.
    """
    if not real or len(real) != len(fake):
        raise ValueError(
            f"feature matching needs equally many layers, got {len(real)} real and {len(fake)} fake: "
            "give it the same layers of one discriminator, at least one"
        )
    layers = [
        F.l1_loss(at_least_float32(fake_layer), at_least_float32(real_layer.detach()))
        for real_layer, fake_layer in zip(real, fake, strict=True)
    ]
    return torch.stack(layers).mean()
