"""Metrics of generated images against real ones: the mean over images of each image's own value."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.image import PeakSignalNoiseRatio

from pix2pix_lightning.metrics.base import MeanImageMetric, MeanPixelMetric
from pix2pix_lightning.utils.errors import UserError

__all__ = ["EightBitPSNR", "ImageL1", "ImageL2", "ImageMSSSIM", "ImagePSNR", "ImageSSIM"]

_WINDOW_SIDE = 11
_WINDOW_SIGMA = 1.5
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, section 3.2
# Constants (K1 L)^2 and (K2 L)^2 of Wang et al. 2004 for a range L of 1.
_C1, _C2 = 0.01**2, 0.03**2


class ImageL1(MeanPixelMetric):
    """Mean absolute difference, as a fraction of the range: 0 is equal.

    Example:
        >>> metric = ImageL1()
        >>> round(metric(torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.25)).item(), 4)
        0.25
    """

    higher_is_better = False

    def compute_pixels(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the absolute difference of each pixel, (B, C, H, W)."""
        return (preds - target).abs()


class ImageL2(MeanPixelMetric):
    """Mean squared difference, the range being 1: 0 is equal.

    Example:
        >>> metric = ImageL2()
        >>> round(metric(torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.25)).item(), 4)
        0.0625
    """

    higher_is_better = False

    def compute_pixels(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the squared difference of each pixel, (B, C, H, W)."""
        return (preds - target).square()


class ImagePSNR(PeakSignalNoiseRatio):
    """Peak signal-to-noise ratio in dB for a range of 1: the mean over images, infinite for equal images.

    Example:
        >>> metric = ImagePSNR()
        >>> round(metric(torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.1)).item(), 4)
        20.0
    """

    takes_mask = True

    def __init__(self) -> None:
        super().__init__(data_range=1.0, dim=(1, 2, 3), reduction="elementwise_mean")

    def update(self, preds: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Add a batch of images.

        Args:
            preds: (B, C, H, W), equal to ``target`` where a pixel does not count.
            target: (B, C, H, W).
            mask: (B, 1, H, W) booleans, True where a pixel counts, in each image one at least; None: everywhere.
        """
        if mask is not None:  # such that the mean square over all pixels is that over those that count
            share = mask.to(target.dtype).mean((1, 2, 3), keepdim=True)
            preds = target + (preds - target) / share.sqrt()
        super().update(preds, target)


class EightBitPSNR(MeanPixelMetric):
    """Peak signal-to-noise ratio in dB of 8-bit images: the mean over images, always finite.

    Equal images would make the mean over images infinite. They count as if a single value were one level off, the
    smallest difference that 8-bit images can have.

    Example:
        >>> metric, images = EightBitPSNR(), torch.zeros(1, 1, 10, 10)
        >>> round(metric(images, images).item(), 2) == round(10 * math.log10(255**2 * 100), 2)
        True
    """

    higher_is_better = True

    def compute_pixels(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the squared difference of each pixel, (B, C, H, W)."""
        return (preds - target).square()

    def compute_scores(self, preds: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the ratio of each image in dB, (B,).

        Args:
            preds: (B, C, H, W), equal to ``target`` where a pixel does not count.
            target: (B, C, H, W).
            mask: (B, 1, H, W) booleans, True where a pixel counts; None: everywhere.
        """
        least = 1 / (255**2 * preds[0].numel())
        return -10 * super().compute_scores(preds, target, mask).clamp_min(least).log10()


class ImageSSIM(MeanPixelMetric):
    """Structural similarity (Wang et al. 2004, section III): 1 is equal.

    A Gaussian window of side 11 and sigma 1.5 over each channel, only where it lies wholly in the image, as in
    scikit-image. (The one of torchmetrics also counts a mirrored border, and runs in half precision under autocast.)
    With a mask, a window counts by the pixel in its centre; in it, pixels that do not count are equal.

    Example:
        >>> metric, images = ImageSSIM(), torch.rand(2, 3, 16, 16)
        >>> round(metric(images, images).item(), 4)
        1.0
    """

    higher_is_better = True
    least_side = _WINDOW_SIDE

    def compute_pixels(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the similarity of the windows around each pixel, (B, C, H - 10, W - 10).

        Raises:
            UserError: A side is shorter than the window.
        """
        _check_sides("SSIM", preds, self.least_side)
        luminance, structure = _compute_similarity(preds, target)
        return luminance * structure


class ImageMSSSIM(MeanImageMetric):
    """Structural similarity over five scales (Wang, Simoncelli and Bovik 2003): 1 is equal.

    Each scale is the previous one, averaged over squares of 2 x 2. Each scale contributes its mean contrast and
    structure, the coarsest one the whole SSIM; the value is their product, each raised to its weight (equation 7).
    A negative mean (inverted images) has no such power and counts as zero.

    Example:
        >>> metric, images = ImageMSSSIM(), torch.rand(2, 3, 176, 180)
        >>> round(metric(images, images).item(), 4)
        1.0
    """

    higher_is_better = True
    least_side = _WINDOW_SIDE * 2 ** (len(_SCALE_WEIGHTS) - 1)

    def compute_scores(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the similarity of each image, (B,).

        Raises:
            UserError: A side is shorter than the window at the coarsest scale.
        """
        _check_sides("MS-SSIM", preds, self.least_side)
        scores = preds.new_ones(len(preds))
        for scale, weight in enumerate(_SCALE_WEIGHTS, start=1):
            luminance, similarity = _compute_similarity(preds, target)
            if scale == len(_SCALE_WEIGHTS):
                similarity = luminance * similarity
            scores = scores * similarity.flatten(1).mean(1).clamp_min(0) ** weight
            preds, target = F.avg_pool2d(preds, 2), F.avg_pool2d(target, 2)
        return scores


def _check_sides(name: str, images: Tensor, least: int) -> None:
    height, width = images.shape[-2:]
    if min(height, width) < least:
        raise UserError(
            f"{name} needs images of at least {least} x {least}, got {height} x {width}: use larger images, or leave "
            f"{name} out"
        )


def _compute_similarity(preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two factors of SSIM at each position of the window: luminance, and contrast with structure."""
    moments = torch.stack([preds, target, preds * preds, target * target, preds * target])
    mean_p, mean_t, square_p, square_t, product = _blur(_blur(moments, dim=-1), dim=-2).unbind()
    variances = square_p - mean_p * mean_p + square_t - mean_t * mean_t
    covariance = product - mean_p * mean_t
    luminance = (2 * mean_p * mean_t + _C1) / (mean_p * mean_p + mean_t * mean_t + _C1)
    structure = (2 * covariance + _C2) / (variances + _C2)
    return luminance, structure


def _blur(images: Tensor, dim: int) -> Tensor:
    """Blur with the Gaussian window along one dimension, which becomes 10 shorter (no padding)."""
    # Sums of slices, not a convolution: autocast and TF32 would round a convolution to fewer digits than the
    # variances, small differences of squares, can spare.
    center = (_WINDOW_SIDE - 1) / 2
    weights = [math.exp(-(((i - center) / _WINDOW_SIGMA) ** 2) / 2) for i in range(_WINDOW_SIDE)]
    length = images.shape[dim] - _WINDOW_SIDE + 1
    blurred = torch.zeros_like(images.narrow(dim, 0, length))
    for i, weight in enumerate(weights):
        blurred.add_(images.narrow(dim, i, length), alpha=weight / sum(weights))
    return blurred
