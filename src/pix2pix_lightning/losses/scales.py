"""Losses of discriminators with one map of logits, or with several: the mean over the scales.

A mean, unlike a sum, gives a weight the same meaning for any number of scales.
"""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor

from pix2pix_lightning.utils.errors import UserError

__all__ = ["Features", "Logits", "mean_over_scales", "split_logits"]

Logits = Tensor | Sequence[Tensor]
Features = Sequence[Tensor] | Sequence[Sequence[Tensor]]


def mean_over_scales(loss: Callable[..., Tensor], *logits: Logits) -> Tensor:
    """Compute a loss of one scale on every scale, and return the mean.

    Args:
        loss: Takes one map (B, 1, h, w) of each of ``logits`` and returns a scalar.
        *logits: Each is one map, which is a single scale, or a sequence with a map for each scale.

    Returns:
        A scalar; for single maps that of ``loss`` itself.

    Raises:
        UserError: There are no maps, or not equally many in all of ``logits``.
    """
    scales = [[maps] if isinstance(maps, Tensor) else list(maps) for maps in logits]
    counts = [len(maps) for maps in scales]
    if counts[0] == 0 or len(set(counts)) > 1:
        raise UserError(f"logits of {counts} scales: give one map, or equally many, at least one, in each argument")
    if counts[0] == 1:
        return loss(*(maps[0] for maps in scales))
    return torch.stack([loss(*maps) for maps in zip(*scales, strict=True)]).mean()


def split_logits(features: Features) -> tuple[Features, Logits]:
    """Split what a discriminator's ``features`` returns into its inner layers and its logits.

    Args:
        features: Outputs of the layers, the last of them the logits, or such a list for each scale.

    Returns:
        The layers without the logits, and the logits, both for one scale or for each scale, as ``features`` is.
    """
    if isinstance(features[0], Tensor):
        *layers, logits = cast(Sequence[Tensor], features)
        return layers, logits
    scales = cast(Sequence[Sequence[Tensor]], features)
    return [layers[:-1] for layers in scales], [layers[-1] for layers in scales]
