"""The contract of every generator and every discriminator, with few channels."""

from functools import partial

import pytest
import torch
from torch import nn

from pix2pix_lightning.networks import (
    EncoderDecoderGenerator,
    MultiScaleDiscriminator,
    PatchDiscriminator,
    PixelDiscriminator,
    ProjectedDiscriminator,
    ResNetGenerator,
    SegmentationDiscriminator,
    UNetGenerator,
)

SIDES = (16, 24)

# Between them the cases have every kind, norm and way of upsampling.
GENERATORS = {
    "unet, batch": lambda a, b: UNetGenerator(a, b, num_downs=3, base_channels=4, dropout_at="paper"),
    "unet, instance": lambda a, b: UNetGenerator(a, b, num_downs=3, base_channels=4, norm="instance", noise_channels=2),
    "unet, none": lambda a, b: UNetGenerator(a, b, num_downs=3, base_channels=4, norm="none", upsample="resize"),
    "unet of one level": lambda a, b: UNetGenerator(a, b, num_downs=1, base_channels=4),
    "encoder_decoder, batch": lambda a, b: EncoderDecoderGenerator(a, b, num_downs=3, base_channels=4),
    "encoder_decoder, resize": lambda a, b: EncoderDecoderGenerator(
        a, b, num_downs=2, base_channels=4, norm="instance", upsample="resize"
    ),
    "resnet, batch": lambda a, b: ResNetGenerator(a, b, num_blocks=2, base_channels=4, dropout=0.5),
    "resnet, instance": lambda a, b: ResNetGenerator(
        a, b, num_blocks=1, base_channels=4, norm="instance", upsample="resize"
    ),
    "resnet, none": lambda a, b: ResNetGenerator(a, b, num_blocks=1, base_channels=4, norm="none"),
}
DISCRIMINATORS = {
    "patch, batch": lambda c: PatchDiscriminator(c, num_layers=1, base_channels=4),
    "patch, instance": lambda c: PatchDiscriminator(c, num_layers=2, base_channels=4, norm="instance"),
    "patch, spectral": lambda c: PatchDiscriminator(c, num_layers=1, base_channels=4, norm="none", spectral_norm=True),
    "pixel, batch": lambda c: PixelDiscriminator(c, base_channels=4),
    "pixel, instance": lambda c: PixelDiscriminator(c, base_channels=4, norm="instance"),
    "pixel, none": lambda c: PixelDiscriminator(c, base_channels=4, norm="none", spectral_norm=True),
    "multi_scale": lambda c: MultiScaleDiscriminator(c, num_scales=2, num_layers=1, base_channels=4),
    "projected": lambda c: ProjectedDiscriminator(c, 1, base_channels=4, source_channels=2),
    "projected, unconditional": lambda c: ProjectedDiscriminator(
        c, c, base_channels=4, num_feature_layers=4, norm="batch", spectral_norm=False
    ),
}
SEGMENTATION = {
    "segmentation": lambda c, n: SegmentationDiscriminator(c, n, num_downs=3, base_channels=4),
    "segmentation, batch": lambda c, n: SegmentationDiscriminator(
        c, n, num_downs=2, base_channels=4, norm="batch", spectral_norm=False
    ),
}


def list_cases():
    """Yield a function that builds the network, its input channels, and its output channels."""
    for name, build in GENERATORS.items():
        yield pytest.param(partial(build, 1, 2), 1, 2, id=name)
    for name, build in DISCRIMINATORS.items():
        yield pytest.param(partial(build, 3), 3, 1, id=name)
    for name, build in SEGMENTATION.items():
        yield pytest.param(partial(build, 3, 4), 3, 5, id=name)


def as_list(output):
    return output if isinstance(output, list) else [output]


def draw_images(channels):
    return torch.randn(2, channels, *SIDES, dtype=torch.float64)


@pytest.mark.parametrize(("build", "num_in", "num_out"), [*list_cases()])
def test_contract(build, num_in, num_out):
    torch.manual_seed(1)
    network = build().double()
    images = draw_images(num_in)
    before = images.clone()
    outputs = as_list(network(images))
    assert torch.equal(images, before), "the input was written into"
    for output in outputs:
        assert output.dtype == torch.float64
        assert output.shape[:2] == (2, num_out)
        assert output.isfinite().all()

    sum(output.pow(2).sum() for output in outputs).backward()
    parameters = dict(network.named_parameters())
    assert parameters
    for name, parameter in parameters.items():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if parameter.ndim == 4:  # the bias before an instance norm has no gradient
            assert parameter.grad.abs().max() > 0, name

    copy = build().double()
    copy.load_state_dict(network.state_dict(), strict=True)
    with torch.no_grad():
        for output, expected in zip(as_list(copy.eval()(images)), as_list(network.eval()(images)), strict=True):
            assert torch.equal(output, expected)
    assert as_list(network.float()(images.float()))[0].dtype == torch.float32


@pytest.mark.parametrize("build", GENERATORS.values(), ids=GENERATORS)
def test_generators_keep_the_sides_and_fill_the_range_of_tanh(build):
    torch.manual_seed(2)
    network = build(3, 2).double()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.weight.mul_(100)
        output = network(draw_images(3))
    assert output.shape == (2, 2, *SIDES)
    assert -1 <= output.min() < -0.9
    assert 0.9 < output.max() <= 1


@pytest.mark.parametrize("build", DISCRIMINATORS.values(), ids=DISCRIMINATORS)
def test_features_end_in_the_logits(build):
    network = build(3).double().eval()
    images = draw_images(3)
    features, logits = network.features(images), network(images)
    if not isinstance(logits, list):
        features, logits = [features], [logits]
        # A later layer that writes into an earlier one's output would change what was returned.
        x = images
        for stage, feature in zip(network.stages, features[0], strict=True):
            x = stage(x.clone())
            assert torch.equal(x, feature)
    for layers, expected in zip(features, logits, strict=True):
        assert torch.equal(layers[-1], expected)
        for feature in layers[:-1]:
            assert (feature < 0).any(), "LeakyReLU lets negatives through"


@pytest.mark.parametrize("norm", ["instance", "none"])
def test_discriminators_have_second_derivatives(norm):
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
        (lambda: MultiScaleDiscriminator(norm="batch"), 3 * 2_768_705),
        (lambda: PatchDiscriminator(num_layers=4), 6_964_033),
        (lambda: PatchDiscriminator(num_layers=5), 11_159_361),
    ],
)
def test_parameter_counts_are_those_of_the_published_networks(build, expected):
    with torch.device("meta"):
        assert _count(build()) == expected
