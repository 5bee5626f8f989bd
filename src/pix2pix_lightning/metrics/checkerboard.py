"""Checkerboard artifacts: energy at the frequencies of the grids that upsampling layers leave."""

import math

import torch
from torch import Tensor

from pix2pix_lightning.metrics.base import ImageMetric
from pix2pix_lightning.utils.errors import UserError

__all__ = ["CheckerboardRatio", "compute_checkerboard_energy"]

_WINDOW_SIDE = 16
_PERIODS = (2, 4, 8)
_SMOOTH_SHARE = 0.25


class CheckerboardRatio(ImageMetric):
    """Energy of grids in outputs as a share of the targets', where the targets are smooth: more than 1 is a grid.

    It is measured in the quarter of the windows of each image where the target has the least. Edges and bricks have
    more energy at these frequencies than any grid, and would hide it. Over many images it is the ratio of the two
    means, and NaN where the targets have none. `higher_is_better` is None: much less than 1 is blur.

    Args:
        period: Pixels between two lines of the grid, as in `compute_checkerboard_energy`.

    Raises:
        UserError: ``period`` is none of those that are measured.

    Example:
        >>> images = torch.rand(2, 3, 32, 32)
        >>> round(CheckerboardRatio()(images / 2, images).item(), 4)
        0.25
    """

    least_side = _WINDOW_SIDE

    def __init__(self, period: int = 2) -> None:
        super().__init__(num_statistics=2)
        _check_period(period)
        self.period = period

    def compute_statistics(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the mean energy of each output and of its target in the smooth windows, (B, 2)."""
        energies = [compute_checkerboard_energy(images, self.period) for images in (preds, target)]
        num_smooth = math.ceil(_SMOOTH_SHARE * energies[0].shape[1])
        smooth = energies[1].argsort(1)[:, :num_smooth]
        return torch.stack([energy.gather(1, smooth).mean(1) for energy in energies], 1)

    def compute_value(self, means: Tensor) -> Tensor:
        """Return the ratio of two means, NaN where the second is zero: (..., 2) to (...)."""
        output, target = means.unbind(-1)
        return torch.where(target > 0, output / target, torch.nan)


def compute_checkerboard_energy(images: Tensor, period: int = 2) -> Tensor:
    """Return the energy of grids of ``period`` pixels in each window of each image.

    The outermost upsampling layer of a generator leaves grids of 2 pixels, the one before it grids of 4. Such a grid
    of stripes or checks has the frequencies whose parts across and down are multiples of ``1 / period``, without those
    that a grid of half the period has.

    Args:
        images: (B, C, H, W), sides of 16 or more.
        period: 2, 4 or 8.

    Returns:
        Energies (B, windows), at least in float32, of windows of 16x16 pixels (Hann) that overlap by half: sums over
        the frequencies, means over the channels. A grid ``a * (-1) ** (x + y)`` has ``a ** 2``, its mean square.

    Raises:
        UserError: The images are not (B, C, H, W) or too small, or ``period`` is none of these.
    """
    if images.ndim != 4 or min(images.shape[-2:]) < _WINDOW_SIDE:
        raise UserError(
            f"checkerboard energy needs images (B, C, H, W) of at least {_WINDOW_SIDE} x {_WINDOW_SIDE}, got "
            f"{tuple(images.shape)}: add the missing dimensions, or leave such images out"
        )
    _check_period(period)
    images = images.to(torch.promote_types(images.dtype, torch.float32))
    hop = _WINDOW_SIDE // 2
    windows = images.unfold(2, _WINDOW_SIDE, hop).unfold(3, _WINDOW_SIDE, hop)  # (B, C, h, w, 16, 16)
    step = _WINDOW_SIDE // period
    spectrum = torch.fft.fft2(windows * _build_hann_window().to(images))[..., ::step, ::step]
    energy = spectrum.abs().square().mean(1).flatten(1, 2)
    is_odd = torch.arange(period, device=images.device) % 2 == 1
    return energy[..., is_odd[:, None] | is_odd].sum(-1)


def _build_hann_window() -> Tensor:
    """Return the window, (16, 16) in float64, whose sum is 1."""
    position = (torch.arange(_WINDOW_SIDE, dtype=torch.float64) + 0.5) / _WINDOW_SIDE
    hann = torch.sin(math.pi * position).square()
    return torch.outer(hann, hann) / hann.sum().square()


def _check_period(period: int) -> None:
    if period not in _PERIODS:
        raise UserError(f"period={period!r} of a checkerboard: give 2, 4 or 8 pixels")
