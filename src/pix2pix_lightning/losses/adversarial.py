"""The adversarial forms: formulas as functions, and a thin module around each pair of them.

Logits are what a discriminator gives for each patch, (B, 1, h, w), without a sigmoid; a loss is a mean over
images and patches. Everything is computed in float32 at least.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pix2pix_lightning.losses.precision import at_least_float32

__all__ = [
    "AdversarialLoss",
    "HingeAdversarial",
    "LeastSquaresAdversarial",
    "VanillaAdversarial",
    "WassersteinAdversarial",
    "cross_entropy",
    "gradient_penalty",
    "hinge",
    "squared_error",
]


def cross_entropy(logits: Tensor, label: float) -> Tensor:
    """Return the mean binary cross entropy of logits against one label for all patches, 0 or 1, in nats."""
    logits = at_least_float32(logits)
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def squared_error(logits: Tensor, label: float) -> Tensor:
    """Return the mean squared distance of raw scores from one label for all patches."""
    return (at_least_float32(logits) - label).square().mean()


def hinge(margins: Tensor) -> Tensor:
    """Return the mean of `max(0, 1 - margin)`: nothing is lost once a patch is right by a margin of 1."""
    return F.relu(1 - at_least_float32(margins)).mean()


class AdversarialLoss(nn.Module, ABC):
    """What the training step asks of an adversarial form.

    Attributes:
        penalty_weight: Weight of `gradient_penalty` in the discriminator's loss; 0 where the form has none.
    """

    penalty_weight: float = 0.0

    @abstractmethod
    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the discriminator's loss.

        Args:
            real: Logits of real pairs, (B, 1, h, w).
            fake: Logits of generated pairs, (B, 1, h, w), the generator detached.

        Returns:
            A scalar, to be minimized; without the gradient penalty.
        """

    @abstractmethod
    def generator(self, fake: Tensor) -> Tensor:
        """Return the generator's loss, a scalar to be minimized, from its pairs' logits, (B, 1, h, w)."""

    def realism(self, logits: Tensor) -> Tensor:
        """Return how real the discriminator finds what it saw, a scalar without a gradient, for the log."""
        return at_least_float32(logits.detach()).mean()


class VanillaAdversarial(AdversarialLoss):
    """Cross entropy; the generator's loss does not saturate (pix2pix, arXiv 1611.07004, 3.1 and 3.3).

    The discriminator's loss is halved, so that it learns more slowly than the generator.
    `realism` is a mean probability, 0 to 1.

    Example:
        >>> undecided = torch.zeros(1, 1, 30, 30)
        >>> round(VanillaAdversarial().discriminator(undecided, undecided).item(), 4)
        0.6931
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return `(BCE(real, 1) + BCE(fake, 0)) / 2`."""
        return (cross_entropy(real, 1.0) + cross_entropy(fake, 0.0)) / 2

    def generator(self, fake: Tensor) -> Tensor:
        """Return `BCE(fake, 1)`."""
        return cross_entropy(fake, 1.0)

    def realism(self, logits: Tensor) -> Tensor:
        """Return the mean probability of being real."""
        return at_least_float32(logits.detach()).sigmoid().mean()


class LeastSquaresAdversarial(AdversarialLoss):
    """Squared distance from the labels 1 and 0 (LSGAN, arXiv 1611.04076, equation 9), D's loss halved.

    `realism` is the mean score: 1 is real, 0 is fake, without bounds.

    Example:
        >>> undecided = torch.full((1, 1, 30, 30), 0.5)
        >>> LeastSquaresAdversarial().discriminator(undecided, undecided).item()
        0.25
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return `(mean (real - 1)^2 + mean fake^2) / 2`."""
        return (squared_error(real, 1.0) + squared_error(fake, 0.0)) / 2

    def generator(self, fake: Tensor) -> Tensor:
        """Return `mean (fake - 1)^2`, not halved."""
        return squared_error(fake, 1.0)


class HingeAdversarial(AdversarialLoss):
    """The hinge form (spectral normalization, arXiv 1802.05957, equations 16 and 17); D's loss is not halved.

    `realism` is the mean score: above 0 is real, without bounds.

    Example:
        >>> undecided = torch.zeros(1, 1, 30, 30)
        >>> HingeAdversarial().discriminator(undecided, undecided).item()
        2.0
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return `mean max(0, 1 - real) + mean max(0, 1 + fake)`."""
        return hinge(real) + hinge(-fake)

    def generator(self, fake: Tensor) -> Tensor:
        """Return `-mean fake`."""
        return -at_least_float32(fake).mean()


class WassersteinAdversarial(AdversarialLoss):
    """The critic's distance with a gradient penalty (WGAN-GP, arXiv 1704.00028, equation 3); not halved.

    The penalty is `gradient_penalty`, which the training step adds with `penalty_weight`. It is each image's
    own: a discriminator with batch norm mixes the images and cannot be trained with it. `realism` is the mean
    score.

    Args:
        penalty_weight: Weight of the penalty, the paper's lambda, 0 or more.

    Raises:
        ValueError: If `penalty_weight` is negative.

    Example:
        >>> real, fake = torch.full((1, 1, 30, 30), 3.0), torch.ones(1, 1, 30, 30)
        >>> WassersteinAdversarial().discriminator(real, fake).item()
        -2.0
    """

    def __init__(self, penalty_weight: float = 10.0) -> None:
        super().__init__()
        if not penalty_weight >= 0:
            raise ValueError(f"penalty_weight must not be negative, got {penalty_weight}: the paper's value is 10")
        self.penalty_weight = penalty_weight

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return `mean fake - mean real`."""
        return at_least_float32(fake).mean() - at_least_float32(real).mean()

    def generator(self, fake: Tensor) -> Tensor:
        """Return `-mean fake`."""
        return -at_least_float32(fake).mean()


def gradient_penalty(
    discriminator: Callable[[Tensor], Tensor], source: Tensor | None, real: Tensor, fake: Tensor
) -> Tensor:
    """Penalize gradients of the discriminator whose norm is not 1 (WGAN-GP, arXiv 1704.00028, section 4).

    Each image is a random point between a real and a generated target, by a weight of its own that is drawn
    from the device's global generator. The score of an image is its mean over patches. The gradient is that
    with respect to the target alone: the source is a condition, and is the same on both sides.

    It runs with autocast off and in float32 at least, since a gradient of a gradient loses too much in half
    precision, and keeps the graph, so that it can be minimized.

    Args:
        discriminator: Gives logits (B, 1, h, w) for the concatenation of source and target.
        source: Images (B, C_s, H, W), or None for an unconditional discriminator.
        real: Real targets (B, C_t, H, W).
        fake: Generated targets (B, C_t, H, W); no gradient reaches the generator.

    Returns:
        The mean over images of `(|gradient| - 1)^2`, a scalar, unweighted.
    """
    with torch.autocast(real.device.type, enabled=False):
        real, fake = at_least_float32(real.detach()), at_least_float32(fake.detach())
        weight = torch.rand(len(real), 1, 1, 1, dtype=real.dtype, device=real.device)
        between = (weight * real + (1 - weight) * fake).requires_grad_()
        pair = between if source is None else torch.cat([source.detach().to(between.dtype), between], 1)
        scores = discriminator(pair).flatten(1).mean(1)
        # Summed, because the score of an image depends on that image alone.
        (gradient,) = torch.autograd.grad(scores.sum(), between, create_graph=True)
        norms: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
        return (norms - 1).square().mean()
