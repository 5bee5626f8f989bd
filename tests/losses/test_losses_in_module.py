"""The module's losses with several scales, and with a form that needs real logits, against sums by hand."""

import pytest
import torch
from torch.nn.functional import softplus

from pix2pix_lightning import Pix2PixModule

GENERATOR = {"_target_": "pix2pix_lightning.networks.UNetGenerator", "num_downs": 3, "base_channels": 2}
DISCRIMINATOR = {
    "_target_": "pix2pix_lightning.networks.MultiScaleDiscriminator",
    "num_scales": 2,
    "num_layers": 1,
    "base_channels": 2,
}
ONE_SCALE = {
    "_target_": "pix2pix_lightning.networks.PatchDiscriminator",
    "num_layers": 1,
    "base_channels": 2,
    "norm": "none",
}


def judge(discriminator, source, target):
    features = discriminator.features(torch.cat([source, target], 1))
    return features if isinstance(features[0], list) else [features]


def relativistic(high, low):
    return softplus(low.mean() - high).mean() + softplus(low - high.mean()).mean()


@pytest.mark.parametrize("discriminator", [DISCRIMINATOR, ONE_SCALE], ids=["two scales", "one scale"])
@pytest.mark.parametrize("matching", [0.0, 10.0])
@pytest.mark.parametrize("form", ["Vanilla", "RelativisticAverage"])
def test_losses_are_means_over_the_scales(discriminator, matching, form):
    module = Pix2PixModule(
        GENERATOR,
        discriminator,
        adversarial={"_target_": f"pix2pix_lightning.losses.{form}Adversarial"},
        weights={"l1": 0.0, "feature_matching": matching},
    ).double()
    module.log = lambda *args, **kwargs: None
    source, target, fake = torch.rand(3, 2, 3, 16, 16, dtype=torch.float64) * 2 - 1
    real_scales, fake_scales = (judge(module.discriminator, source, images) for images in (target, fake))
    losses_d, losses_g = [], []
    for real, generated in zip(real_scales, fake_scales, strict=True):
        r, f = real[-1], generated[-1]
        if form == "Vanilla":
            losses_d.append((softplus(-r).mean() + softplus(f).mean()) / 2)
            loss_g = softplus(-f).mean()
        else:
            losses_d.append(relativistic(r, f))
            loss_g = relativistic(f, r)
        distances = [(a - b).abs().mean() for a, b in zip(real[:-1], generated[:-1], strict=True)]
        losses_g.append(loss_g + matching * sum(distances) / len(distances))
    for actual, expected in (
        (module.discriminator_loss(source, target, fake), losses_d),
        (module.generator_loss(source, target, fake), losses_g),
    ):
        torch.testing.assert_close(actual, sum(expected) / len(expected), rtol=1e-10, atol=0)
