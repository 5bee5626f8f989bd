"""Planes of noise, in training, in evaluation and in the generators."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from pix2pix_lightning.networks import (
    EncoderDecoderGenerator,
    NoisePlanes,
    ResNetGenerator,
    TilingState,
    UNetGenerator,
    Window,
    find_noise,
    use_eval_mode,
)
from pix2pix_lightning.utils.errors import UserError

GENERATORS = {
    "unet": lambda a, **k: UNetGenerator(a, 1, num_downs=3, base_channels=4, **k),
    "encoder_decoder": lambda a, **k: EncoderDecoderGenerator(a, 1, num_downs=2, base_channels=4, dropout=0.0, **k),
    "resnet": lambda a, **k: ResNetGenerator(a, 1, num_blocks=1, base_channels=4, **k),
}


def test_planes_are_standard_normal_in_training_one_value_for_each_image_and_0_in_evaluation():
    torch.manual_seed(0)
    planes, images = NoisePlanes(200), torch.rand(40, 3, 2, 5)
    output = planes(images)
    values = output[:, 3:, 0, 0]
    assert torch.equal(output, torch.cat([images, values[:, :, None, None].expand(-1, -1, 2, 5)], 1))
    assert len(values.flatten().unique()) > 7900  # of 8,000
    assert abs(values.mean()) < 0.05
    assert abs(values.std() - 1) < 0.05
    assert torch.equal(planes.eval()(images), torch.cat([images, torch.zeros(40, 200, 2, 5)], 1))


def test_noise_in_evaluation_depends_on_seed_and_sample_alone():
    network = nn.Sequential(NoisePlanes(50), nn.Identity(), NoisePlanes(50))
    images = torch.rand(2, 1, 8, 12)

    def draw(count=2, **options):
        with use_eval_mode(network, dropout=True, **options):
            noise = network(images[:count])[:, 1:]
        assert torch.equal(noise, noise[:1, :, :1, :1].expand_as(noise))
        return noise[0, :, 0, 0]

    noise = draw(seed=1, sample=2)
    torch.manual_seed(3)
    assert torch.equal(draw(1, seed=1, sample=2), noise)
    window = {"tiling": TilingState(64, 96), "window": Window(16, 8, 8, 12)}
    assert torch.equal(draw(seed=1, sample=2, **window), noise)
    others = draw(seed=2, sample=2), draw(seed=1, sample=3)
    assert len(torch.cat([noise, *others]).unique()) == 300
    assert abs(noise.std() - 1) < 0.3
    with use_eval_mode(network):
        assert not network(images)[:, 1:].any()


@pytest.mark.parametrize("kind", GENERATORS)
@torch.no_grad()
def test_a_generator_sees_noise_as_further_channels_of_its_source(kind):
    torch.manual_seed(0)
    noisy = GENERATORS[kind](3, noise_channels=2)
    plain = GENERATORS[kind](5)
    if kind == "resnet":  # whose first norm would remove the noise
        plain.layers[1], plain.layers[2] = nn.Conv2d(5, 4, 7), nn.Identity()
    plain.load_state_dict(noisy.state_dict())
    source = torch.rand(2, 3, 16, 24) * 2 - 1
    torch.manual_seed(1)
    output = noisy(source)
    torch.manual_seed(1)
    assert torch.equal(output, plain(torch.cat([source, torch.randn(2, 2, 1, 1).expand(-1, -1, 16, 24)], 1)))
    assert torch.equal(noisy.eval()(source), plain.eval()(torch.cat([source, torch.zeros(2, 2, 16, 24)], 1)))
    assert find_noise(noisy) == ["noise"]
    assert find_noise(deepcopy(plain)) == []


def test_find_noise_names_dropout_that_drops_and_counts_out_of_range_are_refused():
    network = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.0), nn.Dropout2d(0.1), NoisePlanes(1), nn.ReLU())
    assert find_noise(network) == ["0", "2", "3"]
    for count in (-1, 0, 257, 2.0):
        with pytest.raises(UserError, match="noise_channels"):
            NoisePlanes(count)
    for count in (-3, 257, None, 0.0, False):
        for build in GENERATORS.values():
            with pytest.raises(UserError, match=f"noise_channels={count}: .* 0"):
                build(3, noise_channels=count)


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("kind", GENERATORS)
@torch.no_grad()
def test_norms_of_each_image_leave_the_noise_in_the_output(kind, norm):
    torch.manual_seed(0)
    network, source = GENERATORS[kind](3, norm=norm, noise_channels=8), torch.rand(1, 3, 32, 32) * 2 - 1
    outputs = []
    for sample in range(2):
        with use_eval_mode(network, dropout=True, sample=sample):
            outputs.append(network(source))
    one, other = outputs
    assert (one - other).abs().mean() > 0.02 * one.std()
