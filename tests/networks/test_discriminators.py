import pytest
import torch
from torch import nn

from pix2pix_lightning.networks import PatchDiscriminator, PixelDiscriminator


def _patch(num_layers, **options):
    return PatchDiscriminator(num_layers=num_layers, **options)


BUILDERS = [
    pytest.param(lambda **options: PixelDiscriminator(**options), 1, 256, id="pixel"),
    pytest.param(lambda **options: _patch(1, **options), 16, 126, id="patch_16"),
    pytest.param(lambda **options: _patch(2, **options), 34, 62, id="patch_34"),
    pytest.param(lambda **options: _patch(3, **options), 70, 30, id="patch_70"),
    pytest.param(lambda **options: _patch(4, **options), 142, 14, id="patch_142"),
    pytest.param(lambda **options: _patch(5, **options), 286, 6, id="image_286"),
]


@pytest.mark.parametrize(("build", "field", "side"), BUILDERS)
def test_a_logit_sees_the_patch_of_the_paper(build, field, side):
    torch.manual_seed(0)
    # Batch norm in eval mode mixes no pixels.
    network = build(in_channels=2, base_channels=2).double().eval()
    images = torch.randn(1, 2, 512, 512, dtype=torch.float64, requires_grad=True)
    logits = network(images)
    middle = logits.shape[-1] // 2
    (gradient,) = torch.autograd.grad(logits[0, 0, middle, middle], images)
    for axis in (0, 1):
        seen = gradient[0].abs().sum(0).sum(axis).nonzero().flatten()
        assert seen[-1] - seen[0] + 1 == field


@pytest.mark.parametrize(("build", "field", "side"), BUILDERS)
def test_output_sides_at_256(build, field, side):
    with torch.device("meta"):
        assert build()(torch.zeros(2, 6, 256, 256)).shape == (2, 1, side, side)


@pytest.mark.parametrize(("norm", "kind"), [("batch", nn.BatchNorm2d), ("instance", nn.InstanceNorm2d)])
def test_patch_70_equals_an_independent_sequence(norm, kind):
    torch.manual_seed(0)
    bias = norm == "instance"
    theirs = nn.Sequential(
        *(nn.Conv2d(6, 4, 4, 2, 1), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(4, 8, 4, 2, 1, bias=bias), kind(8), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(8, 16, 4, 2, 1, bias=bias), kind(16), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(16, 32, 4, 1, 1, bias=bias), kind(32), nn.LeakyReLU(0.2)),
        nn.Conv2d(32, 1, 4, 1, 1),
    ).double()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(0, 0.2)
    ours = PatchDiscriminator(base_channels=4, norm=norm).double()
    state = dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True))
    ours.load_state_dict(state, strict=True)
    images = torch.randn(2, 6, 64, 96, dtype=torch.float64)
    for training in (True, False):
        x, expected = images, []
        for layer in theirs.train(training):
            x = layer(x)
            if isinstance(layer, nn.LeakyReLU):
                expected.append(x)
        for feature, reference in zip(ours.train(training).features(images), [*expected, x], strict=True):
            torch.testing.assert_close(feature, reference, rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_pixel_equals_a_network_on_single_colours(norm):
    torch.manual_seed(0)
    network = PixelDiscriminator(3, base_channels=4, norm=norm).double().eval()
    images = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    state = {name.split(".", 1)[1]: value for name, value in network.state_dict().items()}
    weights = [value.flatten(1) for name, value in state.items() if name.endswith("conv.weight")]
    pixels = images.permute(0, 2, 3, 1)
    hidden = nn.functional.leaky_relu(pixels @ weights[0].T, 0.2) @ weights[1].T  # fresh biases are 0
    if norm == "batch":
        hidden = hidden / (1 + 1e-5) ** 0.5 * state["1.norm.weight"]
    elif norm == "instance":
        mean, variance = hidden.mean((1, 2), keepdim=True), hidden.var((1, 2), unbiased=False, keepdim=True)
        hidden = (hidden - mean) / (variance + 1e-5).sqrt()
    logits = nn.functional.leaky_relu(hidden, 0.2) @ weights[2].T
    torch.testing.assert_close(network(images), logits.permute(0, 3, 1, 2), rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_layers", [1, 2, 3, 4, 5])
def test_the_least_side_gives_one_logit_and_a_smaller_one_is_named(num_layers):
    network = PatchDiscriminator(num_layers=num_layers, base_channels=2)
    least = 3 * 2**num_layers
    assert network(torch.zeros(2, 6, least, least)).shape == (2, 1, 1, 1)
    with pytest.raises(ValueError, match=rf"^image width is {least - 1}, .*{least}$"):
        network(torch.zeros(2, 6, least, least - 1))
