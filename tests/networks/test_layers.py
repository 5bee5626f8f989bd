import pytest
import torch
from torch import nn

from pix2pix_lightning.networks import (
    EncoderDecoderGenerator,
    MultiScaleDiscriminator,
    PatchDiscriminator,
    PixelDiscriminator,
    ResNetGenerator,
    UNetGenerator,
    initialize,
)
from pix2pix_lightning.networks.layers import Dropout, ResizeConv2d, build_norm, build_upsampling, uses_bias

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


@pytest.mark.parametrize(
    "build",
    [
        lambda: UNetGenerator(num_downs=4, base_channels=16),
        lambda: EncoderDecoderGenerator(num_downs=4, base_channels=16, upsample="resize"),
        lambda: ResNetGenerator(base_channels=16, num_blocks=1),
        lambda: PatchDiscriminator(num_layers=2, base_channels=32),
        lambda: PixelDiscriminator(base_channels=64),
    ],
)
def test_constructors_draw_the_weights_of_the_paper(build):
    torch.manual_seed(0)
    network = build()
    scales = []
    for module in network.modules():
        if isinstance(module, CONVOLUTIONS):
            weight = module.weight.detach().double()
            count = weight.numel()
            assert abs(weight.mean()) < 5 * 0.02 / count**0.5
            assert abs(weight.std() - 0.02) < 5 * 0.02 / (2 * count) ** 0.5
            assert module.bias is None or not module.bias.any()
        elif isinstance(module, nn.BatchNorm2d):
            scales.append(module.weight.detach().double())
            assert not module.bias.any()
    scale = torch.cat(scales)
    assert abs(scale.mean() - 1) < 5 * 0.02 / len(scale) ** 0.5
    assert abs(scale.std() - 0.02) < 5 * 0.02 / (2 * len(scale)) ** 0.5


def test_initialize_redraws_any_network_with_another_deviation():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(8, 64, 3), nn.BatchNorm2d(64, affine=False), nn.Flatten(), nn.Linear(256, 64))
    nn.init.ones_(network[0].bias)
    initialize(network, std=0.5)
    for layer in (network[0], network[3]):
        assert layer.weight.std().item() == pytest.approx(0.5, rel=0.05)
        assert not layer.bias.any()


@pytest.mark.parametrize("kernel_size", [3, 4])
@pytest.mark.parametrize("upsample", ["transposed", "resize"])
def test_upsampling_doubles_the_side(upsample, kernel_size):
    layer = build_upsampling(upsample, 3, 5, bias=True, kernel_size=kernel_size)
    assert layer(torch.zeros(2, 3, 4, 7)).shape == (2, 5, 8, 14)


def test_resize_convolution_covers_every_pixel_equally():
    layer = ResizeConv2d(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    doubled = torch.tensor([[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4.0]])
    padded = nn.functional.pad(doubled, (1, 1, 1, 1))
    expected = torch.stack([torch.stack([padded[i : i + 3, j : j + 3].sum() for j in range(4)]) for i in range(4)])
    torch.testing.assert_close(layer(image)[0, 0], expected)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_resize_convolution_of_large_maps_equals_doubling_and_convolving(layout):
    layer = ResizeConv2d(3, 5, bias=True).double().to(memory_format=layout)
    image = torch.randn(2, 3, 18, 16, dtype=torch.double, requires_grad=True)
    assert image[:, 0].numel() >= 512  # a transposed convolution computes it
    doubled = image.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    expected = nn.functional.conv2d(doubled, layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(image), expected)
    direction = torch.randn_like(expected)
    inputs = (image, layer.weight, layer.bias)
    found = torch.autograd.grad(layer(image), inputs, direction)
    torch.testing.assert_close(found, torch.autograd.grad(expected, inputs, direction))


def test_norms_by_name():
    batch, instance, none = (build_norm(name, 4) for name in ("batch", "instance", "none"))
    assert [uses_bias(name) for name in ("batch", "instance", "none")] == [False, True, True]
    assert isinstance(batch, nn.BatchNorm2d)
    assert len(instance.state_dict()) == 0
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(instance(x).mean((2, 3)), torch.zeros(2, 4), atol=1e-6, rtol=0)
    assert none(x) is x


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: build_norm("layer", 4), ["norm", "'layer'", "batch, instance, none"]),
        (lambda: build_upsampling("bicubic", 1, 1, bias=True), ["upsample", "'bicubic'", "transposed, resize"]),
        (lambda: UNetGenerator(norm="Batch"), ["norm", "'Batch'", "batch, instance, none"]),
        (lambda: UNetGenerator(dropout_at="lua"), ["dropout_at", "'lua'", "junyanz, paper"]),
        (lambda: UNetGenerator(dropout=1.0), ["dropout", "1.0", "below 1"]),
        (lambda: UNetGenerator(num_downs=0), ["num_downs", "0", "at least 1"]),
        (lambda: EncoderDecoderGenerator(num_downs=1.5), ["num_downs", "1.5", "whole number"]),
        (lambda: PatchDiscriminator(num_layers=True), ["num_layers", "True", "whole number"]),
        (lambda: EncoderDecoderGenerator(upsample="nearest"), ["upsample", "'nearest'", "resize"]),
        (lambda: ResNetGenerator(dropout=-0.5), ["dropout", "-0.5", "from 0"]),
        (lambda: ResNetGenerator(num_blocks=0), ["num_blocks", "0", "at least 1"]),
        (lambda: ResNetGenerator(norm="spectral"), ["norm", "'spectral'", "instance"]),
        (lambda: MultiScaleDiscriminator(num_scales=0), ["num_scales", "0", "at least 1"]),
        (lambda: PatchDiscriminator(norm="group"), ["norm", "'group'", "instance"]),
        (lambda: PixelDiscriminator(in_channels=0), ["in_channels", "0", "at least 1"]),
    ],
)
def test_wrong_arguments_are_named_in_one_line(build, words):
    with torch.device("meta"), pytest.raises(ValueError) as caught:  # noqa: PT011
        build()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("p", [0.5, 0.1])
def test_dropout_draws_the_numbers_of_torch_in_every_layout(p, layout):
    x = torch.randn(2, 3, 8, 5).contiguous(memory_format=layout)
    torch.manual_seed(0)
    output = Dropout(p)(x)
    after = torch.get_rng_state()
    torch.manual_seed(0)
    kept = torch.empty(x.shape).bernoulli_(1 - p)
    assert torch.equal(torch.get_rng_state(), after)
    torch.testing.assert_close(output, x * kept / (1 - p))
    assert output.is_contiguous(memory_format=layout)
    assert Dropout(p).eval()(x) is x
