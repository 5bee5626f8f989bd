"""The judges of an evaluation: what is measured besides the metrics, which compare an output with its target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from omegaconf import DictConfig

from pix2pix_lightning.evaluation.diversity import DiversityJudge
from pix2pix_lightning.evaluation.scores import Scores, TranslatedPair
from pix2pix_lightning.evaluation.semantic import SemanticJudge, take_semantic
from pix2pix_lightning.inference import Translator
from pix2pix_lightning.inference.from_config import build_segmenter
from pix2pix_lightning.inference.translate_files import check_noise
from pix2pix_lightning.metrics import FeatureSpec, MetricInfo
from pix2pix_lightning.utils.checks import check_counts


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

    def add_scores(self, scores: Scores) -> Scores:
        """Return the scores of the same pairs with those of the judge."""


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
