"""Metrics of generated images against real ones: for each image, then the mean over images.

Images are (B, C, H, W) as fractions of the target's range, 0 to 1. Batches may differ in size and in
their images' sides. No images are kept between batches, at most two numbers for each.
"""

import math
from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric, MetricCollection
from torchmetrics.image import PeakSignalNoiseRatio

from pix2pix_lightning.utils.errors import UserError

__all__ = ["ImageL1", "ImageL2", "ImageMSSSIM", "ImageSSIM", "pair_metrics"]

_WINDOW_SIDE = 11
_WINDOW_SIGMA = 1.5
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, section 3.2
# The constants of the paper, (0.01 L)^2 and (0.03 L)^2, for a range L of 1.
_C1, _C2 = 0.01**2, 0.03**2


class _MeanOverImages(Metric):
    """The mean over images of a score of each."""

    is_differentiable = False
    full_state_update = False

    score_sum: Tensor
    num_images: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("score_sum", default=torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("num_images", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Take a batch of images, both (B, C, H, W).

        Raises:
            ValueError: If the shapes differ or are not (B, C, H, W).
        """
        if preds.shape != target.shape or preds.ndim != 4:
            raise UserError(
                f"images must both be of one shape (B, C, H, W), got {tuple(preds.shape)} and "
                f"{tuple(target.shape)}: bring both to the target's size and channels"
            )
        # A generator under autocast gives half precision, in which means over an image are worth little.
        dtype = torch.promote_types(torch.promote_types(preds.dtype, target.dtype), torch.float32)
        scores = self.scores(preds.to(dtype), target.to(dtype))
        self.score_sum += scores.sum()
        self.num_images += len(scores)

    def compute(self) -> Tensor:
        """Return the mean over all images so far, a scalar."""
        return self.score_sum / self.num_images

    @abstractmethod
    def scores(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return each image's score, (B,)."""


class ImageL1(_MeanOverImages):
    """Mean absolute difference, as a fraction of the range: 0 is equal.

    Example:
        >>> metric = ImageL1()
        >>> round(metric(torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.25)).item(), 4)
        0.25
    """

    higher_is_better = False

    def scores(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return each image's mean absolute difference, (B,)."""
        return (preds - target).abs().flatten(1).mean(1)


class ImageL2(_MeanOverImages):
    """Mean squared difference, the range being 1: 0 is equal.

    Example:
        >>> metric = ImageL2()
        >>> round(metric(torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.25)).item(), 4)
        0.0625
    """

    higher_is_better = False

    def scores(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return each image's mean squared difference, (B,)."""
        return (preds - target).square().flatten(1).mean(1)


class ImageSSIM(_MeanOverImages):
    """Structural similarity (Wang et al. 2004, section III): 1 is equal.

    A Gaussian window of side 11 and sigma 1.5 over each channel, only where it lies wholly in the image, as
    scikit-image has it. (That of torchmetrics also counts a mirrored border, and runs in half precision under
    autocast.)

    Example:
        >>> metric, images = ImageSSIM(), torch.rand(2, 3, 16, 16)
        >>> round(metric(images, images).item(), 4)
        1.0
    """

    higher_is_better = True
    least_side = _WINDOW_SIDE

    def scores(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return each image's mean structural similarity, (B,).

        Raises:
            ValueError: If a side is shorter than the window.
        """
        _check_sides("SSIM", preds, self.least_side)
        luminance, structure = _similarity(preds, target)
        return (luminance * structure).flatten(1).mean(1)


class ImageMSSSIM(_MeanOverImages):
    """Structural similarity over five scales (Wang, Simoncelli and Bovik 2003): 1 is equal.

    Each scale is the one before, averaged over squares of 2 x 2. Each gives its mean contrast and structure, the
    coarsest the whole of SSIM; their product is weighed by exponents. A mean below zero, of inverted images,
    has no such power and counts as zero.

    Example:
        >>> metric, images = ImageMSSSIM(), torch.rand(2, 3, 176, 180)
        >>> round(metric(images, images).item(), 4)
        1.0
    """

    higher_is_better = True
    least_side = _WINDOW_SIDE * 2 ** (len(_SCALE_WEIGHTS) - 1)

    def scores(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return each image's similarity, (B,).

        Raises:
            ValueError: If a side is shorter than the window at the coarsest scale.
        """
        _check_sides("MS-SSIM", preds, self.least_side)
        scores = preds.new_ones(len(preds))
        for scale, weight in enumerate(_SCALE_WEIGHTS, start=1):
            luminance, similarity = _similarity(preds, target)
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


def _similarity(preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The two factors of SSIM at each place of the window: of luminance, and of contrast and structure."""
    moments = torch.stack([preds, target, preds * preds, target * target, preds * target])
    mean_p, mean_t, square_p, square_t, product = _blur(_blur(moments, dim=-1), dim=-2).unbind()
    variances = square_p - mean_p * mean_p + square_t - mean_t * mean_t
    covariance = product - mean_p * mean_t
    luminance = (2 * mean_p * mean_t + _C1) / (mean_p * mean_p + mean_t * mean_t + _C1)
    structure = (2 * covariance + _C2) / (variances + _C2)
    return luminance, structure


def _blur(images: Tensor, dim: int) -> Tensor:
    """Weigh with the Gaussian window along one dimension, which becomes shorter by its side less 1."""
    # Sums of slices, not a convolution: autocast and TF32 would round a convolution to fewer digits than the
    # variances, small differences of squares, can spare.
    center = (_WINDOW_SIDE - 1) / 2
    weights = [math.exp(-(((i - center) / _WINDOW_SIGMA) ** 2) / 2) for i in range(_WINDOW_SIDE)]
    length = images.shape[dim] - _WINDOW_SIDE + 1
    blurred = torch.zeros_like(images.narrow(dim, 0, length))
    for i, weight in enumerate(weights):
        blurred.add_(images.narrow(dim, i, length), alpha=weight / sum(weights))
    return blurred


def pair_metrics() -> MetricCollection:
    """Return the metrics of a pair of images: "l1", "psnr" (dB, infinite for equal images) and "ssim".

    Each is called with the generated and the real images, both (B, C, H, W), from 0 to 1. Clone it for each
    split, with a prefix.
    """
    return MetricCollection(
        {
            "l1": ImageL1(),
            "psnr": PeakSignalNoiseRatio(data_range=1.0, dim=(1, 2, 3), reduction="elementwise_mean"),
            "ssim": ImageSSIM(),
        },
        # Groups are found by comparing states after one batch: those of L1 and SSIM could agree by chance.
        compute_groups=False,
    )
