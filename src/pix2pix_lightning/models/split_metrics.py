"""Metrics of a split, next to a module and not a part of it."""

from __future__ import annotations

from torch import Tensor
from torchmetrics import MetricCollection

from pix2pix_lightning.data.sides import LabelSide, Side
from pix2pix_lightning.losses import replace_masked
from pix2pix_lightning.metrics import metric_info, update_metric
from pix2pix_lightning.utils.errors import UserError


class SplitMetrics:
    """Measure the generated images of a split against the real ones.

    It is no ``nn.Module``, so that a metric with a network of its own (FID, LPIPS) adds no weights to checkpoints and
    optimizers, and none to what processes exchange.

    Args:
        metrics: The metrics by the names under which they are logged.
        spec: What the pixels of the real images mean. Metrics of label maps compare its classes, not its channels.

    Raises:
        UserError: One of the metrics compares classes, and the real images are no label maps.
    """

    def __init__(self, metrics: MetricCollection, spec: Side) -> None:
        for name, metric in metrics.items():
            if metric_info(metric).targets == "classes" and spec.kind != "label":
                raise UserError(f"metric {name} compares classes, and the target is {spec.kind}: leave it out")
        self.collection = metrics
        self.spec = spec

    def update(self, output: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Measure a batch over the pixels that count; images without any are left out.

        Args:
            output: Generated images (B, C, H, W) in [-1, 1].
            target: Real images (B, C, H, W) in [-1, 1].
            mask: (B, 1, H, W) booleans, True where a pixel counts; None: everywhere.
        """
        self.collection.to(output.device)
        output, target = output.float(), target.float()
        if mask is not None:
            measured = mask.flatten(1).any(1)
            output, target, mask = output[measured], target[measured], mask[measured]
        images = [(image + 1) / 2 for image in (replace_masked(output, target, mask), target)]
        classes = images
        if isinstance(self.spec, LabelSide):
            real = self.spec.find_classes(target)
            real = real if mask is None else real.masked_fill(~mask, -1)  # not measured
            classes = [self.spec.find_classes(output, is_output=True), real]
        for metric in self.collection.values():
            info = metric_info(metric)
            if len(target) or info.builder is not None:  # others may not take batches of no image
                made, wanted = classes if info.targets == "classes" else images
                update_metric(metric, made, wanted, mask)

    def compute(self) -> dict[str, Tensor]:
        """Return the values over all processes, scalars by name, and start anew."""
        values: dict[str, Tensor] = self.collection.compute()
        self.collection.reset()
        return values
