"""Adversarial, perceptual and reconstruction losses, DiffAugment, feature matching; L1 and L2 are in `torch.nn`."""

from pix2pix_lightning.losses.adversarial import (
    AdversarialLoss,
    HingeAdversarial,
    LeastSquaresAdversarial,
    RelativisticAverageAdversarial,
    VanillaAdversarial,
    WassersteinAdversarial,
    gradient_penalty,
)
from pix2pix_lightning.losses.diff_augment import DiffAugment
from pix2pix_lightning.losses.feature_matching import feature_matching
from pix2pix_lightning.losses.masking import compute_masked_loss, replace_masked
from pix2pix_lightning.losses.perceptual import PerceptualDistance, PretrainedPerceptual
from pix2pix_lightning.losses.reconstruction import PyramidL1, ShiftTolerantL1
from pix2pix_lightning.losses.scales import Features, Logits, mean_over_scales, split_logits

__all__ = [
    "AdversarialLoss",
    "DiffAugment",
    "Features",
    "HingeAdversarial",
    "LeastSquaresAdversarial",
    "Logits",
    "PerceptualDistance",
    "PretrainedPerceptual",
    "PyramidL1",
    "RelativisticAverageAdversarial",
    "ShiftTolerantL1",
    "VanillaAdversarial",
    "WassersteinAdversarial",
    "compute_masked_loss",
    "feature_matching",
    "gradient_penalty",
    "mean_over_scales",
    "replace_masked",
    "split_logits",
]
