"""What goes with a discriminator: changes of what it sees, its penalties, its loss, its kinds of sides."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from pix2pix_lightning.data.pair_spec import PairSpec
from pix2pix_lightning.data.sides import Side
from pix2pix_lightning.losses import AdversarialLoss, DiffAugment
from pix2pix_lightning.utils.errors import UserError

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def build_diff_augment(policies: Sequence[str] | None, target: Side, *, has_discriminator: bool) -> DiffAugment:
    """Build the random changes of what the discriminator sees.

    Args:
        policies: Names of the changes; None for no change.
        target: What the target's pixels mean.
        has_discriminator: Whether there is a discriminator.

    Returns:
        The changes.

    Raises:
        UserError: A name is unknown, or there is nothing that could be changed.
    """
    changes = DiffAugment(() if policies is None else policies, target_channels=target.channels)
    if changes.policies and not has_discriminator:
        raise UserError(f"diff_augment={list(changes.policies)} without a discriminator: leave it out")
    if "color" in changes.policies and target.kind == "label":
        raise UserError(
            "diff_augment: color with a target of classes, which has no colours: choose translation, cutout"
        )
    return changes


def check_penalty(discriminator: nn.Module) -> None:
    """Check that a discriminator can be trained with a gradient penalty.

    Raises:
        UserError: A batch norm mixes the images of a batch.
    """
    if any(isinstance(module, _BATCH_NORMS) for module in discriminator.modules()):
        raise UserError(
            "a gradient penalty with batch norm in the discriminator: the penalty is each image's own, batch norm "
            "mixes the images; set module.discriminator.norm=instance or none"
        )


def check_discriminator(
    discriminator: nn.Module, adversarial: AdversarialLoss, spec: PairSpec, *, conditional: bool
) -> None:
    """Check that a discriminator goes with its loss and with the pairs.

    Args:
        discriminator: One with ``predicts_classes`` segments.
        adversarial: The adversarial loss.
        spec: What the images mean.
        conditional: Whether the discriminator sees the source next to the target.

    Raises:
        UserError: It does not; the line has the setting that does.
    """
    predicts_classes = bool(getattr(discriminator, "predicts_classes", False))
    if predicts_classes != adversarial.needs_labels:
        network, loss = type(discriminator).__name__, type(adversarial).__name__
        raise UserError(
            f"{network} with {loss}: the segmentation discriminator and its loss go together; set "
            + ("adversarial=segmentation" if predicts_classes else "discriminator=segmentation")
        )
    if predicts_classes and spec.source.kind != "label":
        raise UserError(
            f"a segmentation discriminator with a source of kind={spec.source.kind}: it finds the source's classes, "
            "which a label map has; set kind=label with a palette= or num_classes= for that side"
        )
    if predicts_classes and conditional:
        raise UserError(
            "a segmentation discriminator with conditional=true: it is to find the label map, not to see it; set "
            "module.conditional=false"
        )
