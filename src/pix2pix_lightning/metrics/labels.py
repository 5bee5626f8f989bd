"""Metrics of label maps."""

from torch import Tensor

from pix2pix_lightning.utils.errors import UserError

__all__ = ["pixel_accuracy"]


def pixel_accuracy(preds: Tensor, target: Tensor) -> Tensor:
    """Return each image's share of pixels that have the target's class.

    Args:
        preds: (B, C, H, W): class numbers, or the colours that stand for classes.
        target: Likewise.

    Returns:
        Shares from 0 to 1, (B,).

    Raises:
        ValueError: If the shapes differ or are not (B, C, H, W).
    """
    if preds.shape != target.shape or preds.ndim != 4:
        raise UserError(
            f"label maps must both be of one shape (B, C, H, W), got {tuple(preds.shape)} and {tuple(target.shape)}: "
            "bring both to the target's size and channels"
        )
    return (preds == target).all(1).double().flatten(1).mean(1)
