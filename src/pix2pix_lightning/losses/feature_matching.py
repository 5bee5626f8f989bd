"""Feature matching: a generated pair should look real to the discriminator's inner layers."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from pix2pix_lightning.losses.precision import widen_to_float32
from pix2pix_lightning.losses.scales import Features
from pix2pix_lightning.utils.errors import UserError

__all__ = ["feature_matching"]


def feature_matching(real: Features, fake: Features) -> Tensor:
    """Compare a real and a generated pair by the discriminator's layers (pix2pixHD, arXiv 1711.11585, section 3.3).

    Args:
        real: Outputs of the discriminator's layers for the real pair, each (B, C_i, h_i, w_i), without the logits, or
            such a list for each scale. They are a target: no gradient reaches them.
        fake: The same layers' outputs for the generated pair.

    Returns:
        The mean over scales of the mean over layers of each layer's mean absolute difference: a scalar, in float32 at
        least. pix2pixHD sums over both.

    Raises:
        UserError: There are no layers, or not equally many in ``real`` and ``fake``.
    """
    real_scales, fake_scales = _as_scales(real), _as_scales(fake)
    real_counts, fake_counts = ([len(layers) for layers in scales] for scales in (real_scales, fake_scales))
    if not all(real_counts) or not real_counts or real_counts != fake_counts:
        raise UserError(
            f"feature matching needs equally many layers, got {real_counts} real and {fake_counts} fake: "
            "give it the same layers of one discriminator, at least one"
        )
    scales = [_compare(*layers) for layers in zip(real_scales, fake_scales, strict=True)]
    return scales[0] if len(scales) == 1 else torch.stack(scales).mean()


def _compare(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    layers = [
        F.l1_loss(widen_to_float32(fake_layer), widen_to_float32(real_layer.detach()))
        for real_layer, fake_layer in zip(real, fake, strict=True)
    ]
    return torch.stack(layers).mean()


def _as_scales(features: Features) -> list[Sequence[Tensor]]:
    if not features or isinstance(features[0], Tensor):
        return [cast(Sequence[Tensor], features)]
    return list(cast(Sequence[Sequence[Tensor]], features))
