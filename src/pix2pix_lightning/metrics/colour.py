"""Distribution of colours in images."""

import torch
from torch import Tensor

from pix2pix_lightning.metrics.base import ImageMetric
from pix2pix_lightning.utils.lab import convert_to_lab

__all__ = [
    "HistogramA",
    "HistogramB",
    "HistogramIntersection",
    "HistogramL",
    "compute_lab_histograms",
]

_RANGES = ((0, 100), (-110, 110), (-110, 110))  # all of sRGB lies in these


class HistogramIntersection(ImageMetric):
    """Intersection of the colour histograms of outputs and of targets, over the pixels of all images: 1 is equal.

    The histograms of one channel of CIE Lab are normalized and compared as in Figure 7 of Isola et al. 2017.

    Args:
        channel: 0 is L, 1 is a, 2 is b.

    Example:
        >>> images = torch.rand(2, 3, 8, 8)
        >>> round(HistogramIntersection(0)(images, images).item(), 4)
        1.0
    """

    higher_is_better = True

    def __init__(self, channel: int) -> None:
        low, high = _RANGES[channel]
        super().__init__(num_statistics=2 * (high - low + 1))
        self.channel = channel

    def compute_statistics(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the histogram of each output, followed by the one of its target, (B, 2 * bins)."""
        return torch.cat([compute_lab_histograms(images)[self.channel] for images in (preds, target)], 1)

    def compute_value(self, means: Tensor) -> Tensor:
        """Return the intersection of two mean histograms: (..., 2 * bins) to (...)."""
        output, target = (counts / counts.sum(-1, keepdim=True) for counts in means.chunk(2, -1))
        return torch.minimum(output, target).sum(-1)


class HistogramL(HistogramIntersection):
    """Intersection of the histograms of L."""

    def __init__(self) -> None:
        super().__init__(0)


class HistogramA(HistogramIntersection):
    """Intersection of the histograms of a."""

    def __init__(self) -> None:
        super().__init__(1)


class HistogramB(HistogramIntersection):
    """Intersection of the histograms of b."""

    def __init__(self) -> None:
        super().__init__(2)


def compute_lab_histograms(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count the pixels of each image by L, by a and by b, each rounded to a whole number.

    Bins are centred on whole numbers, so that gray pixels, whose a and b are zero up to rounding, share one bin.

    Args:
        images: As for `convert_to_lab`.

    Returns:
        Counts (B, 101) of L from 0 to 100, and (B, 221) each of a and b from -110 to 110.

    Raises:
        UserError: The images are neither RGB nor gray.
    """
    levels = convert_to_lab(images).round().long()
    light, green_red, blue_yellow = (
        _count_levels(levels[:, channel].flatten(1), *_RANGES[channel]) for channel in range(len(_RANGES))
    )
    return light, green_red, blue_yellow


def _count_levels(levels: Tensor, low: int, high: int) -> Tensor:
    num_bins = high - low + 1
    first_bins = torch.arange(len(levels), device=levels.device)[:, None] * num_bins
    places = levels.clamp(low, high) - low + first_bins
    return torch.bincount(places.flatten(), minlength=len(levels) * num_bins).reshape(-1, num_bins)
