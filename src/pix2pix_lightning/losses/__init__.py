"""Adversarial, perceptual and reconstruction losses, DiffAugment, feature matching; L1 and L2 are in `torch.nn`."""

from pix2pix_lightning.losses.adversarial import (
    AdversarialLoss,
    HingeAdversarial,
    LeastSquaresAdversarial,
    RelativisticAverageAdversarial,
    VanillaAdversarial,
    WassersteinAdversarial,
)
from pix2pix_lightning.losses.cross_entropy import ClassCrossEntropy
from pix2pix_lightning.losses.diff_augment import DiffAugment
from pix2pix_lightning.losses.feature_matching import feature_matching
from pix2pix_lightning.losses.masking import compute_masked_loss, replace_masked
from pix2pix_lightning.losses.mode_seeking import mode_seeking
from pix2pix_lightning.losses.penalties import gradient_penalty, r1_penalty
from pix2pix_lightning.losses.perceptual import PerceptualDistance, PretrainedPerceptual
from pix2pix_lightning.losses.reconstruction import PyramidL1, ShiftTolerantL1
from pix2pix_lightning.losses.scales import Features, Logits, mean_over_scales, split_logits
from pix2pix_lightning.losses.segmentation_adversarial import SegmentationAdversarial, find_labels, label_mix

__all__ = [
    "AdversarialLoss",
    "ClassCrossEntropy",
    "DiffAugment",
    "Features",
    "HingeAdversarial",
    "LeastSquaresAdversarial",
    "Logits",
    "PerceptualDistance",
    "PretrainedPerceptual",
    "PyramidL1",
    "RelativisticAverageAdversarial",
    "SegmentationAdversarial",
    "ShiftTolerantL1",
    "VanillaAdversarial",
    "WassersteinAdversarial",
    "compute_masked_loss",
    "feature_matching",
    "find_labels",
    "gradient_penalty",
    "label_mix",
    "mean_over_scales",
    "mode_seeking",
    "r1_penalty",
    "replace_masked",
    "split_logits",
]
