"""Precisions, compared with the plain float32 network."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

from pix2pix_lightning import Pix2PixModule, Translator
from pix2pix_lightning.inference import precision as precision_module
from small_networks import save

UNET = {"_target_": "pix2pix_lightning.networks.UNetGenerator", "num_downs": 6, "base_channels": 16}
CPU = torch.device("cpu")


class Own(nn.Module):
    """Layers of several kinds, and a parameter of its own, which stays float32."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.full((1, 3, 1, 1), 1.5))
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.linear = nn.Linear(8, 3)

    def forward(self, x):
        y = self.norm(self.conv(x * self.scale)).movedim(1, -1)
        return torch.tanh(self.linear(y).movedim(-1, 1) + x)


def build_trained():
    """A module whose activations keep their scale from level to level, as those of a trained network do."""
    torch.manual_seed(0)
    module = Pix2PixModule(UNET, None)
    with torch.no_grad():
        for layer in module.generator.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                fan_in = layer.in_channels * (16 if isinstance(layer, nn.Conv2d) else 4)
                layer.weight.normal_(0, fan_in**-0.5)
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.3)
                layer.running_var.uniform_(0.5, 2)
                layer.weight.uniform_(0.8, 1.2)
                layer.bias.normal_(0, 0.1)
    return module


@pytest.fixture(scope="module")
def module():
    return build_trained()


@pytest.fixture(scope="module")
def checkpoint(module, tmp_path_factory):
    return save(module, tmp_path_factory.mktemp("run") / "last.ckpt")


def make_image():
    """Smooth shapes and a little noise."""
    rng = np.random.default_rng(0)
    row, column = np.mgrid[:64, :128][..., None] / 10
    return (127 + 90 * np.sin(row + np.arange(3)) * np.cos(column) + rng.normal(0, 10, (64, 128, 3))).astype(np.uint8)


def run_plain(module, image, norm):
    """Run the plain generator without dropout; image norm is training mode at a batch of one."""
    generator = deepcopy(module.generator).train(norm == "image")
    for layer in generator.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    with torch.no_grad():
        return generator(torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1)


def to_levels(output):
    return ((output[0].permute(1, 2, 0) + 1) * 127.5).numpy()


@pytest.mark.parametrize("norm", ["image", "running"])
def test_float32_of_a_checkpoint_is_the_plain_network(module, checkpoint, norm):
    """Equal up to float32's rounding, so the bytes differ only where a half is rounded."""
    image = make_image()
    expected = run_plain(module, image, norm)
    translator = Translator(checkpoint, norm=norm, device="cpu")
    source = torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1
    output = translator(source)
    assert output.is_contiguous()
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)
    levels = to_levels(expected)
    undecided = abs(levels % 1 - 0.5) < 1e-3
    assert undecided.mean() < 0.01
    assert (translator(image) == levels.round())[~undecided].all()


@pytest.mark.parametrize("norm", ["image", "running"])
@pytest.mark.parametrize("source", ["checkpoint", "module"])
def test_bf16_differs_by_its_rounding(module, checkpoint, norm, source):
    image = make_image()
    expected = to_levels(run_plain(module, image, norm))
    assert expected.std() > 20
    model = {"checkpoint": checkpoint, "module": module}[source]
    translate = Translator(model, norm=norm, precision="bf16", device="cpu")
    difference = abs(to_levels(translate(torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1)) - expected)
    assert 0.02 < difference.mean() < 0.8
    assert difference.max() < 8
    assert abs(translate(image) - expected).max() < 8.5


def test_bf16_keeps_norms_in_float32(checkpoint):
    types = {
        name: value.dtype for name, value in Translator(checkpoint, precision="bf16").generator.state_dict().items()
    }
    for name, dtype in types.items():
        if dtype.is_floating_point:
            assert dtype == (torch.float32 if ".norm." in name else torch.bfloat16), name


def test_weights_of_a_module_are_not_converted():
    module = build_trained()
    state = {name: (value.dtype, value.stride()) for name, value in module.state_dict().items()}
    values = deepcopy(module.state_dict())
    classes = [type(layer) for layer in module.modules()]
    for precision in ("32", "bf16", "auto"):
        Translator(module, precision=precision)(make_image())
    assert {name: (value.dtype, value.stride()) for name, value in module.state_dict().items()} == state
    assert [type(layer) for layer in module.modules()] == classes
    torch.testing.assert_close(module.state_dict(), values, rtol=0, atol=0)


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_generator_of_a_user(precision):
    torch.manual_seed(0)
    own = Own()
    image = torch.rand(2, 3, 16, 24) * 2 - 1
    with torch.no_grad():
        expected = own(image)
    translator = Translator(Pix2PixModule(deepcopy(own), None), precision=precision)
    for _ in range(2):
        difference = abs(translator(image) - expected)
        assert difference.max() < (1e-5 if precision == "32" else 0.03)
        precision_module.optimize_layout(translator.generator, CPU, precision)  # as for a checkpoint
    assert translator.generator.scale.dtype == torch.float32


def test_double_weights_stay_double(module):
    double = deepcopy(module).double()
    image = make_image()
    source = torch.from_numpy(image).double().permute(2, 0, 1)[None] / 127.5 - 1
    output = Translator(double)(source)
    assert output.dtype == torch.float64
    torch.testing.assert_close(output, run_plain(double, image.astype(np.float64), "image"), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("is_supported", "expected"), [(True, "bf16"), (False, "32")])
def test_auto_asks_the_device(module, monkeypatch, is_supported, expected):
    monkeypatch.setattr(precision_module, "supports_bfloat16", lambda device: {"cpu": is_supported}[device])
    assert Translator(module, precision="auto").precision == expected
    assert Translator(module).precision == "32"


def test_unknown_precision(module):
    with pytest.raises(ValueError, match="precision='half'"):
        Translator(module, precision="half")
