"""Penalties of the discriminator's gradient by the target."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from pix2pix_lightning.losses.precision import widen_to_float32
from pix2pix_lightning.losses.scales import Logits, mean_over_scales

__all__ = ["gradient_penalty", "r1_penalty"]


def gradient_penalty(
    discriminator: Callable[[Tensor], Logits], source: Tensor | None, real: Tensor, fake: Tensor
) -> Tensor:
    """Penalize gradients of the discriminator whose norm is not 1 (WGAN-GP, arXiv 1704.00028, section 4).

    The penalty is computed at random points between each real target and its generated one. The weights between them
    are drawn from the device's global generator, one for each image. The score of an image is its mean over patches.
    The gradient is taken by the target alone: the source is a condition, the same for both targets. Each scale has a
    penalty of its own.

    Autocast is off, since a gradient of a gradient loses too much in half precision. The graph is kept, so that the
    penalty can be minimized.

    Args:
        discriminator: Maps the concatenation of source and target to logits, one map (B, 1, h, w) or a list of them.
        source: Images (B, C_s, H, W), or None for an unconditional discriminator.
        real: Real targets (B, C_t, H, W).
        fake: Generated targets (B, C_t, H, W); no gradient reaches the generator.

    Returns:
        The mean over images, and over scales, of `(|gradient| - 1)^2`: a scalar in float32 at least, unweighted.
    """
    with torch.autocast(real.device.type, enabled=False):
        real, fake = widen_to_float32(real.detach()), widen_to_float32(fake.detach())
        weight = torch.rand(len(real), 1, 1, 1, dtype=real.dtype, device=real.device)
        between = (weight * real + (1 - weight) * fake).requires_grad_()
        return mean_over_scales(partial(_penalize_norm, between), discriminator(_join(source, between)))


def r1_penalty(discriminator: Callable[[Tensor], Logits], source: Tensor | None, real: Tensor) -> Tensor:
    """Penalize gradients of the discriminator at real pairs (R1; Mescheder et al., arXiv 1801.04406, equation 9).

    As for `gradient_penalty`, the score of an image is its mean over patches, the gradient is taken by the target
    alone, each scale has a penalty of its own, autocast is off, and the graph is kept.

    Args:
        discriminator: Maps the concatenation of source and target to logits, one map (B, 1, h, w) or a list of them.
        source: Images (B, C_s, H, W), or None for an unconditional discriminator.
        real: Real targets (B, C_t, H, W).

    Returns:
        The mean over images, and over scales, of half of the squared norm of the gradient: a scalar in float32 at
        least, unweighted.
    """
    with torch.autocast(real.device.type, enabled=False):
        real = widen_to_float32(real.detach()).requires_grad_()
        return mean_over_scales(partial(_penalize_square, real), discriminator(_join(source, real)))


def _join(source: Tensor | None, target: Tensor) -> Tensor:
    return target if source is None else torch.cat([source.detach().to(target.dtype), target], 1)


def _penalize_norm(images: Tensor, logits: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(_differentiate(images, logits), dim=1)
    return (norms - 1).square().mean()


def _penalize_square(images: Tensor, logits: Tensor) -> Tensor:
    return _differentiate(images, logits).square().sum(1).mean() / 2


def _differentiate(images: Tensor, logits: Tensor) -> Tensor:
    """Return the gradient of each image's score by that image, (B, values)."""
    scores = logits.flatten(1).mean(1)
    # The score of an image depends on that image alone, so the sum has every image's own gradient.
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.flatten(1)
