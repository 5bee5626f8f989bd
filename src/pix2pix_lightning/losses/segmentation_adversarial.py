"""The adversarial loss of a discriminator that segments: real pixels have a class, generated ones are fake."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from pix2pix_lightning.losses.adversarial import AdversarialLoss
from pix2pix_lightning.losses.precision import widen_to_float32
from pix2pix_lightning.losses.scales import Logits
from pix2pix_lightning.utils.checks import check_numbers

__all__ = ["SegmentationAdversarial", "find_labels", "label_mix"]

NO_LABEL = -1
"""Label of a pixel that does not count."""


class SegmentationAdversarial(AdversarialLoss):
    """Cross entropy of N classes and "fake" at each pixel (OASIS; Sushko et al., arXiv 2012.04781, section 3).

    The discriminator is to find the class of each pixel in real targets, and the last of its N + 1 logits, "fake", in
    generated ones. The generator's pixels are to be taken for their classes. Each class that occurs in a batch counts
    the same (the paper's alpha), so that small ones are learned too. Pixels without a class do not count. The
    discriminator's loss is not halved. `realism` is the mean probability of not being fake.

    Args:
        label_mix_weight: Weight of `label_mix` in the discriminator's loss, the paper's lambda; 0 leaves it out.

    Raises:
        UserError: `label_mix_weight` is negative.

    Example:
        >>> undecided, labels = torch.zeros(1, 4, 8, 8), torch.zeros(1, 8, 8, dtype=torch.long)
        >>> round(SegmentationAdversarial().discriminator(undecided, undecided, labels).item(), 4)
        2.7726
    """

    needs_labels = True

    def __init__(self, label_mix_weight: float = 10.0) -> None:
        super().__init__()
        check_numbers(at_least=0, label_mix_weight=label_mix_weight)
        self.label_mix_weight = label_mix_weight

    def discriminator_loss(self, real: Tensor, fake: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the balanced cross entropy of real pixels with their classes, and that of generated ones with fake.

        Args:
            real: Logits of real targets, (B, N + 1, H, W).
            fake: Logits of generated targets, (B, N + 1, H, W).
            labels: Class numbers (B, H, W), -1 for none.
        """
        assert labels is not None  # `discriminator` checks it
        are_fake = -F.log_softmax(widen_to_float32(fake), 1)[:, -1]
        return compute_balanced_entropy(real, labels) + _mean_of_counted(are_fake, labels != NO_LABEL)

    def generator_loss(self, fake: Tensor, real: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        """Return the balanced cross entropy of generated pixels with their classes.

        Args:
            fake: Logits of generated targets, (B, N + 1, H, W).
            real: Not used.
            labels: Class numbers (B, H, W), -1 for none.
        """
        assert labels is not None  # `generator` checks it
        return compute_balanced_entropy(fake, labels)

    def score(self, logits: Tensor) -> Tensor:
        """Return the mean probability of not being fake."""
        return (1 - widen_to_float32(logits).softmax(1)[:, -1]).mean()

    def realness(self, logits: Logits) -> Logits:
        """Return the log odds of not being fake, (B, 1, H, W), of one map or of each scale."""
        if not isinstance(logits, Tensor):
            return [self._compute_log_odds(each) for each in logits]
        return self._compute_log_odds(logits)

    def _compute_log_odds(self, logits: Tensor) -> Tensor:
        return logits[:, :-1].logsumexp(1, keepdim=True) - logits[:, -1:]


def compute_balanced_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over the classes in a batch of the mean cross entropy over each one's pixels, in nats.

    Args:
        logits: (B, N + 1, H, W).
        labels: Class numbers (B, H, W), -1 for pixels that do not count.

    Returns:
        A scalar; 0 where no pixel has a class.
    """
    losses = F.cross_entropy(widen_to_float32(logits), labels, ignore_index=NO_LABEL, reduction="none")
    classes = torch.arange(logits.shape[1], device=labels.device)[:, None, None]
    counts = (labels[:, None] == classes).sum((0, 2, 3)).to(losses.dtype)
    weights = 1 / (counts * (counts > 0).sum()).clamp_min(1)
    return (losses * weights[labels.clamp_min(0)]).sum()  # of a pixel without a class the loss is 0


def label_mix(
    discriminator: Callable[[Tensor], Tensor],
    images: tuple[Tensor, Tensor],
    logits: tuple[Tensor, Tensor],
    labels: Tensor,
) -> Tensor:
    """Penalize logits of a mixed image that are not the mixed logits (LabelMix; arXiv 2012.04781, equation 4).

    Each class of each image is taken from the real or from the generated target, at random, by the device's global
    generator, so that the borders are those of the labels.

    Args:
        discriminator: Maps targets (B, C, H, W) to logits (B, N + 1, H, W).
        images: Real and generated targets.
        logits: Logits of both.
        labels: Class numbers (B, H, W), -1 for pixels that do not count.

    Returns:
        The mean squared difference over pixels that count and channels: a scalar, unweighted.
    """
    draws = torch.rand(len(labels), logits[0].shape[1], device=labels.device)
    numbers = labels.clamp_min(0).flatten(1)  # the draws of pixels that do not count have no effect
    from_real = (draws.gather(1, numbers) < 0.5).view_as(labels)[:, None]
    mixed = discriminator(torch.where(from_real, *images))
    real, fake = (widen_to_float32(each) for each in logits)
    squares = (widen_to_float32(mixed) - torch.where(from_real, real, fake)).square()
    return _mean_of_counted(squares.mean(1), labels != NO_LABEL)


def find_labels(classes: Tensor) -> Tensor:
    """Return the class number of each pixel.

    Args:
        classes: (B, N, H, W), above 0 where the class is.

    Returns:
        (B, H, W) integers, -1 where no channel is above 0.
    """
    values, numbers = classes.max(1)
    return numbers.masked_fill(values <= 0, NO_LABEL)


def _mean_of_counted(losses: Tensor, counts: Tensor) -> Tensor:
    """Return the mean of (B, H, W) where ``counts`` is True, 0 where it never is."""
    return losses.masked_fill(~counts, 0.0).sum() / counts.sum().clamp_min(1)
