"""Base classes of metrics over images.

Images are (B, C, H, W) as fractions of the target's range, 0 to 1. Batches may differ in size and in the sides of their
images. No images are kept between batches.
"""

from abc import abstractmethod

import torch
from torch import Tensor
from torchmetrics import Metric

from pix2pix_lightning.utils.errors import UserError

__all__ = ["ImageMetric", "MeanImageMetric"]


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
        if preds.shape != target.shape or preds.ndim != 4:
            raise UserError(
                f"images must both be of one shape (B, C, H, W), got {tuple(preds.shape)} and "
                f"{tuple(target.shape)}: bring both to the target's size and channels"
            )
        # A generator under autocast gives half precision, in which means over an image are worth little.
        dtype = torch.promote_types(torch.promote_types(preds.dtype, target.dtype), torch.float32)
        statistics = self.compute_statistics(preds.to(dtype), target.to(dtype))
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
