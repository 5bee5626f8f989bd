"""Building metrics from names and descriptions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from torchmetrics import Metric, MetricCollection

from pix2pix_lightning.metrics.distribution import DistributionMetric, is_distribution_metric
from pix2pix_lightning.metrics.feature_extractor import DEFAULT_FEATURES, FeatureSpec, get_extractor
from pix2pix_lightning.metrics.registry import METRICS, metric_info
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.instantiate import TARGET, build, is_description

__all__ = ["MetricSpec", "build_metric", "build_metrics", "build_named_metrics"]

MetricSpec = str | Mapping[str, Any] | Metric
"""A registered name, a description {"_target_": "package.Class", ...} of a torchmetrics Metric, or a Metric."""


def build_metric(spec: MetricSpec, *, eight_bit: bool = False, features: FeatureSpec = DEFAULT_FEATURES) -> Metric:
    """Build a metric whose `update(output, target)` takes images (B, C, H, W) in [0, 1].

    Args:
        spec: A name of `METRICS`, a description {"_target_": "package.Class", ...} of a torchmetrics Metric, or a
            Metric. One whose `update` takes `imgs` and `real` (FID, KID) is wrapped in a `DistributionMetric`.
        eight_bit: Build a registered metric for images that are rounded to 8 bits: then PSNR is always finite.
        features: The pretrained network of a registered metric that uses one.

    Returns:
        The metric; a Metric that was given is returned itself, if it is not wrapped.

    Raises:
        UserError: The name is not registered, the description does not build a Metric, or a network cannot be loaded.
    """
    if isinstance(spec, str):
        if spec not in METRICS:
            raise UserError(
                f"metrics: {spec!r} is unknown; choose from {', '.join(METRICS)}, or give "
                "{_target_: package.Class} of a torchmetrics Metric"
            )
        row = METRICS[spec]
        builder = (row.eight_bit_builder if eight_bit else None) or row.builder
        arguments = {"features": features} if row.uses_features else {}
        return cast(Metric, cast(Any, builder)(**arguments))
    metric = _build_described(spec) if is_description(spec) else spec
    if not isinstance(metric, Metric):
        raise UserError(
            f"metrics: {spec!r} is no metric; choose from {', '.join(METRICS)}, or give {{_target_: package.Class}} of "
            "a torchmetrics Metric"
        )
    return DistributionMetric(metric) if is_distribution_metric(metric) else metric


def build_metrics(
    spec: MetricSpec | Iterable[MetricSpec] | Mapping[str, MetricSpec | None], prefix: str | None = None
) -> MetricCollection:
    """Build a collection of metrics, each of which takes images (B, C, H, W) in [0, 1].

    Args:
        spec: A list of names, descriptions or metrics, or a mapping from names of your own to them. In a list an
            unregistered metric has its class's name in snake case. None as a mapping's value leaves that name out.
        prefix: What the names in the results begin with, such as "val/".

    Returns:
        The collection. Its `compute` gives a value for each name, with the prefix.

    Raises:
        UserError: A metric cannot be built, or two have the same name.

    Example:
        >>> quality = {"_target_": "torchmetrics.image.VisualInformationFidelity"}
        >>> sorted(build_metrics(["l1", quality], prefix="val/"))
        ['val/l1', 'val/visual_information_fidelity']
    """
    # Compute groups are found by comparing states after one batch: the states of two metrics could agree by chance.
    return MetricCollection(cast(Any, build_named_metrics(spec)), prefix=prefix, compute_groups=False)


def build_named_metrics(
    spec: MetricSpec | Iterable[MetricSpec] | Mapping[str, MetricSpec | None],
    *,
    eight_bit: bool = False,
    features: FeatureSpec = DEFAULT_FEATURES,
) -> dict[str, Metric]:
    """Build metrics by name. Those that use a pretrained network share it, and its passes over the same images.

    Args:
        spec: As for `build_metrics`.
        eight_bit: As for `build_metric`.
        features: As for `build_metric`.

    Returns:
        The metrics, in the order of `spec`. A name that is repeated in a list counts once.

    Raises:
        UserError: A metric cannot be built, or two have the same name.
    """

    def build_one(each: MetricSpec) -> Metric:
        nonlocal features
        if isinstance(each, str) and each in METRICS and METRICS[each].uses_features:
            features = get_extractor(features)
        return build_metric(each, eight_bit=eight_bit, features=features)

    if isinstance(spec, Mapping) and not is_description(spec):
        given = cast(Mapping[str, MetricSpec | None], spec)
        return {str(name): build_one(each) for name, each in given.items() if each is not None}
    is_single = isinstance(spec, str | Mapping | Metric) or not isinstance(spec, Iterable)
    metrics: dict[str, Metric] = {}
    for each in cast(Iterable[MetricSpec], [spec] if is_single else spec):
        if isinstance(each, str) and each in metrics:
            continue
        metric = build_one(each)
        name = metric_info(metric).name
        if name in metrics:
            raise UserError(f"metrics: two are called {name!r}; give names of your own, {{name: {{_target_: ...}}}}")
        metrics[name] = metric
    return metrics


def _build_described(description: MetricSpec) -> Any:
    description = cast(Mapping[str, Any], description)
    try:
        return build(description)
    except (ImportError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"metrics: {description[TARGET]}: {error}") from None
