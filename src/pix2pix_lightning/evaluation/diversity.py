"""Diversity: how much several outputs of one source differ, as Zhu et al. measure it (BicycleGAN, arXiv 1711.11586)."""

from __future__ import annotations

import logging
from itertools import combinations

import numpy as np
import torch

from pix2pix_lightning.data.sides import Side
from pix2pix_lightning.evaluation.bootstrap import bootstrap
from pix2pix_lightning.evaluation.measures import Merge, find_obstacle
from pix2pix_lightning.evaluation.scores import Array, Scores, TranslatedPair, compute_fractions
from pix2pix_lightning.metrics import (
    LEAST_SIDE,
    FeatureSpec,
    MetricInfo,
    average_pixels,
    compute_perceptual_distances,
    get_extractor,
)
from pix2pix_lightning.utils.errors import UserError

_log = logging.getLogger(__name__)
_FIRST = "All other figures are those of the first output of each source."
_INFOS = (
    MetricInfo(
        "diversity",
        "Diversity",
        "unknown",
        description="Mean perceptual distance between outputs of the same source with different noise; 0 where they "
        f"are all equal. Bad outputs may differ more than good ones. {_FIRST}",
        targets="pictures",
        least_side=LEAST_SIDE,
        uses_features=True,
    ),
    MetricInfo(
        "diversity_l1",
        "Diversity (L1)",
        "unknown",
        unit="fraction of the range",
        description="Mean absolute difference between outputs of the same source with different noise, as a fraction "
        f"of the range. {_FIRST}",
        targets="pictures",
    ),
)


class DiversityJudge:
    """Compare each output of a source with each other one.

    Args:
        features: The pretrained network, as for `metrics.FeatureExtractor`.
        target: What a target's pixels mean.
        side: Shorter side of the images in pixels.

    Attributes:
        infos: What is known about what it measures.

    Raises:
        UserError: The targets are no pictures or are too small, or the network cannot be loaded or has no layers.
    """

    infos = _INFOS

    def __init__(self, features: FeatureSpec, target: Side, side: int) -> None:
        if reason := find_obstacle(_INFOS[0], target, side):
            raise UserError(f"samples: diversity {reason}; leave samples out")
        self._extractor = get_extractor(features)
        if not self._extractor.has_layers:
            raise UserError(f"features={self._extractor.name} has no layers that diversity could compare: choose lite1")
        self._extractor.wants_layers = True
        self._target = target
        self._rows: list[list[float]] = []

    def add(self, pair: TranslatedPair) -> None:
        """Measure the outputs of a source.

        Args:
            pair: The pair as files hold it, with one other translation at least.
        """
        outputs, _ = compute_fractions(pair, self._target)
        # one by one: in a batch equal images may get features that differ in the last digit
        layers = [self._extractor.compute_layers(output) for output in outputs]
        weights = self._extractor.layer_weights
        distances = [compute_perceptual_distances(*both, weights) for both in combinations(layers, 2)]
        differences = [average_pixels((one - other).abs(), pair.mask) for one, other in combinations(outputs, 2)]
        self._rows.append([torch.stack(values).double().mean().item() for values in (distances, differences)])

    def merge(self, merge: Merge) -> None:
        """Take the values of the pairs of all processes, as `Measurement.merge` does."""
        self._rows = merge(self._rows)

    def add_scores(self, scores: Scores) -> Scores:
        """Return the scores with the diversity of each source that was added, and its mean.

        Args:
            scores: Scores of the same pairs.

        Raises:
            UserError: A metric has one of the names.
        """
        columns: list[Array] = list(np.array(self._rows).T)
        if self._rows and not columns[1].any():
            _log.warning("samples: outputs of a source are all equal, as without noise, so that diversity is 0")
        results = {info.name: (values, bootstrap(values)) for info, values in zip(_INFOS, columns, strict=True)}
        return scores.extend(results, _INFOS)
