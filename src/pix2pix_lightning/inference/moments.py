"""Compute mean and variance of maps that arrive one after the other."""

from __future__ import annotations

import torch
from torch import Tensor

from pix2pix_lightning.networks import Statistics

_PIXELS_AT_ONCE = 4096  # few enough for the cache, and for sums in the type of the maps


class Moments:
    """Mean and variance of each channel, over all maps that were added.

    Sums of 4096 pixels are made in float32, or in the type of maps of float64, around the mean of the first ones, and
    added in float64. So neither the number of pixels nor a mean far from 0 costs digits.
    """

    def __init__(self) -> None:
        self._count = 0
        self._origin = torch.zeros(())
        self._sum = torch.zeros(())
        self._squares = torch.zeros(())

    @torch.no_grad()
    def add(self, maps: Tensor) -> None:
        """Update with (1, C, h, w)."""
        assert len(maps) == 1
        pixels = maps[0].permute(1, 2, 0).reshape(-1, maps.shape[1])
        pixels = pixels.to(torch.promote_types(pixels.dtype, torch.float32))
        if not self._count:
            self._origin = pixels[:_PIXELS_AT_ONCE].mean(0)
            self._sum = torch.zeros_like(self._origin, dtype=torch.float64)
            self._squares = torch.zeros_like(self._sum)
        self._count += len(pixels)
        for part in torch.split(pixels, _PIXELS_AT_ONCE):
            moved = part - self._origin
            self._sum += moved.sum(0)
            self._squares += moved.square_().sum(0)

    def compute(self) -> Statistics:
        """Compute the statistics of all maps.

        A single pixel has an infinite variance: the norm's output is then its shift, without rounding noise.

        Returns:
            Mean and biased variance of each channel, (C,) float64.
        """
        shift = self._sum / self._count
        mean = self._origin.double() + shift
        if self._count == 1:
            return Statistics(mean, torch.full_like(mean, torch.inf))
        return Statistics(mean, (self._squares / self._count - shift**2).clamp(min=0))
