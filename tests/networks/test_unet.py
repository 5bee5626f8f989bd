import pytest
import torch
from torch import nn

from pix2pix_lightning.networks import EncoderDecoderGenerator, UNetGenerator


class _Nest(nn.Module):
    """The U-Net as junyanz nests it: each block holds the next, activations are in place."""

    def __init__(self, widths, depth, num_in, num_out, norm, dropout):
        super().__init__()
        self.outermost = depth == 0
        innermost = depth == len(widths) - 1
        bias = norm is nn.InstanceNorm2d
        width = widths[depth]
        layers = [] if self.outermost else [nn.LeakyReLU(0.2, True)]
        layers += [nn.Conv2d(num_in, width, 4, 2, 1, bias=bias)]
        if not innermost:
            layers += [] if self.outermost else [norm(width)]
            layers += [_Nest(widths, depth + 1, width, width, norm, dropout)]
        layers += [nn.ReLU(True)]
        up_in = width if innermost else 2 * width
        if self.outermost:
            layers += [nn.ConvTranspose2d(up_in, num_out, 4, 2, 1), nn.Tanh()]
        else:
            layers += [nn.ConvTranspose2d(up_in, num_out, 4, 2, 1, bias=bias), norm(num_out)]
            if dropout and 4 <= depth < len(widths) - 1:
                layers += [nn.Dropout(dropout)]
        self.inside = nn.Sequential(*layers)

    def forward(self, x):
        return self.inside(x) if self.outermost else torch.cat([x, self.inside(x)], 1)


def _layers(network):
    """Return the layers that hold state, in the order of the forward pass."""
    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d)
    flat = isinstance(network, UNetGenerator)
    parts = [*network.down, *reversed(network.up)] if flat else [network]
    return [layer for part in parts for layer in part.modules() if isinstance(layer, kinds)]


@pytest.mark.parametrize(("norm", "dropout"), [("batch", 0.5), ("instance", 0.0)])
def test_equals_an_independent_nested_unet(norm, dropout):
    torch.manual_seed(0)
    kind = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d}[norm]
    nested = _Nest([2, 4, 8, 16, 16, 16], 0, 3, 2, kind, dropout).double()
    unet = UNetGenerator(3, 2, num_downs=6, base_channels=2, norm=norm, dropout=dropout).double()
    with torch.no_grad():
        for parameter in nested.parameters():
            parameter.normal_(0, 0.2)
    for own, other in zip(_layers(unet), _layers(nested), strict=True):
        own.load_state_dict(other.state_dict(), strict=True)

    images = torch.randn(3, 3, 128, 64, dtype=torch.float64)
    outputs = []
    for network in (unet, nested):
        torch.manual_seed(1)
        outputs.append(network.train()(images.clone()))
        outputs[-1].pow(3).sum().backward()
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-12)
    for own, other in zip(_layers(unet), _layers(nested), strict=True):
        for a, b in zip(own.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-9)
        for a, b in zip(own.buffers(), other.buffers(), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(unet.eval()(images), nested.eval()(images), rtol=0, atol=1e-12)


def _notation(network, channels_of):
    """Return the decoder in the paper's notation, innermost first."""
    words = []
    for level in reversed(network.up):
        drops = any(isinstance(layer, nn.Dropout) for layer in level)
        words.append(f"C{'D' if drops else ''}{channels_of(level.conv)}")
    return "-".join(words)


def test_channels_are_those_of_the_paper():
    with torch.device("meta"):
        unet = UNetGenerator(dropout_at="paper")
        plain = EncoderDecoderGenerator(out_channels=1)
    for network in (unet, plain):
        assert [level.conv.out_channels for level in network.down] == [64, 128, 256] + 5 * [512]
    # The paper counts a U-Net level's input, skips included, and an encoder-decoder level's output.
    assert _notation(unet, lambda conv: conv.in_channels) == "CD512-CD1024-CD1024-C1024-C1024-C512-C256-C128"
    assert _notation(plain, lambda conv: conv.out_channels) == "CD512-CD512-CD512-C512-C256-C128-C64-C1"


@pytest.mark.parametrize("build", [UNetGenerator, EncoderDecoderGenerator])
@pytest.mark.parametrize(("dropout_at", "sides"), [("junyanz", [4, 8, 16]), ("paper", [2, 4, 8])])
def test_dropout_is_at_the_chosen_levels(build, dropout_at, sides):
    network = build(base_channels=1, dropout_at=dropout_at, dropout=0.25)
    seen = []
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            assert module.p == 0.25
            module.register_forward_hook(lambda _module, _inputs, output: seen.append(output.shape[-1]))
    with torch.no_grad():
        network(torch.zeros(1, 3, 256, 256))
    assert seen == sides


@pytest.mark.parametrize(("num_downs", "dropout_at"), [(1, "junyanz"), (1, "paper"), (3, "paper"), (8, "junyanz")])
def test_without_dropout_there_is_no_layer_for_it(num_downs, dropout_at):
    with torch.device("meta"):
        without = UNetGenerator(num_downs=num_downs, dropout=0, dropout_at=dropout_at)
        with_dropout = UNetGenerator(num_downs=num_downs, dropout_at=dropout_at)
    assert not any(isinstance(module, nn.Dropout) for module in without.modules())
    assert list(without.state_dict()) == list(with_dropout.state_dict())


def test_skips_are_the_difference_to_the_encoder_decoder():
    images = torch.randn(2, 1, 3, 32, 32)
    differ = []
    for build in (UNetGenerator, EncoderDecoderGenerator):
        network = build(num_downs=4, base_channels=4).eval()
        network.down[-1].register_forward_hook(lambda _module, _inputs, output: torch.zeros_like(output))
        with torch.no_grad():
            differ.append(not torch.equal(network(images[0]), network(images[1])))
    assert differ == [True, False]


def test_instance_norm_never_meets_a_single_pixel():
    network = UNetGenerator(base_channels=1, norm="instance")
    assert network(torch.randn(1, 3, 256, 256)).shape == (1, 3, 256, 256)


@pytest.mark.parametrize("build", [UNetGenerator, EncoderDecoderGenerator])
@pytest.mark.parametrize(
    ("shape", "name", "able"),
    [
        ((300, 256), "height is 300", 512),
        ((256, 700), "width is 700", 768),
        ((128, 256), "height is 128", 256),
        ((256, 0), "width is 0", 256),
    ],
)
def test_sides_that_cannot_be_halved_are_named(build, shape, name, able):
    network = build(base_channels=1)
    images = torch.zeros(1, 3, *shape)
    assert network.side_multiple == 256
    with pytest.raises(ValueError, match=rf"^image {name}, .* 256 .*{able}$"):
        network(images)


def test_an_image_without_batch_is_refused():
    with pytest.raises(ValueError, match=r"\(3, 16, 16\).*\(B, C, H, W\)"):
        UNetGenerator(num_downs=4, base_channels=2)(torch.zeros(3, 16, 16))
