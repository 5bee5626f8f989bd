"""Metrics of label maps: pixel accuracy, and class accuracy and mean IoU as in Long et al. (FCN, arXiv 1411.4038)."""

from abc import abstractmethod

import torch
from torch import Tensor

from pix2pix_lightning.metrics.base import ImageMetric
from pix2pix_lightning.utils.errors import UserError

__all__ = [
    "ClassAccuracy",
    "ClassMetric",
    "MeanIoU",
    "OverallAccuracy",
    "PixelAccuracy",
    "compute_pixel_accuracy",
    "count_classes",
]

_MAX_CLASSES = 256  # of a label map, so that metrics need not be told how many there are


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


class ClassMetric(ImageMetric):
    """A metric of class numbers that follows from the counts of `count_classes`, summed over the pixels of all images.

    Pixels whose target is negative have no class and do not count. A class that is in no target is left out of means
    over classes: pixels that are taken for it count as errors of their own classes. The metric is NaN where no pixel
    has a class.
    """

    higher_is_better = True

    def __init__(self) -> None:
        super().__init__(num_statistics=3 * _MAX_CLASSES)

    def compute_statistics(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the counts of each image, (B, 768)."""
        return count_classes(preds, target).flatten(1)

    def compute_value(self, means: Tensor) -> Tensor:
        """Return the metric of counts, or of their means over images: (..., 768) to (...)."""
        counts = means.reshape(*means.shape[:-1], 3, _MAX_CLASSES)
        is_seen = (counts != 0).flatten(0, -2).any(0)  # most of the 256 are not: intervals take thousands of means
        hits, targets, predictions = counts[..., is_seen].unbind(-2)
        return self.compute_counted(hits, targets, predictions)

    @abstractmethod
    def compute_counted(self, hits: Tensor, targets: Tensor, predictions: Tensor) -> Tensor:
        """Return the metric of counts of K classes: (..., K) to (...).

        Args:
            hits: Pixels of each class that are taken for it.
            targets: Pixels of each class.
            predictions: Pixels that are taken for each class.
        """


class OverallAccuracy(ClassMetric):
    """Share of all pixels that have the target's class: images with more such pixels count more.

    Example:
        >>> OverallAccuracy()(torch.tensor([[[[0, 1, 2, 2]]]]), torch.tensor([[[[0, 1, 1, 2]]]])).item()
        0.75
    """

    def compute_counted(self, hits: Tensor, targets: Tensor, predictions: Tensor) -> Tensor:
        """Return ``sum hits / sum targets``.

        Args:
            hits: As in the base class.
            targets: Pixels of each class, (..., K).
            predictions: Not used.
        """
        return hits.sum(-1) / targets.sum(-1)


class ClassAccuracy(ClassMetric):
    """Share of each class's pixels that have it, averaged over the classes that are in the targets ("mean accuracy").

    Example:
        >>> accuracy = ClassAccuracy()(torch.tensor([[[[0, 1, 2, 2]]]]), torch.tensor([[[[0, 1, 1, 2]]]]))
        >>> round(accuracy.item(), 4)  # of 1, 1/2 and 1
        0.8333
    """

    def compute_counted(self, hits: Tensor, targets: Tensor, predictions: Tensor) -> Tensor:
        """Return the mean of ``hits / targets`` over classes.

        Args:
            hits: As in the base class.
            targets: Pixels of each class, (..., K).
            predictions: Not used.
        """
        return _average_classes(hits, targets, targets)


class MeanIoU(ClassMetric):
    """Intersection over union of the pixels of each class, averaged over the classes that are in the targets.

    Example:
        >>> iou = MeanIoU()(torch.tensor([[[[0, 1, 2, 2]]]]), torch.tensor([[[[0, 1, 1, 2]]]]))
        >>> round(iou.item(), 4)  # of 1, 1/2 and 1/2
        0.6667
    """

    def compute_counted(self, hits: Tensor, targets: Tensor, predictions: Tensor) -> Tensor:
        """Return the mean of ``hits / (targets + predictions - hits)`` over classes.

        Args:
            hits: As in the base class.
            targets: Pixels of each class, (..., K).
            predictions: Pixels that are taken for each class, (..., K).
        """
        return _average_classes(hits, targets + predictions - hits, targets)


def _average_classes(hits: Tensor, totals: Tensor, targets: Tensor) -> Tensor:
    """Return the mean of ``hits / totals`` over the classes of which a target has pixels."""
    is_present = targets > 0
    shares = torch.where(is_present, hits / totals, 0.0)
    return shares.sum(-1) / is_present.sum(-1)


def count_classes(preds: Tensor, target: Tensor) -> Tensor:
    """Count the pixels of each class: the diagonal, the rows and the columns of the confusion matrix of each image.

    Args:
        preds: (B, 1, H, W) class numbers, 0 to 255, of any type.
        target: (B, 1, H, W) class numbers; negative where a pixel has no class, which is not counted.

    Returns:
        (B, 3, 256) in float64, or in float32 where the device has no float64: pixels that have the class in both, in
        ``target``, and in ``preds``.

    Raises:
        UserError: The shapes differ or are not (B, 1, H, W), or a number is no class.
    """
    if preds.shape != target.shape or preds.ndim != 4 or preds.shape[1] != 1:
        raise UserError(
            f"class numbers must both be of one shape (B, 1, H, W), got {tuple(preds.shape)} and "
            f"{tuple(target.shape)}: give maps of class numbers of the target's size"
        )
    num_images = len(target)
    images = torch.arange(num_images, device=target.device)[:, None, None, None].expand(target.shape)
    counted = target >= 0
    offsets, made, wanted = (values[counted].round().long() for values in (images, preds, target))
    for name, numbers in (("preds", made), ("target", wanted)):
        if numbers.numel() and not 0 <= numbers.min() <= numbers.max() < _MAX_CLASSES:
            raise UserError(
                f"{name} hold {int(numbers.min())} to {int(numbers.max())}: class numbers from 0 to "
                f"{_MAX_CLASSES - 1} are expected"
            )
    places = offsets * _MAX_CLASSES
    chosen = (places + wanted)[made == wanted], places + wanted, places + made
    counts = [torch.bincount(each, minlength=num_images * _MAX_CLASSES) for each in chosen]
    dtype = torch.float32 if target.device.type == "mps" else torch.float64
    return torch.stack([each.view(num_images, _MAX_CLASSES) for each in counts], 1).to(dtype)


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
