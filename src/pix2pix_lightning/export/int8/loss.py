"""Measure what the quantization of a generator loses: its outputs against those of the float generator."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pix2pix_lightning.data.sides import Side
from pix2pix_lightning.evaluation import choose_metrics
from pix2pix_lightning.utils.errors import UserError

_PERCEPTUAL = "perceptual"


@dataclass(frozen=True)
class Loss:
    """How much the outputs of a quantized generator differ from those of the float one.

    Args:
        psnr: Peak signal-to-noise ratio in dB, the mean over images; infinite where they are equal.
        worst_psnr: That of the worst image.
        num_images: Number of images that were compared.
        perceptual: Mean perceptual distance of the evaluation's default network; None without its packages, or for
            outputs that are no pictures.
    """

    psnr: float
    worst_psnr: float
    num_images: int
    perceptual: float | None

    def __str__(self) -> str:
        """Format the loss for a message."""
        count = f"{self.num_images} held-out image{'' if self.num_images == 1 else 's'}"
        text = f"PSNR {self.psnr:.1f} dB to the float output on {count} (worst {self.worst_psnr:.1f})"
        return text if self.perceptual is None else f"{text}, perceptual distance {self.perceptual:.4f}"


def measure_loss(
    images: Sequence[Tensor], target: Side, expected: Callable[[Tensor], Tensor], actual: Callable[[Tensor], Tensor]
) -> Loss:
    """Compare two networks on images.

    Args:
        images: Inputs, (1, C, H, W) in [-1, 1] each, at least one.
        target: The meaning of their outputs.
        expected: The float generator.
        actual: The quantized one.

    Returns:
        The loss.
    """
    ratios, distances = [], []
    for image in images:
        pair = expected(image), actual(image)
        error = (pair[0].double() - pair[1].double()).square().mean().item()
        ratios.append(10 * math.log10(4 / error) if error else math.inf)  # the range is that of [-1, 1]
        distances.append(_measure_perceptual(pair, target))
    found = [distance for distance in distances if distance is not None]
    return Loss(
        psnr=sum(ratios) / len(ratios),
        worst_psnr=min(ratios),
        num_images=len(ratios),
        perceptual=sum(found) / len(found) if len(found) == len(images) else None,
    )


def _measure_perceptual(pair: tuple[Tensor, Tensor], target: Side) -> float | None:
    one, other = ((output + 1) / 2 for output in pair)
    try:
        metrics, _ = choose_metrics(_PERCEPTUAL, target, min(one.shape[2:]))
    except UserError:  # no packages, or no pictures
        return None
    with torch.no_grad():
        return float(metrics[_PERCEPTUAL](other.clamp(0, 1), one.clamp(0, 1)))
