"""Adversarial losses, the gradient penalty and feature matching; L1 and L2 are `torch.nn`'s own."""

from pix2pix_lightning.losses.adversarial import (
    AdversarialLoss,
    HingeAdversarial,
    LeastSquaresAdversarial,
    VanillaAdversarial,
    WassersteinAdversarial,
    gradient_penalty,
)
from pix2pix_lightning.losses.feature_matching import feature_matching
from pix2pix_lightning.losses.perceptual import PerceptualDistance

__all__ = [
    "AdversarialLoss",
    "HingeAdversarial",
    "LeastSquaresAdversarial",
    "PerceptualDistance",
    "VanillaAdversarial",
    "WassersteinAdversarial",
    "feature_matching",
    "gradient_penalty",
]
