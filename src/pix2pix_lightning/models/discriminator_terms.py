"""What the discriminator sees, and the terms of its loss that not every training has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningModule
from torch import Tensor

from pix2pix_lightning.losses import (
    AdversarialLoss,
    DiffAugment,
    Logits,
    find_labels,
    gradient_penalty,
    label_mix,
    r1_penalty,
)
from pix2pix_lightning.models.discriminator_checks import check_penalty
from pix2pix_lightning.networks import cat_dense_grad

Both = tuple[Tensor, Tensor]


class DiscriminatorTermsMixin(LightningModule):
    """Show pairs to the discriminator, and penalize its gradient.

    Attributes:
        discriminator: The network, or None.
        adversarial: The adversarial loss.
        diff_augment: Random changes of what the discriminator sees.
        conditional: Whether the discriminator sees the source next to the target.
        mask: Which pixels of the step that is running count, (B, 1, H, W); None: all.
        r1_weight: Weight of the R1 penalty; 0 leaves it out.
        r1_every: Batches from one R1 penalty to the next.
        batches_seen: Number of training batches so far.
        last_terms: Terms that were computed in an earlier batch, by name, for the log.
        record: Keeps scalars for the log.
    """

    discriminator: Any
    adversarial: AdversarialLoss
    diff_augment: DiffAugment
    conditional: bool
    mask: Tensor | None
    r1_weight: float
    r1_every: int
    batches_seen: int
    last_terms: dict[str, Tensor]
    record: Callable[..., None]

    def configure_penalties(self) -> None:
        """Set ``penalty_weight`` and ``has_penalty``; check that the discriminator can be trained with penalties."""
        self.last_terms = {}
        self.penalty_weight = 0.0 if self.discriminator is None else self.adversarial.penalty_weight
        self.has_penalty = bool(self.penalty_weight or self.r1_weight)
        if self.has_penalty:
            check_penalty(self.discriminator)

    def condition(self, source: Tensor, target: Tensor) -> Tensor:
        """Return what the discriminator sees: source and target concatenated, or the target alone."""
        return cat_dense_grad(source, target) if self.conditional else target

    def show_pairs(self, source: Tensor, fake: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return what the discriminator sees of a generated and a real pair, changed alike, and its labels.

        Args:
            source: Images (B, C, H, W) in [-1, 1].
            fake: The generator's output (B, C', H, W).
            target: Images (B, C', H, W) in [-1, 1].

        Returns:
            The generated and the real pair, and class numbers (B, H, W), -1 where a pixel does not count; None in
            place of these if the loss does not need them.
        """
        if not self.adversarial.needs_labels:
            return (*self.diff_augment(self.condition(source, fake), self.condition(source, target)), None)
        classes = source if self.mask is None else source.masked_fill(~self.mask, -1)
        count = classes.shape[1]
        pair_fake, pair_real = self.diff_augment(cat_dense_grad(classes, fake), cat_dense_grad(classes, target))
        return pair_fake[:, count:], pair_real[:, count:], find_labels(pair_real[:, :count])

    def compute_gradient_penalty(self, source: Tensor, target: Tensor, fake: Tensor) -> Tensor:
        """Compute the penalty of WGAN-GP, unweighted, and record it.

        Args:
            source: Images (B, C, H, W) in [-1, 1].
            target: Images (B, C', H, W) in [-1, 1].
            fake: The generator's output (B, C', H, W).

        Returns:
            A scalar.
        """
        penalty = gradient_penalty(self._judge, source if self.conditional else None, target, fake)
        self.record(gradient_penalty=penalty)
        return penalty

    def compute_label_mix(self, pairs: Both, logits: Both, labels: Tensor) -> Tensor:
        """Compute the LabelMix consistency, unweighted, and record it.

        Args:
            pairs: What the discriminator saw, the real and the generated one.
            logits: What it returned for them.
            labels: Class numbers (B, H, W), -1 where a pixel does not count.

        Returns:
            A scalar.
        """
        consistency = label_mix(self.discriminator, pairs, logits, labels)
        self.record(label_mix=consistency)
        return consistency

    def _judge(self, pair: Tensor) -> Logits:
        logits: Logits = self.discriminator.forward(*self.diff_augment(pair))  # not compiled: differentiated twice
        return logits

    def is_r1_due(self) -> bool:
        """Return whether the present batch has an R1 penalty: the first one, and from there on every ``r1_every``."""
        return bool(self.r1_weight) and self.batches_seen % self.r1_every == 0

    def compute_r1(self, source: Tensor, target: Tensor) -> Tensor:
        """Compute R1 of images (B, C, H, W), unweighted, and keep it for the log of the batches without one."""
        condition = source if self.conditional else None
        penalty = r1_penalty(lambda pair: self.adversarial.realness(self._judge(pair)), condition, target)
        self.last_terms["r1"] = penalty.detach()
        return penalty
