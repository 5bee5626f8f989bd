"""Metrics of label maps."""

from torch import Tensor

from pix2pix_lightning.metrics.base import MeanImageMetric
from pix2pix_lightning.utils.errors import UserError

__all__ = ["PixelAccuracy", "compute_pixel_accuracy"]


class PixelAccuracy(MeanImageMetric):
    """Share of pixels that have the target's class: the mean over images.

    Example:
        >>> import torch
        >>> PixelAccuracy()(torch.tensor([[[[0, 1, 2, 2]]]]), torch.tensor([[[[0, 1, 1, 2]]]])).item()
        0.75
    """

    higher_is_better = True

    def compute_scores(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the accuracy of each image, (B,)."""
        return compute_pixel_accuracy(preds, target)


def compute_pixel_accuracy(preds: Tensor, target: Tensor) -> Tensor:
    """Return the share of pixels of each image that have the target's class.

    Args:
        preds: (B, C, H, W): class numbers, or the colours that stand for classes.
        target: (B, C, H, W): class numbers or colours, coded like `preds`.

    Returns:
        Shares from 0 to 1, (B,).

    Raises:
        UserError: The shapes differ or are not (B, C, H, W).
    """
    if preds.shape != target.shape or preds.ndim != 4:
        raise UserError(
            f"label maps must both be of one shape (B, C, H, W), got {tuple(preds.shape)} and {tuple(target.shape)}: "
            "bring both to the target's size and channels"
        )
    return (preds == target).all(1).double().flatten(1).mean(1)
