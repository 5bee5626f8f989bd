import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pix2pix_lightning.networks import MultiScaleDiscriminator, PatchDiscriminator, PixelDiscriminator, initialize

# num_layers, receptive field, side of the map of logits at 256x256, side to measure at
FIELDS = [(0, 1, 256, 8), (1, 16, 126, 48), (2, 34, 62, 96), (3, 70, 30, 192), (4, 142, 14, 384), (5, 286, 6, 768)]


def build_tiny(num_layers, **options):
    if num_layers == 0:
        return PixelDiscriminator(1, base_channels=1, **options)
    return PatchDiscriminator(1, num_layers=num_layers, base_channels=1, **options)


@pytest.mark.parametrize(("num_layers", "field", "side_at_256", "side"), FIELDS)
def test_receptive_field_and_map_side_match_the_paper(num_layers, field, side_at_256, side):
    network = build_tiny(num_layers, norm="none").double()
    with torch.no_grad():
        assert network(torch.zeros(1, 1, 256, 256, dtype=torch.float64)).shape == (1, 1, side_at_256, side_at_256)
    images = torch.randn(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    logits = network(images)
    middle = logits.shape[-1] // 2
    (gradient,) = torch.autograd.grad(logits[0, 0, middle, middle], images)
    for axis in (0, 1):
        seen = gradient[0, 0].abs().sum(axis).nonzero().flatten()
        assert seen[-1] - seen[0] + 1 == field


@pytest.mark.parametrize(("norm", "kind"), [("batch", nn.BatchNorm2d), ("instance", nn.InstanceNorm2d)])
def test_patch_70_equals_an_independent_sequence(norm, kind):
    torch.manual_seed(0)
    bias = norm == "instance"
    reference = nn.Sequential(
        *(nn.Conv2d(6, 4, 4, 2, 1), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(4, 8, 4, 2, 1, bias=bias), kind(8), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(8, 16, 4, 2, 1, bias=bias), kind(16), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(16, 32, 4, 1, 1, bias=bias), kind(32), nn.LeakyReLU(0.2)),
        nn.Conv2d(32, 1, 4, 1, 1),
    ).double()
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.normal_(0, 0.2)
    network = PatchDiscriminator(base_channels=4, norm=norm).double()
    state = dict(zip(network.state_dict(), reference.state_dict().values(), strict=True))
    network.load_state_dict(state, strict=True)
    images = torch.randn(2, 6, 32, 48, dtype=torch.float64)
    for training in (True, False):
        x, expected = images, []
        for layer in reference.train(training):
            x = layer(x)
            if isinstance(layer, nn.LeakyReLU):
                expected.append(x)
        for feature, other in zip(network.train(training).features(images), [*expected, x], strict=True):
            torch.testing.assert_close(feature, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_pixel_equals_a_network_on_single_colors(norm):
    torch.manual_seed(0)
    network = PixelDiscriminator(3, base_channels=4, norm=norm).double().eval()
    images = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    state = {name.split(".", 1)[1]: value for name, value in network.state_dict().items()}
    weights = [value.flatten(1) for name, value in state.items() if name.endswith("conv.weight")]
    pixels = images.permute(0, 2, 3, 1)
    hidden = F.leaky_relu(pixels @ weights[0].T, 0.2) @ weights[1].T  # fresh biases are 0
    if norm == "batch":
        hidden = hidden / (1 + 1e-5) ** 0.5 * state["1.norm.weight"]
    elif norm == "instance":
        mean, variance = hidden.mean((1, 2), keepdim=True), hidden.var((1, 2), unbiased=False, keepdim=True)
        hidden = (hidden - mean) / (variance + 1e-5).sqrt()
    logits = F.leaky_relu(hidden, 0.2) @ weights[2].T
    torch.testing.assert_close(network(images), logits.permute(0, 3, 1, 2), rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_layers", [1, 3, 5])
@pytest.mark.parametrize("num_scales", [1, 3])
def test_min_side_gives_one_logit_and_a_smaller_side_is_refused(num_layers, num_scales):
    network = MultiScaleDiscriminator(1, num_scales=num_scales, num_layers=num_layers, base_channels=1, norm="none")
    assert network(torch.zeros(2, 1, network.min_side, network.min_side))[-1].shape == (2, 1, 1, 1)
    coarsest = network.min_side - 1
    with pytest.raises(ValueError, match=rf"width is {coarsest}, .*{network.min_side}"):
        network(torch.zeros(2, 1, network.min_side, coarsest))
    for _ in range(num_scales - 1):
        coarsest = -(-coarsest // 2)
    assert network.scales[0].min_side == 3 * 2**num_layers == coarsest + 1
    with pytest.raises(ValueError, match=f"height is {coarsest}"):
        network.scales[0](torch.zeros(2, 1, coarsest, coarsest + 1))


def halve(images):
    """The mean of those of the 3x3 pixels around every other pixel that lie in the image."""
    height, width = images.shape[2:]
    rows = []
    for y in range(0, height, 2):
        row = []
        for x in range(0, width, 2):
            window = images[:, :, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            row.append(window.mean((2, 3)))
        rows.append(torch.stack(row, -1))
    return torch.stack(rows, -2)


def test_multi_scale_equals_one_patch_discriminator_on_each_level_of_a_pyramid():
    torch.manual_seed(0)
    network = MultiScaleDiscriminator(2, num_scales=3, num_layers=1, base_channels=2).double()
    images = torch.randn(2, 2, 24, 31, dtype=torch.float64)
    logits, features = network(images), network.features(images)
    assert len(logits) == len(features) == len(network.scales) == 3
    for index, scale in enumerate(network.scales):
        alone = PatchDiscriminator(2, num_layers=1, base_channels=2, norm="instance").double()
        alone.load_state_dict(scale.state_dict())
        torch.testing.assert_close(logits[index], alone(images), rtol=0, atol=1e-12)
        for feature, expected in zip(features[index], alone.features(images), strict=True):
            torch.testing.assert_close(feature, expected, rtol=0, atol=1e-12)
        images = halve(images)
    first, second, _ = (next(scale.parameters()) for scale in network.scales)
    assert not torch.equal(first, second)


def build_spectral(kind, **options):
    torch.manual_seed(0)
    return kind(2, base_channels=4, norm="none", spectral_norm=True, **options).double()


@pytest.mark.parametrize(
    ("kind", "options", "count"),
    [
        (PatchDiscriminator, {"num_layers": 1}, 3),
        (PixelDiscriminator, {}, 3),
        (MultiScaleDiscriminator, {"num_layers": 1, "num_scales": 2}, 6),
    ],
)
def test_spectral_norm_of_every_convolution_tends_to_one(kind, options, count):
    network = build_spectral(kind, **options)
    images = torch.randn(1, 2, 16, 16, dtype=torch.float64)
    for _ in range(60):
        network(images)
    convolutions = [module for module in network.eval().modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == count
    for convolution in convolutions:
        singular = torch.linalg.svdvals(convolution.weight.detach().flatten(1))
        assert singular[0].item() == pytest.approx(1, abs=1e-2)
    # A thousand times larger weights: `initialize` reaches the parameter behind the normalized weight.
    initialize(network, std=20)
    network.train()
    for _ in range(60):
        network(images)
    for convolution in convolutions:
        assert torch.linalg.svdvals(convolution.weight.detach().flatten(1))[0].item() == pytest.approx(1, abs=1e-2)


def test_spectral_norm_does_not_depend_on_the_scale_of_the_weights():
    network = build_spectral(PatchDiscriminator, num_layers=1).eval()
    scaled = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in scaled.parameters():
            parameter.mul_(7)
    images = torch.randn(1, 2, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(scaled(images), network(images), rtol=1e-12, atol=0)


def test_spectral_norm_is_off_by_default():
    assert not any("parametrizations" in name for name in MultiScaleDiscriminator(2, base_channels=1).state_dict())
