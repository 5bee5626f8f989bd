"""Metrics of label maps."""

import torch
from torch import Tensor

from pix2pix_lightning.metrics.base import ImageMetric
from pix2pix_lightning.utils.errors import UserError

__all__ = ["PixelAccuracy", "compute_pixel_accuracy"]


class PixelAccuracy(ImageMetric):
    """Share of pixels that have the target's class: the mean over images.

    Pixels whose target is negative have no class and do not count, nor do images of such pixels alone. It is NaN where
    no image counts.

    Example:
        >>> PixelAccuracy()(torch.tensor([[[[0, 1, 2, 2]]]]), torch.tensor([[[[0, 1, 1, 2]]]])).item()
        0.75
    """

    higher_is_better = True

    def __init__(self) -> None:
        super().__init__(num_statistics=2)

    def compute_statistics(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the accuracy of each image, 0 where it has no class, and whether it has one, (B, 2)."""
        accuracy = compute_pixel_accuracy(preds, target)
        return torch.stack([accuracy.nan_to_num(), (~accuracy.isnan()).to(accuracy)], 1)

    def compute_value(self, means: Tensor) -> Tensor:
        """Return the mean accuracy of the images that have a class: (..., 2) to (...)."""
        accuracy, share = means.unbind(-1)
        return accuracy / share


def compute_pixel_accuracy(preds: Tensor, target: Tensor) -> Tensor:
    """Return the share of pixels of each image that have the target's class, of those that have one.

    Args:
        preds: (B, C, H, W): class numbers, or the colours that stand for classes.
        target: (B, C, H, W): class numbers or colours, coded like `preds`; negative where a pixel has no class.

    Returns:
        Shares from 0 to 1, (B,); NaN for an image without any class.

    Raises:
        UserError: The shapes differ or are not (B, C, H, W).
    """
    if preds.shape != target.shape or preds.ndim != 4:
        raise UserError(
            f"label maps must both be of one shape (B, C, H, W), got {tuple(preds.shape)} and {tuple(target.shape)}: "
            "bring both to the target's size and channels"
        )
    counts = (target >= 0).all(1)
    is_right = counts & (preds == target).all(1)
    return is_right.double().flatten(1).sum(1) / counts.flatten(1).sum(1)
