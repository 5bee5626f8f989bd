"""Convolutions by Winograd's minimal filtering, and thin ones, against PyTorch's own in float64."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pix2pix_lightning.networks import PatchDiscriminator, ResNetGenerator, convert_to_matmul, convert_to_winograd
from pix2pix_lightning.networks.fast_convolutions import layers, thin, winograd
from pix2pix_lightning.networks.fast_convolutions.convolution import Convolution
from pix2pix_lightning.networks.fast_convolutions.layers import FastConv2d
from pix2pix_lightning.networks.fast_convolutions.tiles import build_tiles

CASES = [
    (False, Convolution(4, 1, (1, 1)), 9, 12),
    (False, Convolution(3, 1, (0, 0)), 10, 7),
    (False, Convolution(3, 1, (1, 1)), 4, 33),
    (False, Convolution(2, 1, (2, 2)), 5, 6),
    (False, Convolution(4, 2, (1, 1)), 9, 12),  # the last row has no window
    (False, Convolution(4, 2, (2, 0)), 13, 8),
    (False, Convolution(4, 2, (0, 0)), 11, 11),  # nor the last row or column a tile
    (True, Convolution(4, 2, (1, 1)), 9, 12),
    (True, Convolution(4, 2, (0, 1)), 8, 5),
]
LAYOUTS = [torch.channels_last, torch.contiguous_format]


def convolve_plainly(x, weight, convolution, *, is_transposed=False):
    function = F.conv_transpose2d if is_transposed else F.conv2d
    return function(x, weight, None, convolution.stride, convolution.padding)


def draw(convolution, height, width, *, is_transposed=False, channels=(5, 7), layout=torch.channels_last):
    torch.manual_seed(0)
    inputs, outputs = channels
    side = convolution.side
    x = torch.randn(3, inputs, height, width, dtype=torch.float64).to(memory_format=layout)
    shape = (inputs, outputs, side, side) if is_transposed else (outputs, inputs, side, side)
    weight = torch.randn(shape, dtype=torch.float64).to(memory_format=layout)
    return x.requires_grad_(), weight.requires_grad_()


def check_values_and_gradients(function, x, weight, convolution, *, is_transposed=False):
    expected = convolve_plainly(x, weight, convolution, is_transposed=is_transposed)
    found = function(x, weight, convolution)
    assert found.is_contiguous(memory_format=torch.channels_last)
    slopes = torch.randn_like(expected)
    pairs = [torch.autograd.grad(output, (x, weight), slopes) for output in (expected, found)]
    for one, other in zip([expected, *pairs[0]], [found, *pairs[1]], strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=1e-11)
    assert pairs[1][1].stride() == weight.stride()  # otherwise the optimizer copies it


@pytest.mark.parametrize("tiles_at_once", [256, 2])  # all images at once, or some rows of one
@pytest.mark.parametrize("layout", LAYOUTS, ids=["last", "contiguous"])
@pytest.mark.parametrize(("is_transposed", "convolution", "height", "width"), CASES, ids=str)
def test_values_and_gradients(is_transposed, convolution, height, width, layout, tiles_at_once, monkeypatch):
    monkeypatch.setattr(winograd, "_GROUP", tiles_at_once)
    x, weight = draw(convolution, height, width, is_transposed=is_transposed, layout=layout)
    function = winograd.convolve_transposed if is_transposed else winograd.convolve
    check_values_and_gradients(function, x, weight, convolution, is_transposed=is_transposed)


@pytest.mark.parametrize("layout", LAYOUTS, ids=["last", "contiguous"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_values_and_gradients_of_thin_layers(outputs, layout):
    for is_transposed, convolution, function in (
        (False, Convolution(4, 1, (1, 1)), thin.convolve),
        (False, Convolution(3, 1, (0, 1)), thin.convolve),
        (True, Convolution(4, 2, (1, 1)), lambda x, weight, _: thin.convolve_transposed(x, weight)),
    ):
        x, weight = draw(convolution, 9, 12, is_transposed=is_transposed, channels=(5, outputs), layout=layout)
        check_values_and_gradients(function, x, weight, convolution, is_transposed=is_transposed)


def square(way, convolution, x, weight):
    return way(x, weight, convolution).square()


@pytest.mark.parametrize(("is_transposed", "convolution"), [CASES[0][:2], CASES[4][:2], CASES[6][:2]], ids=str)
def test_gradients_that_are_not_needed_and_second_derivatives(is_transposed, convolution):
    x, weight = draw(convolution, 4, 4, is_transposed=is_transposed, channels=(2, 2))
    own = winograd.convolve_transposed if is_transposed else winograd.convolve
    for given, other in ((x, weight.detach()), (weight, x.detach())):
        pair = (x, other) if given is x else (other, weight)
        gradients = [
            torch.autograd.grad(function(*pair, convolution).square().sum(), given)[0]
            for function in (partial(convolve_plainly, is_transposed=is_transposed), own)
        ]
        torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-11)
    ways = [own, *([thin.convolve] if convolution.stride == 1 else [])]
    for way in ways:
        run = partial(square, way, convolution)
        assert torch.autograd.gradgradcheck(run, (x, weight), fast_mode=True)


def test_tiles_in_exact_numbers():
    """F(4, 4) of one axis multiplies 7 numbers; its kernel of ones is the sum of 4 neighbours."""
    tiles = build_tiles(4, 4, torch.float64)
    row = torch.tensor([3.0, 1, 4, 1, 5, 9, 2], dtype=torch.float64)
    products = (tiles.inputs @ torch.outer(row, row).flatten()) * (tiles.weights @ torch.ones(16, dtype=torch.float64))
    sums = torch.tensor([9.0, 11, 19, 17], dtype=torch.float64)
    torch.testing.assert_close(tiles.outputs @ products, torch.outer(sums, sums).flatten())


def test_float32_rounds_within_the_documented_bound():
    torch.manual_seed(0)
    convolution = Convolution(4, 1, (1, 1))
    x, weight = torch.randn(1, 128, 31, 31), torch.randn(64, 128, 4, 4)
    exact = convolve_plainly(x.double(), weight.double(), convolution)
    errors = [
        float((function(x, weight, convolution) - exact).square().mean().sqrt() / exact.std())
        for function in (winograd.convolve, convolve_plainly)
    ]
    assert errors[0] < 1e-5
    assert errors[1] < errors[0]  # the tiles were used


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_discriminator_and_its_gradients(dtype, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    torch.manual_seed(0)
    plain = PatchDiscriminator(6, base_channels=32, norm="instance").to(dtype)
    fast = convert_to_winograd(convert_to_matmul(copy.deepcopy(plain)))
    assert list(fast.state_dict()) == list(plain.state_dict())
    ways = [(module.by_matmul, module.by_winograd) for module in fast.modules() if isinstance(module, FastConv2d)]
    assert ways == [(True, False)] * 3 + [(False, True), (True, False)]  # the last one is thin
    x = torch.randn(2, 6, 160, 160, dtype=dtype)
    outputs, gradients, nodes = [], [], []
    for network in (plain, fast):
        images = x.clone().requires_grad_()
        output = network(images)
        output.square().sum().backward()
        outputs.append(output.detach())
        nodes.append(str(_walk(output.grad_fn)))
        gradients.append([images.grad, *(parameter.grad for parameter in network.parameters())])
    assert "Convolve" in nodes[1]
    assert "Convolve" not in nodes[0]
    bound = 1e-10 if dtype == torch.float64 else 1e-3
    for one, other in zip([outputs[0], *gradients[0]], [outputs[1], *gradients[1]], strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=float(bound * one.abs().max()) + bound)


def _walk(function):
    seen = [function]
    for one in seen:
        seen += [following for following, _ in one.next_functions if following is not None and following not in seen]
    return seen


@pytest.mark.parametrize(
    ("instructions", "cls", "channels", "few"),  # maps of too few tiles
    [
        ("AVX512", nn.ConvTranspose2d, (256, 64), (4, 12)),
        ("AVX2", nn.Conv2d, (64, 128), (20, 24)),
    ],
)
def test_layers_of_stride_2_and_their_gradients_in_training(instructions, cls, channels, few, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: instructions)
    monkeypatch.setattr(layers, "_MIN_STRIDED_TILES", 12)
    torch.manual_seed(0)
    plain = cls(*channels, 4, stride=2, padding=1).double().to(memory_format=torch.channels_last)
    fast = convert_to_matmul(convert_to_winograd(copy.deepcopy(plain)))
    x = torch.randn(1, channels[0], 26, 24, dtype=torch.float64).requires_grad_()
    outputs = [layer(x) for layer in (plain, fast)]
    pairs = zip(
        *(
            [output, *torch.autograd.grad(output.square().sum(), (x, *layer.parameters()))]
            for output, layer in zip(outputs, (plain, fast), strict=True)
        ),
        strict=True,
    )
    for one, other in pairs:
        torch.testing.assert_close(other, one, rtol=0, atol=1e-9)
        assert other.stride() == one.stride()
    for name in ("convolve", "convolve_transposed"):
        monkeypatch.setattr(winograd, name, None)
    with pytest.raises(TypeError):
        fast(x)
    fast(torch.randn(1, channels[0], *few, dtype=torch.float64))
    with torch.autocast("cpu", torch.bfloat16):
        fast.float()(torch.randn(1, channels[0], 24, 24))


def test_residual_blocks():
    torch.manual_seed(0)
    plain = ResNetGenerator(3, 3, num_blocks=1, base_channels=32).double().eval()
    fast = convert_to_winograd(copy.deepcopy(plain))
    assert sum(getattr(module, "by_winograd", False) for module in fast.modules()) == 2
    x = torch.rand(1, 3, 96, 96, dtype=torch.float64)
    with torch.no_grad():
        assert not torch.equal(fast(x), plain(x))
        torch.testing.assert_close(fast(x), plain(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(128, 128, 4, stride=2, padding=1),
        nn.Conv2d(128, 128, 5, padding=2),
        nn.Conv2d(128, 128, 3, padding=3),
        nn.Conv2d(128, 128, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(128, 128, 3, padding=2, dilation=2),
        nn.Conv2d(128, 128, 3, padding=1, groups=2),
        nn.Conv2d(128, 128, 3, padding="same"),
        nn.Conv2d(128, 16, 3, padding=1),
        nn.ConvTranspose2d(128, 32, 4, stride=2, padding=1),
        nn.ConvTranspose2d(256, 64, 4, stride=2, padding=1, output_padding=1),
    ],
    ids=str,
)
def test_other_layers_are_left_alone(layer, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    before = type(layer)
    assert type(convert_to_winograd(layer)) is before


def test_few_tiles_half_precision_and_autocast_are_left_to_the_library(monkeypatch):
    monkeypatch.setattr(winograd, "convolve", None)
    layer = convert_to_winograd(nn.Conv2d(128, 128, 3, padding=1))
    layer(torch.randn(1, 128, 8, 8))
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.randn(1, 128, 32, 32))
    layer.bfloat16()(torch.randn(1, 128, 32, 32).bfloat16())
    with pytest.raises(TypeError):
        layer.float()(torch.randn(1, 128, 32, 32))
