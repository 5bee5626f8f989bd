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


def compute_reach(layers, first, last):
    """Return the first and the last pixel of the output that change with the pixels from ``first`` to ``last``."""
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


@pytest.mark.parametrize(
    ("kind", "num_downs", "norm"),
    [
        (UNetGenerator, 1, "batch"),
        (UNetGenerator, 3, "none"),
        (EncoderDecoderGenerator, 2, "instance"),
        (EncoderDecoderGenerator, 4, "batch"),
    ],
)
def test_margin_of_an_hourglass_follows_from_its_kernels(kind, num_downs, norm):
    network = kind(1, 2, num_downs=num_downs, base_channels=2, norm=norm)
    stripe = 64 * 2**num_downs  # the first pixel of it, and the last
    first, last = compute_reach([HALVING] * num_downs + [DOUBLING] * num_downs, stripe, stripe + 2**num_downs - 1)
    expected = max(stripe - first, last - (stripe + 2**num_downs - 1))
    assert expected == 2 ** (num_downs + 1) - 1
    assert measure_receptive_field(network, 1).margin == 2 ** (num_downs + 1)  # the next multiple of the network's


@pytest.mark.parametrize("num_blocks", [1, 3])
def test_margin_of_a_resnet_follows_from_its_kernels(num_blocks):
    layers = [EDGE, (3, 2, 1), (3, 2, 1), *(BLOCK * num_blocks), SMALL_DOUBLING, SMALL_DOUBLING, EDGE]
    first, last = compute_reach(layers, 1024, 1027)
    network = ResNetGenerator(num_blocks=num_blocks, base_channels=2)
    assert measure_receptive_field(network, 3).margin == -(-max(1024 - first, last - 1027) // 4) * 4


def measure_gradient_reach(network, name, side):
    """Return how far beyond a rectangle the gradients of a layer's input reach, rounded up to the stride."""
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
        (UNetGenerator(num_downs=3, base_channels=2), 64),
        (UNetGenerator(num_downs=2, base_channels=2, upsample="resize"), 32),
        (EncoderDecoderGenerator(num_downs=2, base_channels=2), 32),
        (ResNetGenerator(num_blocks=1, base_channels=2), 96),
        (ResNetGenerator(num_blocks=1, base_channels=2, upsample="resize"), 96),
    ],
    ids=["unet", "unet_resize", "encoder_decoder", "resnet", "resnet_resize"],
)
def test_margins_equal_the_reach_of_gradients_for_the_output_and_every_norm(network, side):
    network = network.double()
    with torch.no_grad():  # nothing cancels, no ReLU is off, no tanh is flat
        for parameter in network.parameters():
            parameter.abs_().add_(1e-3).mul_(0.1 if parameter.dim() > 1 else 1)
    field = measure_receptive_field(network, 3)
    names = [name for name, module in network.named_modules() if isinstance(module, NORMS)]
    assert sorted(field.norms) == sorted(names)
    assert {name: measure_gradient_reach(network, name, side) for name in field.norms} == field.norms
    assert measure_gradient_reach(network, "", side) == field.margin


def test_norms_are_in_the_order_of_execution():
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
    network = UNetGenerator(num_downs=2, base_channels=16)
    expected = measure_receptive_field(network, 3)
    assert expected.margin == 8
    assert measure_receptive_field(convert_to_matmul(network), 3) == expected
    assert measure_receptive_field(network.bfloat16(), 3) == expected
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    assert measure_receptive_field(network, 3) == expected


class Custom(nn.Module):
    """A user's generator, without norms and attributes."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Conv2d(2, 4, (3, 7), padding="same", dilation=(1, 2))
        self.deep = nn.Conv2d(4, 4, 5, padding=2, padding_mode="reflect", groups=4)

    def forward(self, x):
        return F.avg_pool2d(F.leaky_relu(self.deep(self.wide(x)), 0.2), 3, 1, 1)


def test_margin_of_a_users_generator():
    assert measure_receptive_field(Custom(), 2) == ReceptiveField(margin=6 + 2 + 1, norms={})


def test_the_network_is_unchanged_afterwards():
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


class SizeMismatch(Undeclared):
    def forward(self, x):
        return x + super().forward(x)


class Hiding(nn.Module):
    def forward(self, x):
        return x.nan_to_num()


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (Global(), "Global sees further"),
        (nn.GroupNorm(1, 1), "GroupNorm sees further"),
        (Undeclared(), "maps of 1/2 of the side, but its side_multiple is 1"),
        (Twice(), "norm runs twice"),
        (Smaller(), r"Smaller makes \(129, 32\) of \(129, 64\)"),
        (SizeMismatch(), "side_multiple 1 does not take"),
        (Hiding(), "Hiding removes NaN"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_networks_that_cannot_work_in_tiles_are_refused(network, words):
    with pytest.raises(ValueError, match=words):
        measure_receptive_field(network, 1)
