"""The projected discriminator against its formula, and without its pretrained network."""

import pytest
import torch
from torch.nn import functional as F

from pix2pix_lightning.networks import ProjectedDiscriminator, projected
from pix2pix_lightning.networks.features import load_features
from pix2pix_lightning.utils.errors import UserError

SMALL = {"base_channels": 4, "source_channels": 3}


def draw_images(channels=5, side=48):
    return torch.rand(2, channels, 32, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1


def test_two_scales_equal_the_formula():
    torch.manual_seed(0)
    network = ProjectedDiscriminator(5, 3, num_feature_layers=2, spectral_norm=False, **SMALL).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.2)
    weights, images = network.state_dict(), draw_images()
    eighth, sixteenth = load_features("lite0", dtype=torch.float64).compute_layers(images[:, 2:])[2:]

    def stage(name, x, stride=1):
        return F.conv2d(x, weights[f"{name}.conv.weight"], weights[f"{name}.conv.bias"], stride, 1)

    coarse = F.conv2d(sixteenth, weights["mix_channels_1"])
    assert coarse.shape == (2, 8, 2, 3)
    fine = F.conv2d(eighth, weights["mix_channels_0"])
    doubled = F.interpolate(coarse, scale_factor=2, mode="bilinear")
    fine = (fine + F.conv2d(doubled, weights["mix_scales_1"], padding=1)) / 2**0.5
    source, levels = images[:, :2], []
    for level in range(4):
        source = F.leaky_relu(stage(f"source.{level}", source, 2), 0.2)
        levels.append(source)
    expected = []
    for scale, seen in enumerate([torch.cat([levels[2], fine], 1), torch.cat([levels[3], coarse], 1)]):
        stages = [2, 1] if scale == 0 else [1]
        for number, stride in enumerate(stages):
            seen = F.leaky_relu(stage(f"heads.{scale}.{number}", seen, stride), 0.2)
        expected.append(stage(f"heads.{scale}.{len(stages)}", seen))
    logits = network(images)
    assert [tuple(each.shape) for each in logits] == [(2, 1, 2, 3), (2, 1, 2, 3)]
    for ours, theirs in zip(logits, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_fixed_weights_are_drawn_with_the_seed_saved_and_never_trained():
    networks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        networks.append(ProjectedDiscriminator(6, **SMALL))
    mixes = [{key: value for key, value in network.state_dict().items() if "mix" in key} for network in networks]
    assert len(mixes[0]) == 5
    assert all(torch.equal(mixes[0][key], mixes[1][key]) for key in mixes[0])
    assert not any(torch.equal(mixes[0][key], mixes[2][key]) for key in mixes[0])
    assert not any("mix" in name for name, _ in networks[0].named_parameters())
    wide = ProjectedDiscriminator(6, base_channels=64).mix_scales_2
    assert wide.shape == (128, 256, 3, 3)
    assert wide.var().item() * 256 * 9 == pytest.approx(1, rel=0.01)  # the variance of what it mixes stays


def test_the_pretrained_network_is_no_part_of_it(monkeypatch):
    network = ProjectedDiscriminator(6, **SMALL)
    mixed = 4 * 24 + 8 * 40 + 16 * 112 + 9 * (4 * 8 + 8 * 16)
    assert sum(buffer.numel() for name, buffer in network.named_buffers() if "mix" in name) == mixed
    source = 27 * 3 + 3 + 3 * (27 * 3 + 3)
    heads = [(7, 4, 2), (11, 8, 1), (19, 16, 0)]  # with the source's channels
    heads = sum(9 * a * b + b + downs * (9 * b * b + b) + 9 * b + 1 for a, b, downs in heads)
    assert sum(parameter.numel() for parameter in network.parameters()) == source + heads
    saved = network.state_dict()

    def fail(*args):
        raise AssertionError("loaded")

    monkeypatch.setattr(projected, "load_features", fail)
    other = ProjectedDiscriminator(6, **SMALL)
    other.load_state_dict(saved)


def test_a_gradient_reaches_the_target_and_the_source():
    images = draw_images().float().requires_grad_()
    sum(logits.sum() for logits in ProjectedDiscriminator(5, 3, **SMALL)(images)).backward()
    assert (images.grad.abs().amax((0, 2, 3)) > 0).all()


def test_gray_targets_are_seen_as_rgb():
    torch.manual_seed(0)
    gray = ProjectedDiscriminator(1, 1, **SMALL).double().eval()
    rgb = ProjectedDiscriminator(3, 3, **SMALL).double().eval()
    rgb.load_state_dict(gray.state_dict())
    images = draw_images(1)
    for one, other in zip(gray(images), rgb(images.expand(-1, 3, -1, -1)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("side", [16, 17, 31, 33, 50])
def test_any_side_is_taken(side):
    network = ProjectedDiscriminator(6, num_feature_layers=4, **SMALL)
    coarsest = -(-side // 16)
    for logits in network(torch.zeros(1, 6, 32, side)):
        assert logits.shape == (1, 1, 2, coarsest)


def test_what_does_not_fit_is_refused():
    for channels, target_channels in ((5, 2), (7, 4), (2, 3)):
        with pytest.raises(UserError, match=f"target_channels={target_channels}.*patch_70"):
            ProjectedDiscriminator(channels, target_channels)
    with pytest.raises(UserError, match="pretrained=lite9"):
        ProjectedDiscriminator(pretrained="lite9")
    with pytest.raises(UserError, match="num_feature_layers=5"):
        ProjectedDiscriminator(num_feature_layers=5)
    with pytest.raises(UserError, match="from 16"):
        ProjectedDiscriminator(**SMALL)(torch.zeros(1, 6, 15, 32))
