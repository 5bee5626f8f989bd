"""Choose the metrics of an evaluation, and measure with each."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric

from pix2pix_lightning.data.sides import Side
from pix2pix_lightning.evaluation.bootstrap import Interval, bootstrap
from pix2pix_lightning.metrics import (
    DEFAULT_FEATURES,
    METRICS,
    DistributionMetric,
    EmbeddingMetric,
    FeatureExtractor,
    FeatureSpec,
    HasInterval,
    ImageMetric,
    MeanPixelMetric,
    MetricInfo,
    MetricSpec,
    build_metric,
    build_named_metrics,
    get_extractor,
    metric_info,
    update_metric,
)
from pix2pix_lightning.utils.errors import UserError

Array = npt.NDArray[np.float64]
Merge = Callable[[list[Any]], list[Any]]
_NOT_OF_PAIRS = {
    "flicker": "between pairs, not of each: set flicker=true",
    "diversity": "between outputs of a source: leave it out of metrics, and set mode=paper samples=10",
}
_METRIC_ERRORS = (IndexError, RuntimeError, TypeError, ValueError)  # of a metric that does not fit the images


def choose_metrics(
    requested: MetricSpec | Iterable[MetricSpec] | Mapping[str, MetricSpec | None] | None,
    target: Side,
    side: int,
    features: FeatureSpec = DEFAULT_FEATURES,
    *,
    others: Sequence[MetricInfo] = (),
    num_images: int | None = None,
) -> tuple[dict[str, Metric], dict[str, str]]:
    """Build the metrics of an evaluation.

    Args:
        requested: As for `metrics.build_metrics`; None chooses all registered metrics that apply. Without the packages
            of the default network, those that need one do not.
        target: What a target's pixels mean.
        side: Shorter side of the images in pixels.
        features: The pretrained network of metrics that use one.
        others: What is known about what else is measured, so that no metric is needed.
        num_images: Number of images; None where it is unknown.

    Returns:
        The metrics by name, and what was left out with the reason: nothing where metrics were requested.

    Raises:
        UserError: A metric is unknown, cannot be built or does not apply, or a network is chosen that is not used.
    """
    is_eight_bit = target.dtype == "uint8"
    if requested is None:
        return _choose_all(target, side, features, num_images, is_eight_bit=is_eight_bit)
    for other, how in _NOT_OF_PAIRS.items():
        if isinstance(requested, str | list) and other in requested:
            raise UserError(f"metrics: {other} is measured {how}")
    metrics = build_named_metrics(requested, eight_bit=is_eight_bit, features=features)
    if taken := metrics.keys() & {info.name for info in others}:
        raise UserError(f"metrics: {min(taken)} is the name of another score here: give the metric another name")
    if not metrics and not others:
        raise UserError(f"metrics={requested} chooses nothing: name some of {', '.join(METRICS)}")
    for name, metric in metrics.items():
        if reason := find_obstacle(metric_info(metric), target, side, num_images):
            raise UserError(f"metrics: {name} {reason}; leave it out")
    if features != DEFAULT_FEATURES and not use_features(metrics, others):
        names = ", ".join(name for name, info in METRICS.items() if info.uses_features)
        raise UserError(f"features={features} is used by {names} alone: add one of them to metrics, or leave it out")
    return metrics, {}


def use_features(metrics: Mapping[str, Metric], others: Iterable[MetricInfo] = ()) -> bool:
    """Return whether one of the metrics, or something else, looks at images through a pretrained network."""
    return any(info.uses_features for info in (*map(metric_info, metrics.values()), *others))


def _choose_all(
    target: Side, side: int, features: FeatureSpec, num_images: int | None, *, is_eight_bit: bool
) -> tuple[dict[str, Metric], dict[str, str]]:
    """Choose all registered metrics that apply, as `choose_metrics` does."""
    extractor = _find_extractor(features)
    infos = [info for info in METRICS.values() if info.by_default and (extractor or not info.uses_features)]
    reasons = {info.name: find_obstacle(info, target, side, num_images) for info in infos}
    if extractor and not extractor.has_layers:
        reasons["perceptual"] = f"compares layers, and features={extractor.name} has an embedding alone"
    chosen = [name for name, reason in reasons.items() if not reason]
    left_out = {name: reason for name, reason in reasons.items() if reason and METRICS[name].targets != "classes"}
    shared = extractor or features
    return {name: build_metric(name, eight_bit=is_eight_bit, features=shared) for name in chosen}, left_out


def _find_extractor(features: FeatureSpec) -> FeatureExtractor | None:
    """Return the extractor; None if it is the default one and its weights are not installed."""
    try:
        return get_extractor(features)
    except UserError:
        if features != DEFAULT_FEATURES:
            raise
        return None


def find_obstacle(info: MetricInfo, target: Side, side: int, num_images: int | None = None) -> str | None:
    """Return why a metric cannot be computed, in words that follow its name, or None.

    Args:
        info: The metric's row.
        target: What a target's pixels mean.
        side: Shorter side of the images in pixels.
        num_images: Number of images; None where it is unknown.
    """
    is_label = target.kind == "label"
    if info.targets == "classes" and not is_label:
        return f"compares classes, and these targets are {target.kind}"
    if info.targets in ("images", "photos", "pictures") and is_label and not target.palette:
        return "compares colours, and these targets are class numbers without a palette"
    if info.targets == "photos" and target.kind not in ("rgb", "lab"):
        return f"compares colours of photos, and these targets are {target.kind}"
    if info.targets == "pictures" and target.file_channels not in (1, 3):
        return f"compares images of 1 or 3 channels, and these targets have {target.file_channels}"
    if side < info.least_side:
        return f"needs sides of {info.least_side} pixels at least, and these are {side}"
    if num_images is not None and num_images < info.least_images:
        return f"needs {info.least_images} images at least, and there is {num_images}"
    return None


class Measurement(ABC):
    """What a metric measures over a split, image by image."""

    @abstractmethod
    def add(self, output: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Measure an image, (1, C, H, W) float64 in [0, 1], against its target.

        Args:
            output: The image, equal to ``target`` where a pixel does not count.
            target: What it should be.
            mask: (1, 1, H, W) booleans, True where a pixel counts; None: everywhere.
        """

    @abstractmethod
    def compute(self) -> tuple[Array | None, Interval]:
        """Return each image's value, None where an image has none by itself, and the value over all images."""

    @abstractmethod
    def merge(self, merge: Merge) -> None:
        """Replace what is known of each image of this process by what is known of those of all processes.

        Args:
            merge: Returns the items of all processes in the order of the split (`Division.merge`).
        """


class StatisticsMeasurement(Measurement):
    """Keep the statistics of each image, from which the value over any selection of images follows."""

    def __init__(self, metric: ImageMetric) -> None:
        self._metric = metric
        self._rows: list[Array] = []

    def add(self, output: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Keep the image's statistics.

        Args:
            output: As for ``Measurement.add``.
            target: The real image, (1, C, H, W) as well.
            mask: As in ``add`` of the base class.
        """
        masked = isinstance(self._metric, MeanPixelMetric)
        statistics = self._metric.compute_statistics(output, target, *([mask] if masked else []))
        self._rows.append(statistics[0].double().numpy())

    def compute(self) -> tuple[Array | None, Interval]:
        """Return each image's value, and the value of the mean statistics with its interval."""
        statistics = np.stack(self._rows)
        return self._compute_value(statistics), bootstrap(statistics, self._compute_value)

    def merge(self, merge: Merge) -> None:
        """Take the statistics of all images, as ``Measurement.merge`` does."""
        self._rows = merge(self._rows)

    def _compute_value(self, means: Array) -> Array:
        value: Array = self._metric.compute_value(torch.from_numpy(means)).numpy()
        return value


class PairMeasurement(Measurement):
    """Call any metric of pairs for each image by itself; the value over all images is the mean."""

    def __init__(self, name: str, metric: Metric) -> None:
        self._name = name
        self._metric = metric.eval()
        self._values: list[float] = []

    def add(self, output: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Compute the image's value.

        Args:
            output: As for ``Measurement.add``.
            target: The real image, (1, C, H, W) as well.
            mask: As in ``add`` of the base class.
        """
        self._metric.reset()
        _update(self._name, self._metric, output, target, mask)
        self._values.append(_compute(self._name, self._metric))

    def compute(self) -> tuple[Array | None, Interval]:
        """Return each image's value, and their mean with its interval."""
        values = np.array(self._values)
        return values, bootstrap(values)

    def merge(self, merge: Merge) -> None:
        """Take the values of all images, as ``Measurement.merge`` does."""
        self._values = merge(self._values)


class DistributionMeasurement(Measurement):
    """Feed all images to a metric of distributions, which has one value, with an interval where it computes one."""

    def __init__(self, name: str, metric: DistributionMetric | EmbeddingMetric) -> None:
        self._name = name
        self._metric = metric.eval()
        self._metric.reset()

    def add(self, output: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Add the image to the distributions.

        Args:
            output: As for ``Measurement.add``.
            target: The real image, (1, C, H, W) as well.
            mask: As in ``add`` of the base class.
        """
        _update(self._name, self._metric, output, target, mask)

    def compute(self) -> tuple[Array | None, Interval]:
        """Return the value over all images, with its interval where the metric has one."""
        value = _compute(self._name, self._metric)
        metric: Metric | HasInterval = self._metric
        ends = metric.compute_interval() if isinstance(metric, HasInterval) else (math.nan, math.nan)
        return None, Interval(value, *ends)

    def merge(self, merge: Merge) -> None:
        """Take the embeddings of all images, as ``Measurement.merge`` does."""
        metric = self._metric
        assert isinstance(metric, EmbeddingMetric)  # `check_divisible`
        pairs = merge(list(zip(metric.preds_embeddings, metric.target_embeddings, strict=True)))
        metric.preds_embeddings, metric.target_embeddings = [pred for pred, _ in pairs], [real for _, real in pairs]


def build_measurement(name: str, metric: Metric) -> Measurement:
    """Build the measurement that suits a metric.

    Args:
        name: Name of the metric, for messages.
        metric: A metric as `choose_metrics` builds it.

    Returns:
        A new measurement, without images.
    """
    if isinstance(metric, ImageMetric):
        return StatisticsMeasurement(metric)
    if isinstance(metric, DistributionMetric | EmbeddingMetric):
        return DistributionMeasurement(name, metric)
    return PairMeasurement(name, metric)


def _is_never_available() -> bool:
    return False


def check_divisible(metrics: Mapping[str, Metric]) -> None:
    """Check that several processes can share the work of metrics and get the figures of one, and prepare them.

    Args:
        metrics: Metrics as `choose_metrics` builds them. They are told not to look for other processes themselves.

    Raises:
        UserError: One keeps sums over images, which depend on their order.
    """
    for name, metric in metrics.items():
        if isinstance(metric, DistributionMetric):
            raise UserError(
                f"metrics: {name} adds up all images and cannot be divided: leave it out, or start one process"
            )
        for part in metric.modules():
            if isinstance(part, Metric):
                part.distributed_available_fn = _is_never_available


def _update(name: str, metric: Metric, output: Tensor, target: Tensor, mask: Tensor | None) -> None:
    # Networks inside of metrics have float32 weights.
    try:
        with torch.no_grad():
            update_metric(metric, output.float(), target.float(), mask)
    except _METRIC_ERRORS as error:
        raise UserError(
            f"metrics: {name} cannot take images of shape {tuple(output.shape)}: {error}; leave it out"
        ) from error


def _compute(name: str, metric: Metric) -> float:
    try:
        value: Any = metric.compute()
        return float(value)
    except _METRIC_ERRORS as error:
        raise UserError(f"metrics: {name} gives no single number: {error}; leave it out") from error
