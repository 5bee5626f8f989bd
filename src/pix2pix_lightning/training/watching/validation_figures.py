"""What validation outputs are like, next to their targets and sources: figures that show a training going wrong."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

_POOLED_SIDE = 16
"""Images are compared with each other as averages over a grid of this many cells a side: cheap, and for any size."""
_MAX_IMAGES = 128
_TINY = 1e-12
_SATURATED = 0.99
"""A value in [-1, 1] beyond this is at the end of its range: within a level of 255."""


class ValidationFigures(NamedTuple):
    """Figures of one validation. Distances are L1 as fractions of the range; pixels without a class add nothing.

    Attributes:
        num_images: Number of the images.
        l1: Distance of outputs from their targets.
        l1_mean: Distance of the mean target of training from the targets; NaN if it is not known.
        l1_copy: Distance of the sources from the targets; NaN if they have other channels.
        own: Mean distance of an output from its own target, both pooled.
        other: Mean distance of an output from the targets of other images, both pooled.
        certainty: Mean of ``other - own`` over the images, in standard errors. About 0 where outputs have nothing to
            do with their targets, 2 and more where they have.
        spread: Deviation between images, by ``output``, ``target`` and ``source``.
        contrast: Deviation of all values of all images, in the same way.
        saturated: Share of values at an end of the range, by ``output`` and ``target``.
    """

    num_images: int
    l1: float
    l1_mean: float
    l1_copy: float
    own: float
    other: float
    certainty: float
    spread: dict[str, float]
    contrast: dict[str, float]
    saturated: dict[str, float]


class ValidationMeter:
    """Measure the outputs of a validation on the device, and read the figures at its end."""

    def __init__(self) -> None:
        self._sums: list[Tensor] = []
        self._weights: list[int] = []
        self._pooled: dict[str, list[Tensor]] = {"output": [], "target": [], "source": []}
        self._shares: list[Tensor] = []  # of pixels with a class in the cells, where some have none
        self._num_pooled = 0

    def add(
        self,
        source: Tensor,
        target: Tensor,
        output: Tensor,
        mean_target: Tensor | None,
        ignored: Tensor | None = None,
    ) -> None:
        """Measure a batch.

        Args:
            source: Images (B, C, H, W) in [-1, 1].
            target: Images (B, C', H, W) in [-1, 1].
            output: Generated images in the shape of ``target``.
            mean_target: The mean target of training, (C', h, w); None if it is not known.
            ignored: Which pixels of the target have no class, (B, 1, H, W) booleans; None where each has one.
        """
        images = {"output": output.float(), "target": target.float(), "source": source.float()}
        output, target, source = images.values()
        unknown = torch.full((), math.nan, device=output.device)
        mean = None if mean_target is None else _resize(mean_target[None].float(), target)
        l1 = [
            _compute_l1(output, target, ignored),
            unknown if mean is None else _compute_l1(mean, target, ignored),
            _compute_l1(source, target, ignored) if source.shape == target.shape else unknown,
        ]
        saturated = [(images[side].abs() > _SATURATED).float().mean() for side in ("output", "target")]
        moments = [moment for image in images.values() for moment in (image.mean(), image.square().mean())]
        self._sums.append(torch.stack([*l1, *saturated, *moments]))
        self._weights.append(len(output))
        if self._num_pooled < _MAX_IMAGES:
            self._num_pooled += len(output)
            pooled = {side: F.adaptive_avg_pool2d(image, _POOLED_SIDE) for side, image in images.items()}
            if ignored is not None:
                share = F.adaptive_avg_pool2d((~ignored).float(), _POOLED_SIDE)
                known = F.adaptive_avg_pool2d(target.masked_fill(ignored, 0), _POOLED_SIDE)
                pooled["target"] = known / share.clamp_min(_TINY)
                self._shares.append(share.expand_as(known).flatten(1))
            for side, image in pooled.items():
                self._pooled[side].append(image.flatten(1))

    def compute(self) -> ValidationFigures | None:
        """Wait for the device and return the figures, or None if nothing was measured. Then start anew."""
        if not self._sums:
            return None
        weights = torch.tensor(self._weights, dtype=torch.float32, device=self._sums[0].device)
        means = (torch.stack(self._sums) * weights[:, None]).sum(0) / weights.sum()
        output, target, source = (torch.cat(pooled) / 2 for pooled in self._pooled.values())
        if self._shares:
            share = torch.cat(self._shares)
            distances = _compute_weighted_distances(output, target, share)
            mean_target = (share * target).sum(0) / share.sum(0).clamp_min(_TINY)
            target = torch.where(share > 0, target, mean_target)
        else:
            distances = torch.cdist(output, target, p=1.0) / output.shape[1]
        count = len(distances)
        spreads = [side.std(0, correction=0).mean() for side in (output, target, source)]
        own = distances.diagonal()
        other = (distances.sum(1) - own) / max(count - 1, 1)
        gain = other - own
        error = (gain - gain.mean()).square().mean().sqrt() / math.sqrt(count)  # NaN without any image, as the rest
        pooled = torch.stack([own.mean(), other.mean(), gain.mean() / error.clamp_min(1e-12), *spreads])
        numbers = torch.cat([means, pooled]).tolist()
        l1, saturated, moments = numbers[:3], numbers[3:5], numbers[5:11]
        contrasts = [math.sqrt(max(moments[i + 1] - moments[i] ** 2, 0.0)) / 2 for i in (0, 2, 4)]
        own_mean, other_mean, certainty = numbers[11:14]
        figures = ValidationFigures(
            num_images=sum(self._weights),
            l1=l1[0] / 2,
            l1_mean=l1[1] / 2,
            l1_copy=l1[2] / 2,
            own=own_mean,
            other=other_mean,
            certainty=certainty,
            spread=dict(zip(self._pooled, numbers[14:], strict=True)),
            contrast=dict(zip(self._pooled, contrasts, strict=True)),
            saturated=dict(zip(("output", "target"), saturated, strict=True)),
        )
        self.__init__()  # type: ignore[misc]
        return figures


class MeanTarget:
    """The mean of the target images of training, on the device."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._weight: Tensor | float = 0.0

    def add(self, target: Tensor, ignored: Tensor | None = None) -> None:
        """Add a batch. Batches of another shape than the first are left out.

        Args:
            target: Images (B, C, H, W).
            ignored: Which pixels have no class and do not count, (B, 1, H, W) booleans; None where each one counts.
        """
        target = target.detach().float()
        mean = (target if ignored is None else target.masked_fill(ignored, 0)).mean(0)
        mean = mean.nan_to_num(0.0, 0.0, 0.0)  # of a batch that is left out
        if self._sum is not None and self._sum.shape != mean.shape:
            return
        self._sum = mean if self._sum is None else self._sum.add_(mean)
        self._weight = self._weight + (1.0 if ignored is None else (~ignored).float().mean(0))

    def compute(self) -> Tensor | None:
        """Return the mean (C, H, W), or None if there was no batch. It is 0 where no pixel had a class."""
        if self._sum is None:
            return None
        return self._sum / (self._weight.clamp_min(_TINY) if isinstance(self._weight, Tensor) else self._weight)


def _compute_l1(image: Tensor, target: Tensor, ignored: Tensor | None) -> Tensor:
    difference = (image - target).abs()
    return (difference if ignored is None else difference.masked_fill(ignored, 0)).mean()


def _compute_weighted_distances(output: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean absolute difference of each output from each target, by the target's weights.

    Args:
        output: (N, D).
        target: (N, D).
        weight: (N, D), at least 0; a target whose weights are all 0 and its output are left out.

    Returns:
        (M, M), outputs by targets.
    """
    output, target, weight = (values[weight.any(1)] for values in (output, target, weight))
    distances = output.new_zeros(len(output), len(output))
    for index, (one, share) in enumerate(zip(target, weight, strict=True)):
        distances[:, index] = ((output - one) * share).abs().sum(1) / share.sum()
    return distances


def _resize(image: Tensor, like: Tensor) -> Tensor:
    if image.shape[2:] == like.shape[2:]:
        return image
    return F.interpolate(image, like.shape[2:], mode="bilinear", align_corners=False)
