"""Concatenation with dense gradients, and together with ReLU."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import forward_ad, gradcheck, gradgradcheck

from pix2pix_lightning.networks import UNetGenerator
from pix2pix_lightning.networks.concatenation import CatReLU, cat_dense_grad, cat_relu


def relu_of_cat(first, second):
    return F.relu(torch.cat([first, second], 1))


WAYS = [(cat_dense_grad, lambda *maps: torch.cat(maps, 1)), (cat_relu, relu_of_cat)]


def draw(*sizes, layout=torch.contiguous_format, dtype=torch.float64):
    torch.manual_seed(0)
    return [torch.randn(size, dtype=dtype).contiguous(memory_format=layout).requires_grad_() for size in sizes]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("way", "expected"), WAYS)
def test_values_gradients_and_layouts_are_those_of_torch(way, expected, layout, dtype):
    maps = draw((2, 3, 4, 6), (2, 5, 4, 6), layout=layout, dtype=dtype)
    maps[0].data[0, 0, 0, 0] = 0.0  # where the slope is 0 by torch's convention
    output, wanted = way(*maps), expected(*maps)
    assert torch.equal(output, wanted)
    assert output.is_contiguous(memory_format=layout)
    slope = torch.randn_like(output)
    found = torch.autograd.grad(output, maps, slope)
    for own, other in zip(found, torch.autograd.grad(wanted, maps, slope), strict=True):
        assert torch.equal(own, other)
        assert own.is_contiguous(memory_format=layout)
    with torch.no_grad():
        assert torch.equal(way(*maps), wanted)


@pytest.mark.filterwarnings("ignore:.torch.jit.script")  # of torch's own forward derivatives
@pytest.mark.parametrize(("way", "expected"), WAYS)
def test_derivatives_of_every_kind(way, expected):
    maps = draw((1, 2, 3, 3), (1, 1, 3, 3))
    assert gradcheck(way, maps, check_forward_ad=True)
    assert gradgradcheck(way, maps)
    (alone,) = torch.autograd.grad(way(maps[0].detach(), maps[1]).sum(), maps[1])
    assert torch.equal(alone, torch.autograd.grad(expected(*maps).sum(), maps[1])[0])
    several = [torch.stack([m, -m]) for m in maps]
    assert torch.equal(torch.func.vmap(way)(*several), torch.stack([expected(*m) for m in zip(*several, strict=True)]))
    slopes = torch.func.vmap(torch.func.grad(lambda *m: way(*m).square().sum(), argnums=(0, 1)))(*several)
    for slope, maps_of_both in zip(slopes, several, strict=True):
        assert torch.equal(slope, 2 * (maps_of_both if way is cat_dense_grad else F.relu(maps_of_both)))
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(maps[0].detach(), torch.ones_like(maps[0]))
        tangent = forward_ad.unpack_dual(way(dual, maps[1].detach())).tangent
    assert torch.equal(tangent[:, 2:], torch.zeros(1, 1, 3, 3, dtype=torch.float64))


def test_maps_of_two_types_and_a_map_alone():
    first, second = draw((1, 2, 4, 4), (1, 2, 4, 4))
    assert torch.equal(cat_relu(first, second.bfloat16()), relu_of_cat(first, second.bfloat16()))
    assert torch.equal(CatReLU()(first), F.relu(first))
    assert torch.equal(CatReLU()(first, second), relu_of_cat(first, second))
    exported = torch.export.export(CatReLU(), (first.detach(), second.detach()))
    assert torch.equal(exported.module()(first.detach(), second.detach()), relu_of_cat(first, second))


def test_another_activation_may_take_the_place_of_the_relu():
    torch.manual_seed(0)
    network = UNetGenerator(num_downs=3, base_channels=4, dropout=0.0).double()
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    expected = network(x)
    for level in network.up:
        level.activation = nn.Threshold(0.0, 0.0)  # the same function
    assert torch.equal(network(x), expected)
