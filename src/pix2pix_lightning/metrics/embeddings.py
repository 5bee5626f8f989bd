"""EmbeddingMetric: a metric of the distributions of outputs and of targets, each image being one vector."""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from pix2pix_lightning.metrics.feature_extractor import DEFAULT_FEATURES, LEAST_SIDE, FeatureSpec, get_extractor

__all__ = ["LEAST_IMAGES", "EmbeddingMetric"]

LEAST_IMAGES = 2
"""Images below which a distribution has no spread, and its distance from another one is not defined."""
_log = logging.getLogger(__name__)


class EmbeddingMetric(Metric):
    """Compare the embeddings of all outputs with those of all targets.

    Embeddings are kept between batches, images are not. Several processes gather them.

    Args:
        features: A pretrained network, as for `FeatureExtractor`.

    Raises:
        UserError: The network cannot be loaded.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    _has_told = False

    preds_embeddings: list[Tensor]
    target_embeddings: list[Tensor]

    def __init__(self, features: FeatureSpec = DEFAULT_FEATURES) -> None:
        super().__init__()
        self.extractor = get_extractor(features)
        self.extractor.wants_embeddings = True
        self.add_state("preds_embeddings", default=[], dist_reduce_fx="cat")
        self.add_state("target_embeddings", default=[], dist_reduce_fx="cat")

    def update(self, preds: Tensor, target: Tensor, target_embeddings: Tensor | None = None) -> None:
        """Add a batch of pairs.

        Args:
            preds: Outputs (B, 1 or 3, H, W) in [0, 1].
            target: Targets of the same shape.
            target_embeddings: (B, D) of ``target``, where they are known already.
        """
        if target_embeddings is None:
            target_embeddings = self.extractor.compute_embeddings(target)
        self.preds_embeddings.append(self.extractor.compute_embeddings(preds))
        self.target_embeddings.append(target_embeddings)

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gather the embeddings of all processes; one that has seen no image gives none, with their length."""
        if not len(self.preds_embeddings) and self.distributed_available_fn():
            image = torch.zeros(1, 3, 2 * LEAST_SIDE, 2 * LEAST_SIDE, device=self.device)
            none = self.extractor.compute_embeddings(image)[:0]
            self.preds_embeddings.append(none)
            self.target_embeddings.append(none)
        super().sync(*args, **kwargs)

    def compute(self) -> Tensor:
        """Return the value over all images so far, a scalar; NaN for fewer than two, with a warning."""
        preds, target = self._collect()
        is_defined = len(preds) >= LEAST_IMAGES
        if not is_defined and not self._has_told:
            self._has_told = True
            _log.warning("%s needs %d images, and has %d: it is NaN", type(self).__name__, LEAST_IMAGES, len(preds))
        return torch.tensor(self.compute_value(preds, target) if is_defined else math.nan, device=self.device)

    @abstractmethod
    def compute_value(self, preds: Tensor, target: Tensor) -> float:
        """Return the value for embeddings (N, D) of outputs and of targets, float64."""

    def _collect(self) -> tuple[Tensor, Tensor]:
        """Return the embeddings of all outputs and of all targets, (N, D) in float64 on the CPU."""
        states = self.preds_embeddings, self.target_embeddings
        empty = torch.zeros(0, 1)
        preds, target = (dim_zero_cat(state if len(state) else [empty]).double().cpu() for state in states)
        return preds, target
