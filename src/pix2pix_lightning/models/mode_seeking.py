"""The term of the generator's loss that compares two outputs of each source."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from pix2pix_lightning.losses import mode_seeking, replace_masked
from pix2pix_lightning.networks import find_noise
from pix2pix_lightning.utils.errors import UserError


def check_mode_seeking(generator: nn.Module, weights: Mapping[str, float]) -> None:
    """Check that outputs of one source can differ where they are to.

    Args:
        generator: The generator.
        weights: Weights of the terms of its loss.

    Raises:
        UserError: There is a weight for ``mode_seeking``, and the generator has no noise.
    """
    if weights.get("mode_seeking") and not find_noise(generator):
        raise UserError(
            f"weights.mode_seeking={weights['mode_seeking']:g} for a generator without noise, whose outputs for a "
            "source are all equal: set module.generator.noise_channels=8"
        )


def compute_mode_seeking(
    generator: nn.Module, source: Tensor, target: Tensor, fake: Tensor, mask: Tensor | None
) -> Tensor:
    """Compare outputs with further ones of the same sources, which have other noise.

    Args:
        generator: The generator, in training mode.
        source: Images (B, C, H, W) in [-1, 1].
        target: Images (B, C', H, W) in [-1, 1].
        fake: The generator's output with its graph, in the shape of ``target``.
        mask: (B, 1, H, W), True where a pixel counts; None: everywhere.

    Returns:
        The term, unweighted, a scalar (`losses.mode_seeking`).
    """
    return mode_seeking(fake, replace_masked(generator(source), target, mask), mask)
