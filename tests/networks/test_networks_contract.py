"""What every generator and every discriminator promises, at widths that cost nothing."""

import itertools

import pytest
import torch
from torch import nn

from pix2pix_lightning.networks import (
    EncoderDecoderGenerator,
    PatchDiscriminator,
    PixelDiscriminator,
    ResNetGenerator,
    UNetGenerator,
)

NORMS = ("batch", "instance", "none")
CHANNELS = ((1, 2), (3, 3))
SIDES = (16, 24)


def _generators():
    builders = {
        "unet": lambda **kw: UNetGenerator(num_downs=3, base_channels=4, dropout_at="paper", **kw),
        "unet_1": lambda **kw: UNetGenerator(num_downs=1, base_channels=4, **kw),
        "encoder_decoder": lambda **kw: EncoderDecoderGenerator(num_downs=3, base_channels=4, **kw),
        "resnet": lambda **kw: ResNetGenerator(num_blocks=2, base_channels=4, dropout=0.5, **kw),
    }
    for (name, build), norm, upsample, channels in itertools.product(
        builders.items(), NORMS, ("transposed", "resize"), CHANNELS
    ):
        yield pytest.param(
            lambda b=build, n=norm, u=upsample, c=channels: b(in_channels=c[0], out_channels=c[1], norm=n, upsample=u),
            *channels,
            SIDES,
            id=f"{name}-{norm}-{upsample}-{channels[0]}to{channels[1]}",
        )


def _discriminators():
    builders = {
        "patch_1": (lambda **kw: PatchDiscriminator(num_layers=1, base_channels=4, **kw), (6, 10)),
        "patch_3": (lambda **kw: PatchDiscriminator(num_layers=3, base_channels=4, **kw), None),
        "pixel": (lambda **kw: PixelDiscriminator(base_channels=4, **kw), SIDES),
    }
    for (name, (build, sides)), norm, (a, b) in itertools.product(builders.items(), NORMS, CHANNELS):
        yield pytest.param(
            lambda f=build, n=norm, c=a + b: f(in_channels=c, norm=n),
            a + b,
            1,
            sides,
            id=f"{name}-{norm}-{a + b}",
        )


def _images(channels):
    return torch.randn(2, channels, 32, 48, dtype=torch.float64)


@pytest.mark.parametrize(("build", "num_in", "num_out", "sides"), [*_generators(), *_discriminators()])
def test_contract(build, num_in, num_out, sides):
    torch.manual_seed(1)
    network = build().double()
    images = _images(num_in)
    before = images.clone()
    output = network(images)
    assert torch.equal(images, before), "the input was written into"
    assert output.dtype == torch.float64
    assert output.shape[:2] == (2, num_out)
    assert output.isfinite().all()

    output.pow(2).sum().backward()
    parameters = dict(network.named_parameters())
    assert parameters
    for name, parameter in parameters.items():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if parameter.ndim == 4:  # the bias before an instance norm has none, by its nature
            assert parameter.grad.abs().max() > 0, name

    copy = build().double()
    copy.load_state_dict(network.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(copy.eval()(images), network.eval()(images))
    assert network.float()(images.float()).dtype == torch.float32


@pytest.mark.parametrize(("build", "num_in", "num_out", "sides"), [*_generators()])
def test_generators_keep_the_sides_and_fill_the_range_of_tanh(build, num_in, num_out, sides):
    torch.manual_seed(2)
    network = build().double()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.weight.mul_(100)
        output = network(torch.randn(2, num_in, *sides, dtype=torch.float64))
    assert output.shape == (2, num_out, *sides)
    assert -1 <= output.min() < -0.9
    assert 0.9 < output.max() <= 1


@pytest.mark.parametrize(("build", "num_in", "num_out", "sides"), [*_discriminators()])
def test_features_end_in_the_logits(build, num_in, num_out, sides):
    network = build().double().eval()
    images = _images(num_in)
    features = network.features(images)
    assert torch.equal(features[-1], network(images))
    # A later layer that writes into an earlier one's output would change what was handed out.
    x = images
    for stage, feature in zip(network.stages, features, strict=True):
        x = stage(x.clone())
        assert torch.equal(x, feature)
    for feature in features[:-1]:
        assert (feature < 0).any(), "LeakyReLU lets negatives through"


@pytest.mark.parametrize("norm", ["instance", "none"])
def test_discriminators_can_be_penalised_for_their_gradient(norm):
    torch.manual_seed(3)
    for network in (
        PatchDiscriminator(2, num_layers=1, base_channels=2, norm=norm),
        PixelDiscriminator(2, base_channels=2, norm=norm),
    ):
        with torch.no_grad():
            for parameter in network.double().parameters():
                parameter.mul_(20)
        images = torch.randn(1, 2, 8, 8, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradgradcheck(network, images, fast_mode=True)


def _count(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: UNetGenerator(), 54_413_955),
        (lambda: UNetGenerator(norm="instance"), 54_409_603),
        (lambda: UNetGenerator(1, 2), 54_409_858),
        (lambda: UNetGenerator(num_downs=7), 41_828_995),
        (lambda: ResNetGenerator(), 11_383_427),
        (lambda: ResNetGenerator(norm="instance"), 11_378_179),
        (lambda: ResNetGenerator(num_blocks=6), 7_841_411),
        (lambda: ResNetGenerator(num_blocks=6, norm="instance"), 7_837_699),
        (lambda: PixelDiscriminator(), 9_024),
        (lambda: PatchDiscriminator(num_layers=1), 139_585),
        (lambda: PatchDiscriminator(num_layers=2), 666_433),
        (lambda: PatchDiscriminator(), 2_768_705),
        (lambda: PatchDiscriminator(3), 2_765_633),
        (lambda: PatchDiscriminator(norm="instance"), 2_767_809),
        (lambda: PatchDiscriminator(num_layers=4), 6_964_033),
        (lambda: PatchDiscriminator(num_layers=5), 11_159_361),
    ],
)
def test_parameter_counts_are_those_of_the_published_networks(build, expected):
    with torch.device("meta"):
        assert _count(build()) == expected
