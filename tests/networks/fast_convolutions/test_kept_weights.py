import copy
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pix2pix_lightning.networks import UNetGenerator, convert_to_matmul, use_eval_mode
from pix2pix_lightning.networks.fast_convolutions import kept_weights as module
from pix2pix_lightning.networks.fast_convolutions import products
from pix2pix_lightning.networks.fast_convolutions.layers import keep_transformed_weights, transform_kept_weights
from pix2pix_lightning.networks.hourglass_batches import run_batch, runs_in_batches


def convolve(layer, x):
    """Compute the layer in float64 by torch."""
    weight, bias = (None if each is None else each.detach().double() for each in (layer.weight, layer.bias))
    function = F.conv_transpose2d if isinstance(layer, nn.ConvTranspose2d) else F.conv2d
    return function(x.double(), weight, bias, stride=2, padding=1)


def build(cls, channels, out, *, bias=False):
    torch.manual_seed(0)
    layer = cls(channels, out, 4, stride=2, padding=1, bias=bias).to(memory_format=torch.channels_last)
    return keep_transformed_weights(convert_to_matmul(layer))


@pytest.mark.parametrize(
    ("cls", "channels", "out", "shape", "bias"),
    [
        (nn.Conv2d, 128, 256, (2, 48, 48), False),  # 24 cells are six tiles
        (nn.Conv2d, 128, 256, (4, 32, 34), True),  # and 17 are cut
        (nn.ConvTranspose2d, 320, 96, (3, 17, 17), False),
        (nn.ConvTranspose2d, 320, 96, (4, 14, 19), True),
    ],
)
def test_the_convolution_is_that_of_torch(cls, channels, out, shape, bias, monkeypatch):
    layer = build(cls, channels, out, bias=bias).double()
    if bias:
        nn.init.normal_(layer.bias)
    x = torch.randn(shape[0], channels, *shape[1:]).double().to(memory_format=torch.channels_last)
    monkeypatch.setattr(cls, "forward", None)  # else it might do the work
    monkeypatch.setattr(products, "convolve", None)
    monkeypatch.setattr(products, "convolve_transposed", None)
    with torch.no_grad():
        found = layer(x)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, convolve(layer, x), rtol=0, atol=1e-12)


def test_images_of_a_batch_do_not_meet():
    layer = build(nn.ConvTranspose2d, 320, 96)
    x = torch.randn(2, 320, 32, 32)
    with torch.no_grad():
        alone, other = layer(x[:1]), layer(torch.cat([x[:1], x[1:] * 1000]))[:1]
    torch.testing.assert_close(alone, other, rtol=0, atol=1e-5)


def test_weights_that_changed_are_transformed_again_and_are_in_no_state_dict():
    layer = build(nn.Conv2d, 128, 256)
    x = torch.randn(2, 128, 48, 48)
    with torch.no_grad():
        before = layer(x)
        layer.weight.mul_(2)
        assert torch.allclose(layer(x), 2 * before, atol=1e-5)
        layer.weight.data.mul_(2)  # which torch does not count
        assert torch.allclose(layer(x), 4 * before, atol=1e-5)
        layer.weight[1].zero_()  # which torch counts, and no sample has
        assert layer(x)[:, 1].abs().max() == 0
    assert vars(layer).keys() == vars(build(nn.Conv2d, 128, 256)).keys()
    assert copy.deepcopy(layer).keeps_weight
    assert list(layer.state_dict()) == ["weight"]


def test_weights_that_are_not_worth_their_memory_are_given_back():
    network = nn.Sequential(build(nn.ConvTranspose2d, 512, 1024), build(nn.Conv2d, 128, 256))
    with torch.no_grad():
        network[0](torch.randn(1, 512, 32, 32))
    kept = weakref.ref(module.get_weight(network[0]))
    transform_kept_weights(network, without={network[0]})
    assert kept() is None
    assert [layer.keeps_weight for layer in network] == [False, True]


def test_gradients_half_precision_and_few_tiles_are_left_to_the_layer(monkeypatch):
    layer = build(nn.Conv2d, 128, 256)
    monkeypatch.setattr(module, "convolve_transformed", None)
    layer(torch.randn(2, 128, 48, 48)).sum().backward()
    assert layer.weight.grad is not None
    with torch.no_grad():
        assert layer(torch.randn(1, 128, 36, 36)).shape == (1, 256, 18, 18)  # 25 tiles
        assert layer.bfloat16()(torch.randn(2, 128, 48, 48).bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_a_batch_through_a_unet_is_each_image_alone_in_float64(norm):
    torch.manual_seed(0)
    network = UNetGenerator(num_downs=4, base_channels=32, norm=norm, noise_channels=1).to(
        memory_format=torch.channels_last
    )
    assert runs_in_batches(keep_transformed_weights(convert_to_matmul(network)))
    exact = UNetGenerator(num_downs=4, base_channels=32, norm=norm, noise_channels=1).double()
    exact.load_state_dict(network.state_dict())
    x = torch.rand(3, 3, 96, 112) * 2 - 1  # the outer level, of 48 x 56, image by image
    with torch.no_grad(), use_eval_mode(network, dropout=True, sample=3):
        found = run_batch(network, x)
    with torch.no_grad(), use_eval_mode(exact, dropout=True, sample=3):
        expected = torch.cat([exact(image[None].double()) for image in x])
    assert expected.std() > 0.05
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)


def test_a_network_whose_forward_was_replaced_runs_its_own():
    network = UNetGenerator(num_downs=2, base_channels=2)
    assert runs_in_batches(network)
    network.forward = lambda x: x
    assert not runs_in_batches(network)
    del network.forward
    network.up[1].register_forward_hook(lambda module, inputs, output: None)
    assert not runs_in_batches(network)


def test_tensors_of_inference_mode():
    with torch.inference_mode():
        layer = build(nn.Conv2d, 128, 256)
        x = torch.randn(2, 128, 48, 48)
        torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight, stride=2, padding=1), rtol=0, atol=1e-4)
