import pytest
import torch
from torch import nn

from pix2pix_lightning.networks import ResNetGenerator


class _Block(nn.Module):
    def __init__(self, width, norm, bias, dropout):
        super().__init__()

        def half():
            return [nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3, bias=bias), norm(width)]

        self.conv_block = nn.Sequential(*half(), nn.ReLU(), *([nn.Dropout(dropout)] if dropout else []), *half())

    def forward(self, x):
        return x + self.conv_block(x)


def _reference(norm, bias, dropout):
    return nn.Sequential(
        *(nn.ReflectionPad2d(3), nn.Conv2d(3, 4, 7, bias=bias), norm(4), nn.ReLU()),
        *(nn.Conv2d(4, 8, 3, 2, 1, bias=bias), norm(8), nn.ReLU()),
        *(nn.Conv2d(8, 16, 3, 2, 1, bias=bias), norm(16), nn.ReLU()),
        *(_Block(16, norm, bias, dropout) for _ in range(3)),
        *(nn.ConvTranspose2d(16, 8, 3, 2, 1, output_padding=1, bias=bias), norm(8), nn.ReLU()),
        *(nn.ConvTranspose2d(8, 4, 3, 2, 1, output_padding=1, bias=bias), norm(4), nn.ReLU()),
        *(nn.ReflectionPad2d(3), nn.Conv2d(4, 2, 7), nn.Tanh()),
    )


@pytest.mark.parametrize(
    ("norm", "kind", "bias", "dropout"),
    [("batch", nn.BatchNorm2d, False, 0.5), ("instance", nn.InstanceNorm2d, True, 0.0)],
)
def test_equals_an_independent_sequence(norm, kind, bias, dropout):
    torch.manual_seed(0)
    reference = _reference(kind, bias, dropout).double()
    resnet = ResNetGenerator(3, 2, num_blocks=3, base_channels=4, norm=norm, dropout=dropout).double()
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.normal_(0, 0.2)
    # Only the prefix of the names differs, which reading junyanz's files relies on.
    resnet.load_state_dict({f"layers.{key}": value for key, value in reference.state_dict().items()}, strict=True)
    images = torch.randn(2, 3, 20, 32, dtype=torch.float64)
    for training in (True, False):
        outputs = []
        for network in (resnet, reference):
            torch.manual_seed(1)
            outputs.append(network.train(training)(images))
        torch.testing.assert_close(*outputs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_takes_sides_of_8_in_training(norm):
    network = ResNetGenerator(num_blocks=1, base_channels=2, norm=norm)
    assert network(torch.randn(1, 3, 8, 8)).shape == (1, 3, 8, 8)


@pytest.mark.parametrize(
    ("shape", "name", "able"), [((30, 32), "height is 30", 32), ((32, 4), "width is 4", 8), ((8, 9), "9", 12)]
)
def test_other_sides_are_named(shape, name, able):
    network = ResNetGenerator(num_blocks=1, base_channels=2)
    with pytest.raises(ValueError, match=rf"^image .*{name}, .* 4 .*{able}$"):
        network(torch.zeros(1, 3, *shape))
