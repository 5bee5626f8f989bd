"""Adversarial losses: the formulas as functions, and a module for each pair of losses.

Logits are a discriminator's output for each patch, without a sigmoid: one map (B, 1, h, w), or a list with a map for
each scale. A loss is a mean over images and patches, and over scales. It is computed in float32 at least.
"""

from abc import ABC, abstractmethod
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pix2pix_lightning.losses.precision import widen_to_float32
from pix2pix_lightning.losses.scales import Logits, mean_over_scales
from pix2pix_lightning.utils.errors import UserError

__all__ = [
    "AdversarialLoss",
    "HingeAdversarial",
    "LeastSquaresAdversarial",
    "RelativisticAverageAdversarial",
    "VanillaAdversarial",
    "WassersteinAdversarial",
    "cross_entropy",
    "hinge",
    "squared_error",
]


def cross_entropy(logits: Tensor, label: float) -> Tensor:
    """Return the mean binary cross entropy of logits against one label for all patches, 0 or 1, in nats."""
    logits = widen_to_float32(logits)
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def squared_error(logits: Tensor, label: float) -> Tensor:
    """Return the mean squared distance of raw scores from one label for all patches."""
    return (widen_to_float32(logits) - label).square().mean()


def hinge(margins: Tensor) -> Tensor:
    """Return the mean of `max(0, 1 - margin)`: the loss of a patch is 0 once its margin is 1."""
    return F.relu(1 - widen_to_float32(margins)).mean()


class AdversarialLoss(nn.Module, ABC):
    """The losses of discriminator and generator, and a score for the log.

    A subclass implements `discriminator_loss` and `generator_loss`, and `score` where it is not the mean logit, for one
    map of logits. The training step calls `discriminator`, `generator` and `realism`, which average over the scales.

    Attributes:
        penalty_weight: Weight of `gradient_penalty` in the discriminator's loss; 0 where the form has none.
        needs_real_logits: Whether the generator's loss also depends on the logits of real pairs.
        label_mix_weight: Weight of `label_mix` in the discriminator's loss; 0 where the form has none.
        needs_labels: Whether the losses also depend on each pixel's class. They then are functions of
            (real, fake, labels) and (fake, real, labels), with labels (B, h, w), and -1 where a pixel has no class.

    Example:
        >>> class SoftplusAdversarial(AdversarialLoss):
        ...     def discriminator_loss(self, real, fake):
        ...         return F.softplus(-real).mean() + F.softplus(fake).mean()
        ...
        ...     def generator_loss(self, fake, real=None):
        ...         return F.softplus(-fake).mean()
        >>> scales = [torch.zeros(1, 1, 30, 30), torch.zeros(1, 1, 14, 14)]
        >>> round(SoftplusAdversarial().discriminator(scales, scales).item(), 4)
        1.3863
    """

    penalty_weight: float = 0.0
    needs_real_logits: bool = False
    needs_labels: bool = False
    label_mix_weight: float = 0.0

    @abstractmethod
    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the discriminator's loss on one scale.

        Args:
            real: Logits of real pairs, (B, 1, h, w).
            fake: Logits of generated pairs, (B, 1, h, w), without a graph of the generator.

        Returns:
            A scalar to be minimized, without the gradient penalty.
        """

    @abstractmethod
    def generator_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """Return the generator's loss on one scale.

        Args:
            fake: Logits of generated pairs, (B, 1, h, w).
            real: Logits of real pairs, (B, 1, h, w); given if ``needs_real_logits`` is True.

        Returns:
            A scalar to be minimized.
        """

    def score(self, logits: Tensor) -> Tensor:
        """Return how real the discriminator finds what it saw on one scale, a scalar: by default the mean logit."""
        return widen_to_float32(logits).mean()

    def discriminator(self, real: Logits, fake: Logits, labels: Tensor | None = None) -> Tensor:
        """Return the mean of `discriminator_loss` over the scales, a scalar to be minimized.

        Args:
            real: Logits of real pairs, one map (B, 1, h, w) or one for each scale.
            fake: Logits of generated pairs, of the same shapes.
            labels: Class numbers (B, h, w), -1 for none; only needed and used if ``needs_labels`` is True.

        Raises:
            UserError: ``labels`` are needed and missing.
        """
        return mean_over_scales(partial(self.discriminator_loss, **self._select_labels(labels)), real, fake)

    def generator(self, fake: Logits, real: Logits | None = None, labels: Tensor | None = None) -> Tensor:
        """Return the mean of `generator_loss` over the scales, a scalar to be minimized.

        Args:
            fake: Logits of generated pairs, one map (B, 1, h, w) or one for each scale.
            real: Logits of real pairs, of the same shapes; only needed and used if ``needs_real_logits`` is True.
            labels: As for `discriminator`.

        Raises:
            UserError: ``real`` or ``labels`` are needed and missing.
        """
        loss = partial(self.generator_loss, **self._select_labels(labels))
        if not self.needs_real_logits:
            return mean_over_scales(loss, fake)
        if real is None:
            raise UserError(f"{type(self).__name__} needs the logits of real pairs: give generator(fake, real)")
        return mean_over_scales(loss, fake, real)

    def realness(self, logits: Logits) -> Logits:
        """Return maps that are high for real, whose gradient `r1_penalty` takes: by default the logits themselves."""
        return logits

    @torch.no_grad()
    def realism(self, logits: Logits) -> Tensor:
        """Return the mean of `score` over the scales, a scalar without a gradient, for the log.

        Args:
            logits: One map (B, 1, h, w) or one for each scale.
        """
        return mean_over_scales(self.score, logits)

    def _select_labels(self, labels: Tensor | None) -> dict[str, Any]:
        if self.needs_labels and labels is None:
            raise UserError(f"{type(self).__name__} needs the class of each pixel: give labels, (B, h, w)")
        return {"labels": labels} if self.needs_labels else {}


class VanillaAdversarial(AdversarialLoss):
    """Cross entropy; the generator's loss does not saturate (pix2pix, arXiv 1611.07004, 3.1 and 3.3).

    The discriminator's loss is halved, so that it learns more slowly than the generator.
    `realism` is a mean probability, 0 to 1.

    Example:
        >>> undecided = torch.zeros(1, 1, 30, 30)
        >>> round(VanillaAdversarial().discriminator(undecided, undecided).item(), 4)
        0.6931
    """

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return `(BCE(real, 1) + BCE(fake, 0)) / 2`."""
        return (cross_entropy(real, 1.0) + cross_entropy(fake, 0.0)) / 2

    def generator_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """Return `BCE(fake, 1)`."""
        return cross_entropy(fake, 1.0)

    def score(self, logits: Tensor) -> Tensor:
        """Return the mean probability of being real."""
        return widen_to_float32(logits).sigmoid().mean()


class LeastSquaresAdversarial(AdversarialLoss):
    """Squared distance from the labels 1 and 0 (LSGAN, arXiv 1611.04076, equation 9), D's loss halved.

    `realism` is the mean score: 1 is real, 0 is fake, without bounds.

    Example:
        >>> undecided = torch.full((1, 1, 30, 30), 0.5)
        >>> LeastSquaresAdversarial().discriminator(undecided, undecided).item()
        0.25
    """

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return `(mean (real - 1)^2 + mean fake^2) / 2`."""
        return (squared_error(real, 1.0) + squared_error(fake, 0.0)) / 2

    def generator_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
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

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return `mean max(0, 1 - real) + mean max(0, 1 + fake)`."""
        return hinge(real) + hinge(-fake)

    def generator_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """Return `-mean fake`."""
        return -widen_to_float32(fake).mean()


class WassersteinAdversarial(AdversarialLoss):
    """The critic's distance with a gradient penalty (WGAN-GP, arXiv 1704.00028, equation 3); not halved.

    The penalty is `gradient_penalty`, which the training step adds with `penalty_weight`. It is defined for each
    image by itself, so a discriminator with batch norm, which mixes the images, cannot be trained with it.
    `realism` is the mean score.

    Args:
        penalty_weight: Weight of the penalty, the paper's lambda, 0 or more.

    Raises:
        UserError: `penalty_weight` is negative.

    Example:
        >>> real, fake = torch.full((1, 1, 30, 30), 3.0), torch.ones(1, 1, 30, 30)
        >>> WassersteinAdversarial().discriminator(real, fake).item()
        -2.0
    """

    def __init__(self, penalty_weight: float = 10.0) -> None:
        super().__init__()
        if not penalty_weight >= 0:
            raise UserError(f"penalty_weight must not be negative, got {penalty_weight}: the paper's value is 10")
        self.penalty_weight = penalty_weight

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return `mean fake - mean real`."""
        return widen_to_float32(fake).mean() - widen_to_float32(real).mean()

    def generator_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """Return `-mean fake`."""
        return -widen_to_float32(fake).mean()


class RelativisticAverageAdversarial(AdversarialLoss):
    """Cross entropy of logits relative to the mean logit of the other kind (RaSGAN, arXiv 1807.00734).

    The discriminator estimates whether a real pair is more realistic than the average generated pair, and the reverse.
    The mean is over the images and patches of a batch, in each process and on each scale. Both losses are the paper's
    sums of two terms, neither is halved; its author's code halves both. `realism` is the mean logit: only the
    difference between real and generated pairs has a meaning.

    Example:
        >>> undecided = torch.zeros(1, 1, 30, 30)
        >>> round(RelativisticAverageAdversarial().discriminator(undecided, undecided).item(), 4)
        1.3863
    """

    needs_real_logits = True

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return `BCE(real - mean fake, 1) + BCE(fake - mean real, 0)`."""
        real, fake = widen_to_float32(real), widen_to_float32(fake)
        return cross_entropy(real - fake.mean(), 1.0) + cross_entropy(fake - real.mean(), 0.0)

    def generator_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """Return `BCE(fake - mean real, 1) + BCE(real - mean fake, 0)`."""
        assert real is not None  # `generator` checks it
        return self.discriminator_loss(fake, real)
