"""Adversarial losses, gradient penalty, feature matching and perceptual distance; L1 and L2 are those of `torch.nn`."""

from pix2pix_lightning.losses.adversarial import (
    AdversarialLoss,
    HingeAdversarial,
    LeastSquaresAdversarial,
    RelativisticAverageAdversarial,
    VanillaAdversarial,
    WassersteinAdversarial,
    gradient_penalty,
)
from pix2pix_lightning.losses.feature_matching import feature_matching
from pix2pix_lightning.losses.masking import compute_masked_loss, replace_masked
from pix2pix_lightning.losses.perceptual import PerceptualDistance
from pix2pix_lightning.losses.scales import Features, Logits, mean_over_scales, split_logits

__all__ = [
    "AdversarialLoss",
    "Features",
    "HingeAdversarial",
    "LeastSquaresAdversarial",
    "Logits",
    "PerceptualDistance",
    "RelativisticAverageAdversarial",
    "VanillaAdversarial",
    "WassersteinAdversarial",
    "compute_masked_loss",
    "feature_matching",
    "gradient_penalty",
    "mean_over_scales",
    "replace_masked",
    "split_logits",
]
