"""Metrics that compare the distribution of outputs with the distribution of targets, such as FID and KID."""

from __future__ import annotations

import inspect
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torchmetrics import Metric

__all__ = ["DistributionMetric", "HasInterval", "is_distribution_metric"]

_SEED = 0  # of the subsets that KID draws


@runtime_checkable
class HasInterval(Protocol):
    """A metric of distributions that has an interval."""

    def compute_interval(self) -> tuple[float, float]:
        """Return the ends of the 95 % interval of the value over everything so far."""


class DistributionMetric(Metric):
    """Feed outputs and targets to a metric of distributions.

    The metric is one of torchmetrics' `update(imgs, real)` kind: FID, KID, MiFID, or one of your own. The adapter takes
    pairs of images in [0, 1] like any other metric here. A metric with an attribute `normalize` gets what torchmetrics
    documents: floats in [0, 1] where it is true, uint8 in [0, 255] where it is false. Where `compute` returns several
    values (KID: mean and standard deviation over subsets) the first one is the value.

    Args:
        metric: Metric whose `update` takes `imgs` and `real`.
    """

    full_state_update = False

    def __init__(self, metric: Metric) -> None:
        super().__init__()
        self.metric = metric

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch of outputs and a batch of targets, (B, C, H, W) in [0, 1] each."""
        self.metric.update(self._convert(target), real=True)
        self.metric.update(self._convert(preds), real=False)

    def compute(self) -> Tensor:
        """Return the value over everything so far, a scalar. Random subsets are the same every time."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(_SEED)
            value: Any = self.metric.compute()
        result: Tensor = value[0] if isinstance(value, tuple | list) else value
        return result

    def reset(self) -> None:
        """Forget all images."""
        super().reset()
        self.metric.reset()

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        """Add a batch and return the value over everything so far. A single batch is too small a distribution."""
        self.update(preds, target)
        value: Tensor = self.compute()
        return value

    def _convert(self, images: Tensor) -> Tensor:
        if getattr(self.metric, "normalize", True):
            return images.float()
        return (images * 255).round().clamp(0, 255).to(torch.uint8)


def is_distribution_metric(metric: Metric) -> bool:
    """Return whether the metric's `update` takes images and whether they are real, instead of pairs."""
    return "real" in inspect.signature(metric.update).parameters
