"""The segmentation discriminator against a U-Net written down with functions."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from pix2pix_lightning.networks import SegmentationDiscriminator
from pix2pix_lightning.utils.errors import UserError


def test_it_is_a_unet_without_tanh():
    torch.manual_seed(0)
    network = SegmentationDiscriminator(2, 4, num_downs=2, base_channels=3, spectral_norm=False).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_()
    x = torch.randn(2, 2, 8, 12, dtype=torch.float64)
    weights = network.state_dict()

    def down(level, x):
        return F.conv2d(x, weights[f"down.{level}.conv.weight"], weights[f"down.{level}.conv.bias"], 2, 1)

    def up(level, x):
        doubled = F.relu(x).repeat_interleave(2, 2).repeat_interleave(2, 3)
        return F.conv2d(doubled, weights[f"up.{level}.conv.weight"], weights[f"up.{level}.conv.bias"], padding=1)

    first = F.leaky_relu(down(0, x), 0.2)
    second = down(1, first)
    third = up(1, second)
    logits = up(0, torch.cat([first, third], 1))
    assert logits.shape == (2, 5, 8, 12)
    assert logits.abs().max() > 1
    features = network.features(x)
    assert len(features) == 4
    for feature, expected in zip(features, (first, second, third, logits), strict=True):
        torch.testing.assert_close(feature, expected)


def test_its_size():
    with torch.device("meta"):
        network = SegmentationDiscriminator(3, 12, spectral_norm=False)
    widths = [3, 64, 128, 256, 512, 512, 512]
    down = sum(16 * a * b + b for a, b in itertools.pairwise(widths))
    up = sum(9 * a * b + b for a, b in [(128, 13), (256, 64), (512, 128), (1024, 256), (1024, 512), (512, 512)])
    assert sum(parameter.numel() for parameter in network.parameters()) == down + up
    assert network.side_multiple == 64


def test_spectral_norm_bounds_every_convolution():
    torch.manual_seed(0)
    network = SegmentationDiscriminator(2, 4, num_downs=2, base_channels=3)
    for _ in range(30):
        network(torch.zeros(1, 2, 8, 8))
    convolutions = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    assert len(convolutions) == 4
    for convolution in convolutions:
        assert torch.linalg.matrix_norm(convolution.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)


def test_sides_that_cannot_be_halved_are_refused():
    network = SegmentationDiscriminator(3, 2, num_downs=3, base_channels=2)
    for side in (4, 12):
        with pytest.raises(UserError, match="multiples of 8"):
            network(torch.zeros(1, 3, side, 16))
