import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pix2pix_lightning.networks import (
    EncoderDecoderGenerator,
    ReceptiveField,
    ResNetGenerator,
    UNetGenerator,
    convert_to_matmul,
    measure_receptive_field,
    use_eval_mode,
)

NORMS = (nn.BatchNorm2d, nn.InstanceNorm2d)


def seen_by_hand(layers, first, last):
    """The last pixel to the left of which nothing changes, and the first to the right, for a changed stripe."""
    for kernel, stride, padding in layers:
        if stride >= 1:  # output j sees j * stride - padding to j * stride - padding + kernel - 1
            first = -((kernel - 1 - padding - first) // stride)
            last = (last + padding) // stride
        else:  # input i is added to i * 2 - padding to i * 2 - padding + kernel - 1
            first, last = 2 * first - padding, 2 * last - padding + kernel - 1
    return first, last


HALVING, DOUBLING = (4, 2, 1), (4, -2, 1)
SMALL_DOUBLING = (3, -2, 1)
EDGE, BLOCK = (7, 1, 3), [(3, 1, 1)] * 2


@pytest.mark.parametrize("num_downs", [1, 2, 3, 5])
@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("kind", [UNetGenerator, EncoderDecoderGenerator])
def test_an_hourglass_sees_what_its_kernels_do(kind, num_downs, norm):
    network = kind(1, 2, num_downs=num_downs, base_channels=4, norm=norm)
    stripe = 64 * 2**num_downs  # the first pixel of it, and the last
    first, last = seen_by_hand([HALVING] * num_downs + [DOUBLING] * num_downs, stripe, stripe + 2**num_downs - 1)
    expected = max(stripe - first, last - (stripe + 2**num_downs - 1))
    assert expected == 2 ** (num_downs + 1) - 1
    assert measure_receptive_field(network, 1).margin == 2 ** (num_downs + 1)  # the next multiple of the network's


@pytest.mark.parametrize("num_blocks", [1, 3])
def test_a_resnet_sees_what_its_kernels_do(num_blocks):
    layers = [EDGE, (3, 2, 1), (3, 2, 1), *(BLOCK * num_blocks), SMALL_DOUBLING, SMALL_DOUBLING, EDGE]
    first, last = seen_by_hand(layers, 1024, 1027)
    network = ResNetGenerator(num_blocks=num_blocks, base_channels=4)
    assert measure_receptive_field(network, 3).margin == -(-max(1024 - first, last - 1027) // 4) * 4


def gradients_reach(network, name, side):
    """How far gradients of what comes into a layer go beyond a rectangle of it, rounded up as a context is."""
    stride = network.side_multiple
    image = torch.ones(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    found = {}
    layer = network.get_submodule(name) if name else None
    hook = layer and layer.register_forward_pre_hook(lambda _, inputs: found.update(map=inputs[0]))
    with use_eval_mode(network, norm="running"):
        found.setdefault("map", network(image))
    if hook:
        hook.remove()
    maps = found["map"]
    start, stop = (edge * maps.shape[-1] // side for edge in (side // 2, side // 2 + stride))
    (gradient,) = torch.autograd.grad(maps[..., start:stop, start:stop].sum(), image)
    columns = gradient.abs().sum((0, 1, 2)).nonzero().flatten()
    reach = max(side // 2 - columns[0].item(), columns[-1].item() + 1 - (side // 2 + stride))
    return -(-reach // stride) * stride


@pytest.mark.parametrize(
    ("network", "side"),
    [
        (UNetGenerator(num_downs=3, base_channels=4), 64),
        (UNetGenerator(num_downs=3, base_channels=4, upsample="resize"), 64),
        (EncoderDecoderGenerator(num_downs=3, base_channels=4), 64),
        (ResNetGenerator(num_blocks=2, base_channels=4), 128),
        (ResNetGenerator(num_blocks=1, base_channels=4, upsample="resize"), 128),
    ],
    ids=["unet", "unet_resize", "encoder_decoder", "resnet", "resnet_resize"],
)
def test_gradients_reach_as_far_in_the_output_and_at_every_norm(network, side):
    network = network.double()
    with torch.no_grad():  # nothing cancels, no ReLU is off, no tanh is flat
        for parameter in network.parameters():
            parameter.abs_().add_(1e-3).mul_(0.1 if parameter.dim() > 1 else 1)
    context = measure_receptive_field(network, 3)
    names = [name for name, module in network.named_modules() if isinstance(module, NORMS)]
    assert sorted(context.norms) == sorted(names)
    assert {name: gradients_reach(network, name, side) for name in context.norms} == context.norms
    assert gradients_reach(network, "", side) == context.margin


def test_norms_come_in_the_order_of_execution():
    network = UNetGenerator(num_downs=4, base_channels=4)
    run = []
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda *_, name=name: run.append(name))
    network(torch.zeros(2, 3, 16, 16))
    assert len(run) == 5
    expected = list(run)
    assert list(measure_receptive_field(network, 3).norms) == expected


def test_weights_device_kernels_and_precision_do_not_matter():
    network = UNetGenerator(num_downs=3, base_channels=16)
    expected = measure_receptive_field(network, 3)
    assert expected.margin == 16
    assert measure_receptive_field(convert_to_matmul(network), 3) == expected
    assert measure_receptive_field(network.bfloat16(), 3) == expected
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    assert measure_receptive_field(network, 3) == expected


class Own(nn.Module):
    """A generator as a user may have it: no norms, no attributes."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Conv2d(2, 4, (3, 7), padding="same", dilation=(1, 2))
        self.deep = nn.Conv2d(4, 4, 5, padding=2, padding_mode="reflect", groups=4)

    def forward(self, x):
        return F.avg_pool2d(F.leaky_relu(self.deep(self.wide(x)), 0.2), 3, 1, 1)


def test_a_generator_of_ones_own():
    assert measure_receptive_field(Own(), 2) == ReceptiveField(pixels=6 + 2 + 1, norms={})


def test_the_network_is_left_as_it_was():
    network = UNetGenerator(num_downs=2, base_channels=4)
    network.up[0].eval()
    before = [(module.training, set(vars(module))) for module in network.modules()]
    state = {name: value.clone() for name, value in network.state_dict().items()}
    measure_receptive_field(network, 3)
    assert [(module.training, set(vars(module))) for module in network.modules()] == before
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name])


class Global(nn.Module):
    def forward(self, x):
        return x + x.mean((2, 3), keepdim=True)


class Undeclared(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(1, 1, 4, 2, 1)
        self.up = nn.ConvTranspose2d(1, 1, 4, 2, 1)

    def forward(self, x):
        return self.up(self.down(x))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.InstanceNorm2d(1)

    def forward(self, x):
        return self.norm(self.norm(x))


class Smaller(nn.Module):
    def forward(self, x):
        return x[..., ::2]


class OddlyJoined(Undeclared):
    def forward(self, x):
        return x + super().forward(x)


class Hiding(nn.Module):
    def forward(self, x):
        return x.nan_to_num()


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Global(), r"^Global sees further than \d+ pixels, or all of the image: it cannot work in tiles$"),
        (nn.GroupNorm(1, 1), "^GroupNorm sees further"),
        (Undeclared(), "^Undeclared has maps of 1/2 of the side, but its side_multiple is 1: set it$"),
        (Twice(), "^the norm layer norm runs twice"),
        (Smaller(), r"^Smaller makes \(129, 32\) of \(129, 64\): it cannot work in tiles$"),
        (OddlyJoined(), r"^OddlyJoined of side_multiple 1 does not take an image of \(129, 64\): The size"),
        (Hiding(), "^Hiding hides what is not a number"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_cut_says_so_in_one_line(network, message):
    with pytest.raises(ValueError, match=message):
        measure_receptive_field(network, 1)
