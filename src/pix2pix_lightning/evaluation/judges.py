"""The judges of an evaluation: what is measured besides the metrics, which compare an output with its target."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from omegaconf import DictConfig

from pix2pix_lightning.checkpoints.files import infer_checkpoint_kind, open_checkpoint
from pix2pix_lightning.evaluation.diversity import DiversityJudge
from pix2pix_lightning.evaluation.measures import Merge
from pix2pix_lightning.evaluation.scores import Scores, TranslatedPair
from pix2pix_lightning.evaluation.semantic import SemanticJudge, take_semantic
from pix2pix_lightning.inference import Translator
from pix2pix_lightning.inference.from_config import build_segmenter
from pix2pix_lightning.inference.translate_files import check_noise
from pix2pix_lightning.metrics import FeatureSpec, MetricInfo
from pix2pix_lightning.networks.features import FEATURES
from pix2pix_lightning.utils.checks import check_counts

_log = logging.getLogger(__name__)


class Judge(Protocol):
    """What looks at each pair as files hold it, with a network of its own or at several outputs, and has scores then.

    Flicker is none, since it is measured between pairs, in the pictures that were written.

    Attributes:
        infos: What is known about its scores.
    """

    @property
    def infos(self) -> Sequence[MetricInfo]: ...  # noqa: D102

    def add(self, pair: TranslatedPair) -> None:
        """Measure a pair."""

    def merge(self, merge: Merge) -> None:
        """Take what is known of the pairs of all processes, as `Measurement.merge` does."""

    def add_scores(self, scores: Scores) -> Scores:
        """Return the scores of the same pairs with those of the judge."""


def warn_of_trained_network(checkpoint: Path, features: FeatureSpec) -> None:
    """Warn if a model is to be judged by the pretrained network that it was trained with.

    Args:
        checkpoint: The file that is measured.
        features: The pretrained network, as for ``choose_metrics``.
    """
    if infer_checkpoint_kind(checkpoint) != "training":
        return
    with open_checkpoint(checkpoint, skip=None) as saved:
        names = set(_find_pretrained(saved["hyper_parameters"]))
    if isinstance(features, str) and features in names:
        others = " or ".join(name for name in FEATURES if name not in names)
        _log.warning(
            "features=%s is the network that this model was trained with, so its figures are too good: set features=%s",
            features,
            others,
        )


def _find_pretrained(description: Any) -> Iterator[str]:
    """Return the pretrained networks that a description names at any depth."""
    if isinstance(description, Mapping):
        for key, value in description.items():
            yield from [value] if key == "pretrained" and isinstance(value, str) else _find_pretrained(value)


def build_judges(
    cfg: DictConfig, requested: Any, translator: Translator, features: FeatureSpec
) -> tuple[Any, list[Judge]]:
    """Build the judges that an evaluation asks for, and take them out of the metrics that it requests.

    Args:
        cfg: Configuration of the evaluation, of which ``segmenter`` and ``samples`` are read.
        requested: As for ``choose_metrics``, and the names of judges.
        translator: The model.
        features: The pretrained network, as for ``choose_metrics``.

    Returns:
        The other metrics, and the judges.

    Raises:
        UserError: What is measured does not fit the model or its pairs, or something that it needs is missing.
    """
    spec = translator.pair_spec
    judges: list[Judge] = []
    requested, has_semantic = take_semantic(requested, cfg.segmenter)
    if has_semantic:
        judges.append(SemanticJudge(build_segmenter(cfg), spec, str(cfg.segmenter)))
    check_counts(samples=cfg.samples)
    if cfg.samples > 1:
        check_noise(translator, cfg.samples)
        judges.append(DiversityJudge(features, spec.target, min(spec.height, spec.width)))
    return requested, judges
