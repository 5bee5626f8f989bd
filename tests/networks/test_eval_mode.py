from copy import deepcopy

import pytest
import torch
from torch import nn

from pix2pix_lightning.networks import (
    EncoderDecoderGenerator,
    ResNetGenerator,
    Statistics,
    TilingState,
    UNetGenerator,
    Window,
    find_image_norms,
    tiling_state,
    use_eval_mode,
)

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}


@pytest.fixture(scope="module", params=["unet", "encoder_decoder", "resnet"])
def trained(request):
    """Return a generator whose running statistics are not those of any image."""
    torch.manual_seed(0)
    network = {
        "unet": lambda: UNetGenerator(num_downs=4, base_channels=4, dropout_at="paper"),
        "encoder_decoder": lambda: EncoderDecoderGenerator(num_downs=3, base_channels=4),
        "resnet": lambda: ResNetGenerator(num_blocks=1, base_channels=4, dropout=0.5),
    }[request.param]()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                module.bias.normal_(0, 0.1)
    return network


@pytest.fixture
def images():
    torch.manual_seed(1)
    # Images of unequal brightness and contrast, so that the batch's statistics are those of none of them.
    return torch.randn(3, 3, 16, 32) * torch.tensor([0.1, 0.5, 1.0])[:, None, None, None] + torch.tensor(
        [0.5, 0.0, -0.7]
    ).view(3, 1, 1, 1)


def _without_dropout(network):
    copy = deepcopy(network)
    for module in copy.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return copy


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@torch.no_grad()
def test_image_norm_equals_training_mode_on_a_batch_of_one(trained, images, dtype):
    network, images = deepcopy(trained).to(dtype), images.to(dtype)
    alone = _without_dropout(network).train()
    expected = torch.cat([alone(image[None]) for image in images])
    with use_eval_mode(network) as same:
        assert same is network
        torch.testing.assert_close(network(images), expected, rtol=0, atol=TOLERANCE[dtype])
    together = alone(images)
    assert (together - expected).abs().max() > 1e-3, "the images are too alike to tell"


@torch.no_grad()
def test_running_norm_equals_plain_eval_mode(trained, images):
    expected = _without_dropout(trained).eval()(images)
    with use_eval_mode(trained, norm="running"):
        running = trained(images)
    with use_eval_mode(trained, norm="image"):
        image = trained(images)
    assert torch.equal(running, expected)
    assert (running - image).abs().max() > 1e-3


@pytest.mark.parametrize("norm", ["image", "running"])
@pytest.mark.parametrize("dropout", [False, True])
@torch.no_grad()
def test_an_image_does_not_depend_on_its_batch(trained, images, norm, dropout):
    with use_eval_mode(trained, norm=norm, dropout=dropout, seed=3):
        together = trained(images)
        alone = torch.cat([trained(image[None]) for image in images])
        reversed_batch = trained(images.flip(0)).flip(0)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(together, reversed_batch, rtol=0, atol=1e-5)


@torch.no_grad()
def test_noise_is_a_function_of_seed_and_sample(trained, images):
    def output(**options):
        with use_eval_mode(trained, dropout=True, **options):
            return trained(images)

    first = output(seed=1, sample=2)
    torch.manual_seed(99)
    assert torch.equal(first, output(seed=1, sample=2))
    others = [output(seed=1, sample=3), output(seed=2, sample=2), output(seed=2, sample=1)]
    with use_eval_mode(trained):
        others.append(trained(images))
    for other in others:
        assert (first - other).abs().max() > 1e-3


@torch.no_grad()
def test_global_generators_and_state_are_left_alone(trained, images):
    state = {name: value.clone() for name, value in trained.state_dict().items()}
    before = torch.get_rng_state()
    for norm in ("image", "running"):
        with use_eval_mode(trained, norm=norm, dropout=True):
            trained(images)
    assert torch.equal(torch.get_rng_state(), before)
    for name, value in trained.state_dict().items():
        assert torch.equal(value, state[name]), name


@pytest.mark.parametrize("p", [0.2, 0.5, 1.0])
def test_masks_have_the_probability_of_dropout(p):
    network = nn.Sequential(nn.Dropout(p), nn.Dropout(p))
    ones = torch.ones(2, 8, 32, 32)
    with use_eval_mode(network, dropout=True):
        first, second = network[0](ones), network[1](ones)
    count = first[0].numel()
    for mask in (first, second):
        assert torch.equal(mask, mask[:1].expand_as(mask)), "one mask for the batch"
        share = (mask[0] > 0).double().mean().item()
        assert abs(share - (1 - p)) <= 5 * (p * (1 - p) / count) ** 0.5
        if p < 1:
            assert mask.max().item() == pytest.approx(1 / (1 - p))
    if p < 1:
        both = ((first > 0) & (second > 0))[0].double().mean().item()
        assert both == pytest.approx((1 - p) ** 2, abs=0.04), "the two layers draw independently"


def test_dropout2d_drops_whole_channels():
    with use_eval_mode(nn.Sequential(nn.Dropout2d(0.5)), dropout=True) as network:
        mask = network(torch.ones(2, 64, 4, 4))
    assert torch.equal(mask, mask[:1, :, :1, :1].expand_as(mask))
    assert 10 < (mask[0, :, 0, 0] > 0).sum() < 54


def test_dropout_is_off_unless_asked_for():
    x = torch.randn(2, 4, 8, 8)
    with use_eval_mode(nn.Sequential(nn.Dropout(0.5), nn.Dropout2d(0.5))) as network:
        assert torch.equal(network(x), x)


def test_batch_norm_without_running_statistics_uses_those_of_the_image():
    x = torch.randn(3, 4, 5, 6, dtype=torch.float64) * torch.tensor([1.0, 5.0, 9.0])[:, None, None, None]
    mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), unbiased=False, keepdim=True)
    expected = (x - mean) / (variance + 1e-5).sqrt()
    layer = nn.BatchNorm2d(4, track_running_stats=False, affine=False)
    for norm in ("image", "running"):
        with use_eval_mode(layer, norm=norm):
            torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_images", [1, 2])
def test_a_map_of_one_pixel_becomes_the_shift(num_images):
    layer = nn.BatchNorm2d(3)
    nn.init.normal_(layer.bias)
    with use_eval_mode(layer):
        output = layer(1000 * torch.rand(num_images, 3, 1, 1))
    assert torch.equal(output[..., 0, 0], layer.bias.expand(num_images, 3))


@torch.no_grad()
def test_synchronized_batch_norm_equals_batch_norm(images):
    network = UNetGenerator(num_downs=4, base_channels=4)
    with use_eval_mode(network):
        expected = network(images)
    with use_eval_mode(nn.SyncBatchNorm.convert_sync_batchnorm(network)) as converted:
        assert torch.equal(converted(images), expected)


def test_everything_is_restored_after_an_exception():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Sequential(nn.BatchNorm2d(3)), nn.Dropout2d())
    network[2].eval()
    network[1].forward = lambda x: x + 1
    own = network[1].forward
    training = [module.training for module in network.modules()]
    attributes = [set(vars(module)) for module in network.modules()]

    def fail():
        with use_eval_mode(network, dropout=True):
            assert not any(module.training for module in network.modules())
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail()
    assert [module.training for module in network.modules()] == training
    assert [set(vars(module)) for module in network.modules()] == attributes
    assert network[1].forward is own
    assert network[0](torch.randn(2, 3, 4, 4)).mean().abs() < 1e-6
    assert network[0].num_batches_tracked == 1


def test_nested_use_restores_the_outer_mode():
    layer = nn.BatchNorm2d(1)
    x = torch.tensor([[[[1.0, 3.0]]]])
    with use_eval_mode(layer):
        expected = layer(x)
        with use_eval_mode(layer):
            pass
        assert torch.equal(layer(x), expected)
    assert "forward" not in vars(layer)


def test_an_unknown_norm_is_refused():
    network = nn.BatchNorm2d(3)
    with pytest.raises(ValueError, match="'batch'"), use_eval_mode(network, norm="batch"):
        pass
    assert network.training


def test_norms_of_the_image_are_found_by_their_kind_and_mode():
    network = nn.Sequential(
        nn.BatchNorm2d(3),
        nn.BatchNorm2d(3, track_running_stats=False),
        nn.InstanceNorm2d(3),
        nn.InstanceNorm2d(3, track_running_stats=True),
        nn.SyncBatchNorm(3),
        nn.GroupNorm(1, 3),
    )
    assert find_image_norms(network, "image") == ["0", "1", "2", "4"]
    assert find_image_norms(network, "running") == ["1", "2"]
    with pytest.raises(ValueError, match="'batch'"):
        find_image_norms(network, "batch")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("norm", ["image", "running"])
@pytest.mark.parametrize(
    "layer",
    [nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False), nn.InstanceNorm2d(4), nn.InstanceNorm2d(4, affine=True)],
    ids=["batch", "batch_plain", "instance", "instance_affine"],
)
@torch.no_grad()
def test_statistics_of_the_tiling_state_are_used_by_all_norms(layer, norm, dtype):
    layer = deepcopy(layer)
    x = torch.randn(2, 4, 5, 6).to(dtype)
    mean, variance = torch.randn(4, dtype=torch.float64), torch.rand(4, dtype=torch.float64) + 0.1
    scale, shift = torch.ones(4), torch.zeros(4)
    if layer.affine:
        scale, shift = nn.init.normal_(layer.weight), nn.init.normal_(layer.bias)
        if dtype == torch.float64:  # as a network in half precision keeps its norms, they stay float32 in bfloat16
            layer.double()
    whole = TilingState(5, 6, {"1": Statistics(mean, variance)})
    with use_eval_mode(nn.Sequential(nn.Identity(), layer), norm=norm, tiling=whole) as network:
        output = network(x)
    assert output.dtype == dtype
    mean, deviation, scale, shift = (
        values.double()[None, :, None, None] for values in (mean, (variance + layer.eps).sqrt(), scale, shift)
    )
    expected = (x.double() - mean) / deviation * scale + shift
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 0.1}[dtype]
    torch.testing.assert_close(output.double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", [nn.Dropout, nn.Dropout2d])
def test_noise_of_a_window_is_its_part_of_the_noise_of_the_whole_image(kind):
    network = nn.Sequential(nn.AvgPool2d(4), kind(0.3), nn.Identity(), kind(0.5))
    ones = torch.ones(2, 5, 64, 96)
    with use_eval_mode(network, dropout=True, seed=1, sample=2):
        expected = network(ones)
    whole = TilingState(64, 96)
    for window in (Window(0, 0, 64, 96), Window(16, 8, 32, 24), Window(48, 88, 16, 8)):
        with use_eval_mode(network, dropout=True, seed=1, sample=2, tiling=whole, window=window):
            output = network(ones[..., : window.height, : window.width])
        top, left, height, width = (side // 4 for side in window)
        assert torch.equal(output, expected[..., top : top + height, left : left + width])
    with use_eval_mode(network, dropout=True, seed=1, sample=2, tiling=whole):
        assert torch.equal(network(ones), expected)
    with use_eval_mode(network, dropout=True, seed=1, sample=3, tiling=whole):
        assert not torch.equal(network(ones), expected)


def test_noise_drawn_in_chunks_equals_noise_drawn_at_once(monkeypatch):
    monkeypatch.setattr(tiling_state, "_CHUNK", 1000)
    ones = torch.ones(1, 4, 64, 64)
    with use_eval_mode(nn.Sequential(nn.Dropout(0.5)), dropout=True) as network:
        expected = network(ones)
    window = Window(40, 40, 24, 24)
    with use_eval_mode(network, dropout=True, tiling=TilingState(64, 64), window=window):
        assert torch.equal(network(ones[..., :24, :24]), expected[..., 40:, 40:])


def test_noise_of_over_a_gigabyte_is_refused_before_it_is_drawn():
    network = nn.Sequential(nn.Dropout(0.5))
    options = {"dropout": True, "tiling": TilingState(2**14, 2**14), "window": Window(0, 0, 8, 8)}
    with use_eval_mode(network, **options), pytest.raises(ValueError, match="16384x16384"):
        network(torch.ones(1, 5, 8, 8))


def test_a_map_that_does_not_fit_the_window_is_refused():
    network = nn.Sequential(nn.AvgPool2d(4), nn.Dropout(0.5))
    options = {"dropout": True, "tiling": TilingState(64, 64), "window": Window(2, 0, 32, 32)}
    with use_eval_mode(network, **options), pytest.raises(ValueError, match="pixel 2 "):
        network(torch.ones(1, 5, 32, 32))
