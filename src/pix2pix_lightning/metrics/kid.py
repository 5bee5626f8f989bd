"""Kernel distance (KID) of the distributions of outputs and of targets."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pix2pix_lightning.metrics.embeddings import EmbeddingMetric
from pix2pix_lightning.metrics.feature_extractor import DEFAULT_FEATURES, FeatureSpec
from pix2pix_lightning.utils.checks import check_counts
from pix2pix_lightning.utils.resampling import draw_counts

__all__ = ["KID", "compute_kernel"]

_SEED = 0  # of subsets and of draws
_Z = 1.959964  # of a 95 % interval


class KID(EmbeddingMetric):
    """Unbiased estimate of the squared maximum mean discrepancy of the embeddings (Binkowski et al., arXiv 1801.01401).

    The kernel is ``(x . y / D + 1)^3``. The value does not grow as images get fewer, and may be a little below 0. Up
    to two subsets of images it is that of all of them; of more, the mean over random subsets, as published.

    Args:
        features: A pretrained network, as for `FeatureExtractor`.
        subset_size: Number of pairs in a subset.
        num_subsets: Number of subsets.

    Raises:
        UserError: The network cannot be loaded, or a number is below 2.
    """

    def __init__(
        self, features: FeatureSpec = DEFAULT_FEATURES, *, subset_size: int = 1_000, num_subsets: int = 100
    ) -> None:
        super().__init__(features)
        check_counts(at_least=2, subset_size=subset_size, num_subsets=num_subsets)
        self.subset_size = subset_size
        self.num_subsets = num_subsets

    def compute_value(self, preds: Tensor, target: Tensor) -> float:
        """Return the distance for embeddings (N, D) of outputs and of targets, float64, of two images at least."""
        return float(self._compute_subsets(preds, target).mean())

    def compute_interval(self) -> tuple[float, float]:
        """Return the ends of the 95 % interval of the value over the images so far; NaN for fewer than two.

        Pairs of output and target are drawn again with replacement. An image that is drawn twice is not compared with
        itself, so that the draws are unbiased too. Of more images than two subsets it follows from the spread of the
        subsets' values, whose variance falls with the number of images.
        """
        preds, target = self._collect()
        num_images = len(preds)
        if num_images < 2:
            return math.nan, math.nan
        if num_images <= 2 * self.subset_size:
            pairs = _PairKernel(preds, target)
            draws = draw_counts(num_images, seed=_SEED)
            drawn = torch.cat([pairs.compute_weighted(torch.from_numpy(counts).double()) for counts in draws])
            low, high = drawn.nanquantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
            return low, high
        values = self._compute_subsets(preds, target)
        share = self.subset_size / num_images
        # subsets without replacement vary less than new images would, by 1 - share
        variance = values.var().item() * (share / (1 - share) + 1 / self.num_subsets)
        centre, half = float(values.mean()), _Z * math.sqrt(variance)
        return centre - half, centre + half

    def _compute_subsets(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the value of each subset; a single one of all images where these are few."""
        num_images = len(preds)
        if num_images <= 2 * self.subset_size:
            return _PairKernel(preds, target).compute_weighted(preds.new_ones(1, num_images))
        generator = torch.Generator().manual_seed(_SEED)
        ones = preds.new_ones(1, self.subset_size)
        values = []
        for _ in range(self.num_subsets):
            drawn = torch.randperm(num_images, generator=generator)[: self.subset_size]
            values.append(_PairKernel(preds[drawn], target[drawn], num_images).compute_weighted(ones))
        return torch.cat(values)


class _PairKernel:
    """Kernel matrices of pairs, from which the value for any number of copies of each pair follows.

    The kernel of an output with its own target has the weight ``1 / N`` that it has among all pairs of output and
    target, also where a pair is drawn several times.

    Args:
        preds: Embeddings of outputs, (n, D).
        target: Embeddings of their targets, (n, D).
        num_images: Number N of images of which the pairs are a subset; None: n.
    """

    def __init__(self, preds: Tensor, target: Tensor, num_images: int | None = None) -> None:
        self._own_share = 1 / (num_images or len(preds))
        cross = compute_kernel(preds, target)
        self._own = cross.diagonal().clone()
        self._others = compute_kernel(preds, preds) + compute_kernel(target, target)
        self._others -= (1 - self._own_share) * (cross + cross.T)
        self._others.fill_diagonal_(0)

    def compute_weighted(self, counts: Tensor) -> Tensor:
        """Return the value for each row of counts, (S, n) in float64, as (S,); NaN where all copies are of one pair."""
        total = counts.sum(1)
        num_others = total.square() - counts.square().sum(1)
        others = ((counts @ self._others) * counts).sum(1) / num_others
        return others - 2 * self._own_share * (counts @ self._own) / total


def compute_kernel(one: Tensor, other: Tensor) -> Tensor:
    """Return the kernel ``(x . y / D + 1)^3`` of embeddings (N, D) and (M, D), as (N, M)."""
    return (one @ other.T / one.shape[1] + 1) ** 3
