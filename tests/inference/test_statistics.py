from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

from pix2pix_lightning.inference.statistics import compute_exact_statistics, plan_statistics_passes
from pix2pix_lightning.inference.tiles import plan_tiling, run_in_tiles
from pix2pix_lightning.networks import (
    ResNetGenerator,
    TilingState,
    UNetGenerator,
    find_image_norms,
    measure_receptive_field,
    use_eval_mode,
)

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-9}
GENERATORS = {
    "unet_batch": lambda: UNetGenerator(num_downs=3, base_channels=4, dropout_at="paper"),
    "unet_instance": lambda: UNetGenerator(num_downs=3, base_channels=4, norm="instance", dropout_at="paper"),
    "resnet_batch": lambda: ResNetGenerator(num_blocks=1, base_channels=4, dropout=0.5),
    "resnet_instance": lambda: ResNetGenerator(num_blocks=1, base_channels=4, norm="instance"),
}


@pytest.fixture(scope="module", params=GENERATORS)
def network(request):
    torch.manual_seed(0)
    network = GENERATORS[request.param]().eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, 0, 1.5 * module.weight[0].numel() ** -0.5)
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.bias.normal_(0, 0.2)
    return network


@pytest.fixture(scope="module")
def image():
    """Darker and flatter towards one corner, so that no tile has the statistics of the whole."""
    torch.manual_seed(1)
    slope = torch.linspace(-0.6, 0.6, 104)[:, None] + torch.linspace(-0.3, 0.3, 168)
    return (torch.randn(1, 3, 104, 168) * (0.7 + slope) * 0.3 + slope).clamp(-1, 1)


def run_untiled(network, image, **mode):
    with torch.no_grad(), use_eval_mode(network, **mode):
        return network(image)


def prepare(network, image, tile, **mode):
    """Return the state of the image, what runs and reads a window, and the tilings."""
    height, width = image.shape[2:]
    whole = TilingState(height, width)
    context = measure_receptive_field(network, 3)
    sides = {"height": height, "width": width, "stride": network.side_multiple, "tile": tile}

    def run(source, window):
        with torch.no_grad(), use_eval_mode(network, tiling=whole, window=window, **mode):
            return network(source)

    def source(window):
        return image[..., window.top : window.top + window.height, window.left : window.left + window.width]

    passes = plan_statistics_passes(find_image_norms(network, mode["norm"]), context, **sides)
    return whole, run, source, passes, plan_tiling(context=context.margin, **sides)


def run_tiled(image, run, source, tiling):
    output = torch.empty_like(image)

    def keep(top, left, part):
        output[..., top : top + part.shape[2], left : left + part.shape[3]] = part

    run_in_tiles(run, source, keep, tiling)
    return output


@pytest.mark.parametrize(
    ("norm", "dropout", "dtype"),
    [("image", True, torch.float32), ("running", False, torch.float64)],
    ids=["image", "running"],
)
def test_exact_statistics_give_the_untiled_output(network, image, norm, dropout, dtype):
    network, image = deepcopy(network).to(dtype), image.to(dtype)
    mode = {"norm": norm, "dropout": dropout, "seed": 1, "sample": 2}
    tile = 2 * measure_receptive_field(network, 3).margin + 24
    whole, run, source, passes, tiling = prepare(network, image, tile, **mode)
    assert len(tiling) >= 6
    expected = run_untiled(network, image, **mode)
    assert expected.std() > 0.05
    needs_statistics = norm == "image" or any(isinstance(module, nn.InstanceNorm2d) for module in network.modules())
    assert bool(passes) == needs_statistics
    done = []
    compute_exact_statistics(network, run, source, whole, passes, lambda: done.append(1))
    assert len(done) == sum(len(windows) for windows in passes.values())
    output = run_tiled(image, run, source, tiling)
    torch.testing.assert_close(output, expected, rtol=0, atol=TOLERANCE[dtype])
    if needs_statistics:
        whole.statistics.clear()
        assert (run_tiled(image, run, source, tiling) - expected).abs().max() > 1e-2  # each tile by its own statistics


def test_statistics_are_those_of_the_whole_map(network, image):
    """Compare with the definition, at the input of each norm of the untiled network in float64."""
    network, image = deepcopy(network).double(), image.double()
    whole, run, source, passes, _ = prepare(network, image, 88, norm="image")
    compute_exact_statistics(network, run, source, whole, passes)
    found = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d):
            module.register_forward_pre_hook(lambda _, inputs, name=name: found.update({name: inputs[0]}))
    run_untiled(network, image, norm="image")
    assert list(whole.statistics) == list(found)
    for name, maps in found.items():
        mean, variance = whole.statistics[name]
        np.testing.assert_allclose(mean, maps[0].numpy().mean((1, 2)), atol=1e-9)
        np.testing.assert_allclose(variance, maps[0].numpy().var((1, 2)), atol=1e-9)


def test_windows_have_the_context_of_the_layer():
    network = UNetGenerator(num_downs=3, base_channels=4)
    context = measure_receptive_field(network, 3)
    passes = plan_statistics_passes(
        find_image_norms(network, "image"), context, height=160, width=80, stride=8, tile=64
    )
    assert list(passes) == ["down.1.norm", "up.2.norm", "up.1.norm"]
    assert [tiling.overlap for tiling in passes.values()] == [16, 32, 32]
    small = plan_statistics_passes(find_image_norms(network, "image"), context, height=160, width=80, stride=8, tile=8)
    for tiling, overlap in zip(small.values(), (16, 32, 32), strict=True):
        assert max(row.stop - row.start for row in tiling.rows) == overlap + 8
    assert plan_statistics_passes([], context, height=160, width=80, stride=8, tile=64) == {}


@torch.no_grad()
def test_map_of_one_pixel_becomes_the_shift():
    network = nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 3, 8, stride=8))
    network.side_multiple = 8
    nn.init.normal_(network[1].bias)
    image = 1000 * torch.rand(1, 3, 8, 8)
    whole, run, source, passes, tiling = prepare(network, image, 8, norm="image")
    compute_exact_statistics(network, run, source, whole, passes)
    expected = network[2](network[1].bias[None, :, None, None])
    assert torch.equal(run_tiled(image, run, source, tiling), expected)
