import pytest
import torch
from omegaconf import OmegaConf

from pix2pix_lightning import compose
from pix2pix_lightning.benchmark.plain_networks import PlainUNet, build_plain_networks, build_plain_patch
from pix2pix_lightning.networks import PatchDiscriminator, ResNetGenerator, UNetGenerator

UNET = "pix2pix_lightning.networks.UNetGenerator"
PATCH = "pix2pix_lightning.networks.PatchDiscriminator"


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_numbers_of_parameters():
    with torch.device("meta"):
        generator, discriminator = PlainUNet(), build_plain_patch()
    assert count(generator) == 54_413_955
    assert count(discriminator) == 2_768_705


@pytest.mark.parametrize(
    ("ours", "plain", "shape"),
    [
        # six levels, so that one has dropout
        (UNetGenerator(num_downs=6, base_channels=2), PlainUNet(num_downs=6, base_channels=2), (2, 3, 64, 64)),
        (
            PatchDiscriminator(num_layers=2, base_channels=2),
            build_plain_patch(num_layers=2, base_channels=2),
            (2, 6, 32, 32),
        ),
    ],
)
def test_outputs_and_gradients_equal_the_package_s(ours, plain, shape):
    ours, plain = ours.double(), plain.double()
    for own, given in zip(plain.parameters(), ours.parameters(), strict=True):
        own.data.copy_(given.data)
    x = torch.rand(shape, dtype=torch.float64) * 2 - 1
    outputs = []
    for network in (ours, plain):
        torch.manual_seed(0)
        outputs.append(network(x))
        outputs[-1].square().sum().backward()
    assert (outputs[0] - outputs[1]).abs().max() < 1e-12
    assert outputs[0].std() > 0
    for own, given in zip(plain.parameters(), ours.parameters(), strict=True):
        assert (own.grad - given.grad).abs().max() <= 1e-9 * given.grad.abs().max() + 1e-12


def test_described_networks_are_built_from_plain_layers():
    unet = {"_target_": UNET, "in_channels": 1, "out_channels": 2, "num_downs": 3, "base_channels": 4, "norm": "batch"}
    patch = {"_target_": PATCH, "in_channels": 3, "num_layers": 1, "base_channels": 4}
    generator, discriminator = build_plain_networks(unet, patch)
    assert type(generator) is PlainUNet
    assert count(generator) == count(UNetGenerator(num_downs=3, base_channels=4))
    assert count(discriminator) == count(PatchDiscriminator(num_layers=1, base_channels=4))
    assert all(type(module).__module__.startswith("torch.nn") for module in discriminator.modules())
    assert build_plain_networks(unet, None)[1] is None
    generator, discriminator = build_plain_networks(
        {"_target_": "pix2pix_lightning.networks.ResNetGenerator", "base_channels": 4, "num_blocks": 1},
        {**patch, "norm": "instance"},
    )
    assert type(generator) is ResNetGenerator
    assert type(discriminator) is PatchDiscriminator
    assert type(build_plain_networks({**unet, "dropout_at": "paper"}, None)[0]) is UNetGenerator


def test_the_default_networks_as_the_configuration_describes_them_are_the_plain_ones():
    small = ["generator=unet_32", "module.generator.base_channels=2", "module.discriminator.base_channels=2"]
    module = OmegaConf.to_container(compose("train", small).module)
    generator, discriminator = build_plain_networks(module["generator"], module["discriminator"])
    assert type(generator) is PlainUNet
    assert type(discriminator) is torch.nn.Sequential
