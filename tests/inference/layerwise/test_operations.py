"""Rows of each operation against the same rows of the layer's whole output."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from pix2pix_lightning.inference.layerwise.operations import Rows
from pix2pix_lightning.inference.layerwise.tracing import Mode, trace_layers
from pix2pix_lightning.networks import convert_to_matmul
from pix2pix_lightning.networks.layers import ResizeConv2d

LAYERS = {
    "conv": lambda: nn.Conv2d(3, 4, 3),
    "strided": lambda: nn.Conv2d(3, 4, 4, stride=2, padding=1),
    "dilated": lambda: nn.Conv2d(4, 4, (3, 5), stride=(3, 1), padding=(4, 2), dilation=(2, 1), groups=2, bias=False),
    "matmul": lambda: convert_to_matmul(nn.Conv2d(32, 64, 4, stride=2, padding=1)),
    "spectral": lambda: parametrizations.spectral_norm(nn.Conv2d(3, 4, 3, padding=1)),
    "transposed": lambda: nn.ConvTranspose2d(3, 4, 4, stride=2, padding=1),
    "transposed matmul": lambda: convert_to_matmul(nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1)),
    "transposed odd": lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1),
    "transposed wide": lambda: nn.ConvTranspose2d(4, 4, (5, 3), stride=(3, 1), dilation=(2, 1), groups=2),
    "resize": lambda: ResizeConv2d(3, 4, bias=True),
    "reflect": lambda: nn.ReflectionPad2d((1, 2, 3, 4)),
    "replicate": lambda: nn.ReplicationPad2d((0, 0, 2, 3)),
    "zero": lambda: nn.ZeroPad2d((1, 0, 0, 5)),
    "constant": lambda: nn.ConstantPad2d(2, 0.5),
    "average": lambda: nn.AvgPool2d(3, stride=2),
    "maximum": lambda: nn.MaxPool2d((2, 3)),
    "nearest": lambda: nn.Upsample(scale_factor=3),
    "bilinear": lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
    "shuffle": lambda: nn.PixelShuffle(2),
    "norm": lambda: nn.BatchNorm2d(3),
    "tanh": lambda: nn.Tanh(),
    "in place": lambda: nn.LeakyReLU(0.2, inplace=True),
}


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_rows_are_those_of_the_whole_output(name):
    torch.manual_seed(0)
    layer = LAYERS[name]().double().eval()
    channels = getattr(layer, "in_channels", 4 if name == "shuffle" else 3)
    size = (12, 8) if "matmul" in name else (11, 9)  # of even sides, as products need them
    maps = torch.randn(1, channels, *size, dtype=torch.float64)
    expected = layer(maps.clone())
    operation = trace_layers(nn.Sequential(layer), Mode("running", dropout=False))[1].operation
    height, width = operation.get_size(*size)
    assert (height, width) == expected.shape[2:]
    for start in range(height):
        for stop in range(start + 1, height + 1):
            have = operation.find_rows(Rows(start, stop), size[0])
            assert 0 <= have.start < have.stop <= size[0]
            part = maps[:, :, have.start : have.stop]
            before = part.clone()
            output = operation([part], have, Rows(start, stop), size[0], can_write=False)
            assert torch.equal(part, before)
            torch.testing.assert_close(output, expected[:, :, start:stop], rtol=0, atol=1e-12)
    # no row is asked for that does not matter
    middle = operation.find_rows(Rows(height // 2, height // 2 + 1), size[0])
    assert middle.stop - middle.start <= 9
