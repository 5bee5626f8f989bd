"""Convolutions as matrix products against PyTorch's own convolutions."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pix2pix_lightning.networks import PatchDiscriminator, UNetGenerator, convert_to_matmul
from pix2pix_lightning.networks.fast_convolutions.layers import FastConv2d, FastConvTranspose2d

CASES = [
    (nn.Conv2d, 2, 4),
    (nn.Conv2d, 8, 6),
    (nn.ConvTranspose2d, 1, 1),
    (nn.ConvTranspose2d, 4, 3),
    (nn.Conv2d, 16, 14),  # more rows than are multiplied the other way round
    (nn.ConvTranspose2d, 8, 7),
]


@pytest.mark.parametrize(("kind", "height", "width"), CASES)
@pytest.mark.parametrize(
    ("bias", "layout"), [(True, torch.channels_last), (False, torch.contiguous_format)], ids=["last", "contiguous"]
)
def test_values_and_gradients(kind, height, width, bias, layout):
    torch.manual_seed(0)
    plain = kind(96, 80, 4, stride=2, padding=1, bias=bias).double().to(memory_format=layout)
    product = convert_to_matmul(copy.deepcopy(plain))
    assert type(product) is not kind
    x = torch.randn(2, 96, height, width, dtype=torch.float64).to(memory_format=layout)
    results = []
    for layer in (plain, product):
        given = x.clone().requires_grad_()
        output = layer(given)
        weights = torch.linspace(-1, 1, output.numel(), dtype=torch.float64).view_as(output)
        (output * weights).sum().backward()
        results.append([output, given.grad, *(parameter.grad for parameter in layer.parameters())])
    assert "Matmul" not in str(results[0][0].grad_fn)
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize(("kind", "side"), [(nn.Conv2d, 4), (nn.ConvTranspose2d, 2), (nn.Conv2d, 8)])
def test_few_positions_are_not_narrowed_under_autocast(kind, side):
    """Their gradients are those of float32, and the output is rounded once."""
    torch.manual_seed(0)
    layer = convert_to_matmul(kind(64, 64, 4, stride=2, padding=1))
    x = torch.randn(2, 64, side, side).bfloat16()
    slope = torch.randn(layer(x.float()).shape).bfloat16()
    exact = copy.deepcopy(layer).double()
    wanted = exact(x.double())
    wanted.backward(slope.double())
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(x)
    output.backward(slope)
    assert output.dtype is torch.bfloat16
    rounding = (layer.weight.grad - exact.weight.grad).norm() / exact.weight.grad.norm()
    if side < 8:
        assert rounding < 1e-6
        torch.testing.assert_close(output.double(), wanted, rtol=2**-8, atol=2**-7)  # the bias is added to it
    else:  # 32 positions
        assert rounding > 1e-4


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_second_derivatives(kind):
    torch.manual_seed(0)
    layer = convert_to_matmul(kind(16, 16, 4, stride=2, padding=1, bias=False).double())
    x = torch.randn(1, 16, 2, 2, dtype=torch.float64, requires_grad=True)
    weight = layer.weight.detach().clone().requires_grad_()

    def run(x, weight):
        return torch.func.functional_call(layer, {"weight": weight}, x).square()

    assert torch.autograd.gradgradcheck(run, (x, weight), fast_mode=True)


def test_weight_gradient_has_the_layout_of_the_weight():
    """Otherwise the optimizer copies every gradient before it uses it."""
    layer = convert_to_matmul(nn.ConvTranspose2d(64, 64, 4, stride=2, padding=1)).to(memory_format=torch.channels_last)
    layer(torch.randn(1, 64, 2, 2)).sum().backward()
    assert layer.weight.grad.stride() == layer.weight.stride()


def test_large_maps_stay_convolutions(monkeypatch):
    calls = []
    monkeypatch.setattr(F, "conv2d", lambda *args: calls.append(args) or args[0])
    layer = convert_to_matmul(nn.Conv2d(64, 64, 4, stride=2, padding=1, bias=False))
    layer(torch.randn(1, 64, 8, 8))  # 16 positions, 256 channel pairs for each
    assert not calls
    layer(torch.randn(1, 64, 32, 32))  # 256 positions, 16 for each
    assert len(calls) == 1


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(64, 64, 4, stride=1, padding=1),
        nn.Conv2d(64, 64, 3, stride=2, padding=1),
        nn.Conv2d(64, 64, 4, stride=2, padding=1, padding_mode="reflect"),
        nn.Conv2d(64, 64, 4, stride=2, padding=1, groups=2),
        nn.ConvTranspose2d(64, 64, 4, stride=2, padding=1, output_padding=1),
    ],
)
def test_other_convolutions_are_left_alone(layer):
    before = type(layer)
    assert type(convert_to_matmul(layer)) is before


def test_odd_sides():
    plain = nn.Conv2d(64, 64, 4, stride=2, padding=1).double()
    x = torch.randn(1, 64, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(convert_to_matmul(copy.deepcopy(plain))(x), plain(x))


def test_bfloat16_rounds_no_more_than_the_convolution():
    torch.manual_seed(0)
    plain = nn.ConvTranspose2d(256, 256, 4, stride=2, padding=1)
    x = torch.randn(1, 256, 4, 4)
    exact = plain(x)
    with torch.autocast("cpu", torch.bfloat16):
        errors = [
            (layer(x).float() - exact).square().mean() for layer in (plain, convert_to_matmul(copy.deepcopy(plain)))
        ]
    assert errors[1] < 2 * errors[0]


@pytest.mark.parametrize("network", [UNetGenerator(num_downs=4, base_channels=8), PatchDiscriminator(base_channels=8)])
def test_a_network_keeps_its_keys_and_values(network):
    network = network.double()
    product = convert_to_matmul(copy.deepcopy(network))
    kinds = [type(module) for module in product.modules()]
    assert FastConv2d in kinds
    assert (FastConvTranspose2d in kinds) == isinstance(network, UNetGenerator)
    assert list(product.state_dict()) == list(network.state_dict())
    x = torch.rand(1, next(network.parameters()).shape[1], 32, 32, dtype=torch.float64)
    outputs = []
    for one in (network, product):
        torch.manual_seed(1)  # dropout
        outputs.append(one(x))
    torch.testing.assert_close(*outputs, rtol=1e-10, atol=1e-10)
