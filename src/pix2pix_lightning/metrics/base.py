"""Base classes of metrics over images.

Images are (B, C, H, W) as fractions of the target's range, 0 to 1. Batches may differ in size and in the sides of their
images. No images are kept between batches.
"""

from abc import abstractmethod

import torch
from torch import Tensor
from torchmetrics import Metric

from pix2pix_lightning.utils.errors import UserError

__all__ = ["ImageMetric", "MeanImageMetric", "MeanPixelMetric", "average_pixels", "update_metric"]


class ImageMetric(Metric):
    """A metric that follows from a few statistics of each image, averaged over the images.

    The value over many images is `compute_value` of the mean statistics, and the value of one image is `compute_value`
    of its own. So the value over any selection of images can be computed without the images (bootstrapping).

    Args:
        num_statistics: Number k of statistics of an image.
    """

    is_differentiable = False
    full_state_update = False

    statistics_sum: Tensor
    num_images: Tensor

    def __init__(self, num_statistics: int = 1) -> None:
        super().__init__()
        self.add_state("statistics_sum", default=torch.zeros(num_statistics), dist_reduce_fx="sum")
        self.add_state("num_images", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch of images, both (B, C, H, W).

        Raises:
            UserError: The shapes differ or are not (B, C, H, W).
        """
        self._add(self.compute_statistics(*_widen(preds, target)))

    def _add(self, statistics: Tensor) -> None:
        self.statistics_sum += statistics.sum(0)
        self.num_images += len(statistics)

    def compute(self) -> Tensor:
        """Return the value over all images so far, a scalar."""
        return self.compute_value(self.statistics_sum / self.num_images)

    @abstractmethod
    def compute_statistics(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the statistics of each image, (B, k)."""

    @abstractmethod
    def compute_value(self, means: Tensor) -> Tensor:
        """Return the metric of mean statistics: (..., k) to (...)."""


class MeanImageMetric(ImageMetric):
    """A metric whose value over many images is the mean of the images' own values."""

    @abstractmethod
    def compute_scores(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the value of each image, (B,)."""

    def compute_statistics(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the value of each image, (B, 1)."""
        return self.compute_scores(preds, target)[:, None]

    def compute_value(self, means: Tensor) -> Tensor:
        """Return the mean itself: (..., 1) to (...)."""
        return means[..., 0]


class MeanPixelMetric(MeanImageMetric):
    """A metric whose value of an image is a mean over its pixels, or over those that count.

    Attributes:
        takes_mask: Whether `update` takes a mask as its third argument.
    """

    takes_mask = True

    def update(self, preds: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Add a batch of images.

        Args:
            preds: (B, C, H, W), equal to ``target`` where a pixel does not count.
            target: (B, C, H, W).
            mask: (B, 1, H, W) booleans, True where a pixel counts, in each image one at least; None: everywhere.

        Raises:
            UserError: The shapes differ or are not (B, C, H, W).
        """
        self._add(self.compute_statistics(*_widen(preds, target), mask))

    def compute_statistics(self, preds: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the value of each image, (B, 1).

        Args:
            preds: (B, C, H, W), equal to ``target`` where a pixel does not count.
            target: (B, C, H, W).
            mask: (B, 1, H, W) booleans, True where a pixel counts; None: everywhere.
        """
        return self.compute_scores(preds, target, mask)[:, None]

    def compute_scores(self, preds: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the value of each image, (B,).

        Args:
            preds: (B, C, H, W), equal to ``target`` where a pixel does not count.
            target: (B, C, H, W).
            mask: (B, 1, H, W) booleans, True where a pixel counts; None: everywhere.
        """
        return average_pixels(self.compute_pixels(preds, target), mask)

    @abstractmethod
    def compute_pixels(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the value of each pixel, (B, C, h, w): of all, or of the centre without an equal border around it."""


def average_pixels(values: Tensor, mask: Tensor | None) -> Tensor:
    """Average the values of each image over the pixels that count; over all where none of them does.

    Args:
        values: (B, C, h, w).
        mask: (B, 1, H, W) booleans of images of which ``values`` may be the centre; None: all pixels count.

    Returns:
        Means, (B,).
    """
    if mask is None:
        return values.flatten(1).mean(1)
    height, width = values.shape[2:]
    top, left = (mask.shape[2] - height) // 2, (mask.shape[3] - width) // 2
    weights = mask[:, :, top : top + height, left : left + width]
    weights = (weights | ~weights.flatten(1).any(1)[:, None, None, None]).to(values.dtype)
    return (values * weights).flatten(1).sum(1) / (weights.flatten(1).sum(1) * values.shape[1])


def update_metric(metric: Metric, preds: Tensor, target: Tensor, mask: Tensor | None) -> None:
    """Add a batch to any metric; to one that takes no mask, images that are equal where a pixel does not count.

    Args:
        metric: The metric.
        preds: (B, C, H, W), equal to ``target`` where a pixel does not count.
        target: (B, C, H, W).
        mask: (B, 1, H, W) booleans, True where a pixel counts; None: everywhere.
    """
    takes_mask = mask is not None and getattr(metric, "takes_mask", False)
    metric.update(preds, target, *([mask] if takes_mask else []))


def _widen(preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return images in float32 at least: a generator under autocast gives half precision, of which means say little.

    Raises:
        UserError: The shapes differ or are not (B, C, H, W).
    """
    if preds.shape != target.shape or preds.ndim != 4:
        raise UserError(
            f"images must both be of one shape (B, C, H, W), got {tuple(preds.shape)} and "
            f"{tuple(target.shape)}: bring both to the target's size and channels"
        )
    dtype = torch.promote_types(torch.promote_types(preds.dtype, target.dtype), torch.float32)
    return preds.to(dtype), target.to(dtype)
