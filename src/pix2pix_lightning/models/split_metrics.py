"""Metrics of a split, next to a module and not a part of it."""

from __future__ import annotations

from torch import Tensor
from torchmetrics import MetricCollection


class SplitMetrics:
    """Measure the generated images of a split against the real ones.

    It is no ``nn.Module``, so that a metric with a network of its own (FID, LPIPS) adds no weights to checkpoints and
    optimizers, and none to what processes exchange.

    Args:
        metrics: The metrics by the names under which they are logged.
    """

    def __init__(self, metrics: MetricCollection) -> None:
        self.collection = metrics

    def update(self, output: Tensor, target: Tensor) -> None:
        """Measure a batch.

        Args:
            output: Generated images (B, C, H, W) in [-1, 1].
            target: Real images (B, C, H, W) in [-1, 1].
        """
        self.collection.to(output.device)
        self.collection.update(*((image.float() + 1) / 2 for image in (output, target)))

    def compute(self) -> dict[str, Tensor]:
        """Return the values over all processes, scalars by name, and start anew."""
        values: dict[str, Tensor] = self.collection.compute()
        self.collection.reset()
        return values
