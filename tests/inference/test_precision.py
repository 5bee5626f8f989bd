"""Precisions against the plain float32 network; whose weights are changed, and whose are not."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from pix2pix_lightning import Pix2PixModule, Translator
from pix2pix_lightning.inference import precision

UNET = {"_target_": "pix2pix_lightning.networks.UNetGenerator", "num_downs": 6, "base_channels": 16}
CPU = torch.device("cpu")


class Own(nn.Module):
    """Layers of many kinds, and a parameter of its own, which stays float32."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.full((1, 3, 1, 1), 1.5))
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.linear = nn.Linear(8, 3)

    def forward(self, x):
        y = self.norm(self.conv(x * self.scale)).movedim(1, -1)
        return torch.tanh(self.linear(y).movedim(-1, 1) + x)


def trained():
    """A module whose maps keep their size from level to level, as those of a trained network do."""
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
    return trained()


@pytest.fixture(scope="module")
def checkpoint(module, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "last.ckpt"
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path)
    return path


def picture():
    """Smooth shapes and a little noise."""
    rng = np.random.default_rng(0)
    row, column = np.mgrid[:64, :128][..., None] / 10
    return (127 + 90 * np.sin(row + np.arange(3)) * np.cos(column) + rng.normal(0, 10, (64, 128, 3))).astype(np.uint8)


def by_hand(module, image, norm):
    """The plain generator in float32, dropout off; image norm is training mode at a batch of one."""
    generator = deepcopy(module.generator).train(norm == "image")
    for layer in generator.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    with torch.no_grad():
        return generator(torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1)


def in_levels(output):
    return ((output[0].permute(1, 2, 0) + 1) * 127.5).numpy()


@pytest.mark.parametrize("norm", ["image", "running"])
def test_float32_of_a_checkpoint_is_the_plain_network(module, checkpoint, norm):
    """However the weights lie: up to float32's rounding, so the bytes are the same but where a half is rounded."""
    image = picture()
    expected = by_hand(module, image, norm)
    translator = Translator(checkpoint, norm=norm, device="cpu")
    source = torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1
    output = translator(source)
    assert output.is_contiguous()
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)
    levels = in_levels(expected)
    undecided = abs(levels % 1 - 0.5) < 1e-3
    assert undecided.mean() < 0.01
    assert (translator(image) == levels.round())[~undecided].all()


@pytest.mark.parametrize("norm", ["image", "running"])
@pytest.mark.parametrize("source", ["checkpoint", "module"])
def test_bf16_is_off_by_its_rounding(module, checkpoint, norm, source):
    image = picture()
    expected = in_levels(by_hand(module, image, norm))
    assert expected.std() > 20
    model = {"checkpoint": checkpoint, "module": module}[source]
    translate = Translator(model, norm=norm, precision="bf16", device="cpu")
    off = abs(in_levels(translate(torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1)) - expected)
    assert 0.02 < off.mean() < 0.8
    assert off.max() < 8
    assert abs(translate(image) - expected).max() < 8.5


def test_bf16_keeps_what_norms_learned(checkpoint):
    types = {
        name: value.dtype for name, value in Translator(checkpoint, precision="bf16").generator.state_dict().items()
    }
    for name, dtype in types.items():
        if dtype.is_floating_point:
            assert dtype == (torch.float32 if ".norm." in name else torch.bfloat16), name


def test_a_module_is_left_as_it_lies():
    module = trained()
    state = {name: (value.dtype, value.stride()) for name, value in module.state_dict().items()}
    values = deepcopy(module.state_dict())
    classes = [type(layer) for layer in module.modules()]
    for precision in ("32", "bf16", "auto"):
        Translator(module, precision=precision)(picture())
    assert {name: (value.dtype, value.stride()) for name, value in module.state_dict().items()} == state
    assert [type(layer) for layer in module.modules()] == classes
    torch.testing.assert_close(module.state_dict(), values, rtol=0, atol=0)


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_a_generator_of_the_user_s_own(precision):
    torch.manual_seed(0)
    own = Own()
    image = torch.rand(2, 3, 16, 24) * 2 - 1
    with torch.no_grad():
        expected = own(image)
    translator = Translator(Pix2PixModule(deepcopy(own), None), precision=precision)
    for _ in range(2):
        off = abs(translator(image) - expected)
        assert off.max() < (1e-5 if precision == "32" else 0.03)
        precision.optimize_layout(translator.generator, CPU, precision)  # as a checkpoint's weights are
    assert translator.generator.scale.dtype == torch.float32


def test_double_weights_stay_double(module):
    double = deepcopy(module).double()
    image = picture()
    source = torch.from_numpy(image).double().permute(2, 0, 1)[None] / 127.5 - 1
    output = Translator(double)(source)
    assert output.dtype == torch.float64
    torch.testing.assert_close(output, by_hand(double, image.astype(np.float64), "image"), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("able", "expected"), [(True, "bf16"), (False, "32")])
def test_auto_asks_the_device(module, monkeypatch, able, expected):
    monkeypatch.setattr(precision, "supports_bfloat16", lambda device: {"cpu": able}[device])
    assert Translator(module, precision="auto").precision == expected
    assert Translator(module).precision == "32"


def test_an_unknown_precision(module):
    with pytest.raises(ValueError, match="precision='half' is unknown: one of 32, bf16, auto"):
        Translator(module, precision="half")
