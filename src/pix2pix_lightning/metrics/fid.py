"""Fréchet distance of the distributions of outputs and of targets."""

from __future__ import annotations

import logging
import math

import torch
from torch import Tensor

from pix2pix_lightning.metrics.embeddings import EmbeddingMetric

__all__ = ["FID", "compute_frechet_distance"]

_log = logging.getLogger(__name__)
_ENOUGH = 2_000
"""Images below which the value depends on their number more than on what they show."""


class FID(EmbeddingMetric):
    """Fréchet distance of two normal distributions with the means and covariances of the embeddings (arXiv 1706.08500).

    It is 0 for equal images. Few images make it too high, so only values of equally many images can be compared. It
    equals published values with their network (Inception) and resizing only.
    """

    _has_warned = False

    def compute_value(self, preds: Tensor, target: Tensor) -> float:
        """Return the distance for embeddings (N, D) of outputs and of targets, float64; warn once where N is small."""
        if len(preds) < _ENOUGH and not self._has_warned:
            self._has_warned = True
            _log.warning(
                "FID of %d images is too high, and can be compared with that of as many images alone: use kid below %d",
                len(preds),
                _ENOUGH,
            )
        return compute_frechet_distance(preds, target)


def compute_frechet_distance(one: Tensor, other: Tensor) -> float:
    """Compute ``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`` of means m and covariances C.

    The trace of the root is the sum of singular values of the product of the centred embeddings, which needs no
    covariance of D x D, and is exact for fewer images than dimensions.

    Args:
        one: Embeddings (N, D), float64.
        other: Embeddings (M, D), float64.

    Returns:
        The distance; NaN where there are fewer than two embeddings.
    """
    if min(len(one), len(other)) < 2:
        return math.nan
    roots = []
    for embeddings in (one, other):
        centred = (embeddings - embeddings.mean(0)) / math.sqrt(len(embeddings) - 1)
        # R of QR has the same covariance in at most D rows
        roots.append(torch.linalg.qr(centred, mode="r").R if len(centred) > centred.shape[1] else centred)
    root_trace = torch.linalg.svdvals(roots[1] @ roots[0].T).sum()
    traces = sum(root.square().sum() for root in roots)
    distance = (one.mean(0) - other.mean(0)).square().sum() + traces - 2 * root_trace
    return float(distance)
