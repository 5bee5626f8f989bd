"""Networks layer by layer, against their own forward pass on the whole image."""

import copy
from pathlib import Path
from threading import Thread

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pix2pix_lightning.inference.layerwise import LayerwiseNetwork, Mode, NotTraceableError, budget, tracing
from pix2pix_lightning.networks import (
    EncoderDecoderGenerator,
    ResNetGenerator,
    UNetGenerator,
    convert_to_matmul,
    use_eval_mode,
)
from pix2pix_lightning.networks.fast_convolutions import kept_weights
from pix2pix_lightning.networks.fast_convolutions.layers import keep_transformed_weights


class Mixed(nn.Module):
    """Operations of other people's generators: functions, methods, layers in place, and one layer used twice."""

    side_multiple = 4

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 5, padding=2)
        self.down = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(4, 8, 3, padding=2, dilation=2, groups=2))
        self.norm = nn.BatchNorm2d(8)
        self.twice = nn.Conv2d(8, 8, 3, padding=1)
        self.activation = nn.ReLU(inplace=True)
        self.up = nn.Sequential(nn.ReplicationPad2d(1), nn.Conv2d(8, 16, 3), nn.PixelShuffle(2))
        self.narrow, self.single = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 8, 1)
        self.last = nn.Conv2d(11, 3, 1)
        self.squash = nn.Sequential(nn.Identity(), nn.Tanh())

    def forward(self, x):
        image = x
        x = F.leaky_relu(self.first(self.squash(x)), 0.1)
        skip = x
        x = self.norm(self.down(F.elu(x, inplace=True)))  # which changes the skip too
        x = self.twice(self.activation(x)) + self.twice(x) * 0.5
        x = self.twice(x)
        x = self.single(self.squash(x)) - self.single(x)  # rows of x have two users, one of which could write into them
        x = self.norm(x).sigmoid() - 0.5
        half = F.interpolate(self.narrow(x), scale_factor=2, mode="bilinear")
        x = torch.cat([self.up(x) + half, skip, image], dim=1)
        return torch.tanh(self.last(x))


NETWORKS = {
    "unet": lambda: UNetGenerator(num_downs=3, base_channels=4, dropout_at="paper"),
    "unet instance": lambda: UNetGenerator(num_downs=3, base_channels=4, norm="instance", upsample="resize"),
    "unet noise": lambda: UNetGenerator(num_downs=2, base_channels=4, norm="none", dropout=0, noise_channels=2),
    "encoder decoder": lambda: EncoderDecoderGenerator(num_downs=3, base_channels=4),
    "resnet": lambda: ResNetGenerator(num_blocks=3, base_channels=1, dropout=0.5),
    "resnet instance": lambda: ResNetGenerator(num_blocks=2, base_channels=4, norm="instance", upsample="resize"),
    "mixed": Mixed,
}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(budget, "_BLOCK_BYTES", 50_000)


def build(name):
    torch.manual_seed(0)
    network = NETWORKS[name]().double()
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0, 1.5 * module.weight[0].numel() ** -0.5)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.bias)
    return network.requires_grad_(requires_grad=False)


def make_image(height=56, width=64):
    slope = torch.linspace(-0.6, 0.6, height, dtype=torch.float64)[:, None]
    noise = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (noise - 0.5) * (0.7 + slope) + slope


def run(layers, plan, image, **options):
    found = []
    layers.run(
        plan,
        lambda rows: image[:, :, rows.start : rows.stop],
        lambda rows, maps: found.append((rows, maps.clone())),
        **options,
    )
    assert [rows.start for rows, _ in found] == [0, *(rows.stop for rows, _ in found[:-1])]
    return torch.cat([maps for _, maps in found], 2)


def find_open_files():
    return list(Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize(("norm", "dropout"), [("image", True), ("running", False)])
@pytest.mark.parametrize("name", NETWORKS)
def test_layers_are_the_whole_network(name, dropout, norm, tmp_path):
    network, image = build(name), make_image()
    before = image.clone()
    mode = Mode(norm, dropout, seed=3, sample=2)
    with use_eval_mode(network, norm=norm, dropout=dropout, seed=3, sample=2):
        expected = network(image)
        layers = LayerwiseNetwork(network, mode, channels=3, side=32)
        for memory in (0, 2**40):
            plan = layers.plan(56, 64, mode, memory)
            assert max(phase.num_blocks for phase in plan.phases) > 1
            steps = []
            output = run(layers, plan, image, folder=tmp_path, progress=lambda *step, to=steps: to.append(step))
            torch.testing.assert_close(output, expected, rtol=0, atol=1e-9)
            total = sum(phase.num_blocks for phase in plan.phases)
            assert steps == [(done, total) for done in range(1, total + 1)]
    assert torch.equal(image, before)
    assert expected.std() > 0.05


@pytest.mark.parametrize("norm", ["image", "running"])
def test_strips_by_kept_weights(norm, monkeypatch):
    """By Winograd's method, at the edges of the image and between."""
    for name in ("_MIN_CHANNELS", "_MIN_TILES"):
        monkeypatch.setattr(kept_weights, name, 1)
    monkeypatch.setitem(NETWORKS, "wide", lambda: UNetGenerator(num_downs=3, base_channels=8))
    plain, image = build("wide"), make_image(height=88)
    fast = keep_transformed_weights(convert_to_matmul(copy.deepcopy(plain)))
    heights, convolve = [], kept_weights.convolve
    monkeypatch.setattr(
        kept_weights, "convolve", lambda layer, x, padding: heights.append(x.shape[2]) or convolve(layer, x, padding)
    )
    mode = Mode(norm, False)
    with torch.no_grad(), use_eval_mode(plain, norm=norm), use_eval_mode(fast, norm=norm):
        layers = LayerwiseNetwork(fast, mode, channels=3, side=32)
        heights.clear()
        found = run(layers, layers.plan(88, 64, mode, 0), image)
        assert len(heights) > 20
        assert max(heights) < 88
        torch.testing.assert_close(found, plain(image), rtol=0, atol=1e-9)
        inner = layers.find_inner_convolutions(mode, 4)  # the innermost maps have an eighth of the rows
        assert set(inner) == {fast.get_submodule(name) for name in ("down.2.conv", "up.2.conv")}


@pytest.mark.parametrize("norm", ["image", "running"])
def test_each_row_of_a_layer_is_computed_once(norm):
    """Exact statistics take no further pass: only layers of few products for each value may run again."""
    network = UNetGenerator(num_downs=3)
    with torch.no_grad(), use_eval_mode(network, norm=norm):
        plan = LayerwiseNetwork(network, Mode(norm, dropout=False), channels=3, side=32).plan(
            512, 256, Mode(norm, dropout=False), 2**40
        )
    layers, sizes = plan.phases[0].layers, plan.phases[0].sizes
    rows = dict.fromkeys(range(len(layers)), 0)

    def count(phase, number, wanted):
        rows[number] += wanted.stop - wanted.start
        have = layers[number].operation.find_rows(wanted, sizes[layers[number].inputs[0]].height)
        for source in layers[number].inputs:
            if source in phase.phase.computed and source not in phase.order:
                count(phase, source, have)

    for phase in plan.phases:
        done = dict.fromkeys(phase.order, 0)
        for step in phase:
            assert step.rows.start == done[step.layer]
            done[step.layer] = step.rows.stop
            count(phase, step.layer, step.rows)
    heavy = {
        number: rows[number] for number, layer in enumerate(layers) if layer.operation and layer.operation.cost > 48
    }
    assert len(heavy) == 5
    assert heavy == {number: sizes[number].height for number in heavy}
    assert len(plan.phases) == (4 if norm == "image" else 1)


def test_little_memory_takes_files_and_much_takes_none():
    network = UNetGenerator(num_downs=3, base_channels=16).double()
    mode = Mode("image", dropout=False)
    with torch.no_grad(), use_eval_mode(network):
        layers = LayerwiseNetwork(network, mode, channels=3, side=32)
        plans = [layers.plan(512, 512, mode, memory) for memory in (0, 5 * 10**6, 10**9)]
    assert [bool(plan.in_files) for plan in plans] == [True, True, False]
    assert plans[0].disk > plans[1].disk > plans[2].disk == 0
    assert plans[0].memory < plans[1].memory <= 5 * 10**6 < plans[2].memory
    # of all maps the input of the last norm is the largest, 16 channels of 256 x 256 values of 8 bytes
    assert plans[0].disk >= 256 * 256 * 16 * 8


def test_disk_is_what_the_files_take(tmp_path):
    network, image = build("resnet"), make_image(48, 64)
    mode, highest = Mode("image", dropout=False), []
    with use_eval_mode(network):
        layers = LayerwiseNetwork(network, mode, channels=3, side=32)
        plan = layers.plan(48, 64, mode, 0)

        def measure(done, total):
            highest.append(sum(path.stat().st_size for path in find_open_files() if tmp_path in path.resolve().parents))
            assert not list(tmp_path.iterdir())  # without a name

        run(layers, plan, image, folder=tmp_path, progress=measure)
    assert 0.9 * plan.disk <= max(highest) <= plan.disk


def test_files_go_away_after_an_error(tmp_path):
    network, image = build("unet instance"), make_image()
    mode = Mode("image", dropout=False)

    def stop(done, total):
        if any(tmp_path in path.resolve().parents for path in find_open_files()):
            raise KeyboardInterrupt

    with use_eval_mode(network):
        layers = LayerwiseNetwork(network, mode, channels=3, side=32)
        plan = layers.plan(56, 64, mode, 0)
        before = len(find_open_files())
        with pytest.raises(KeyboardInterrupt) as caught:
            run(layers, plan, image, folder=tmp_path, progress=stop)
    assert caught.tb  # whose frames refer to all that was open
    assert len(find_open_files()) == before
    assert not list(tmp_path.iterdir())


def test_weights_of_now_are_used():
    network, image = build("unet"), make_image()
    mode = Mode("running", dropout=False)
    with use_eval_mode(network, norm="running"):
        layers = LayerwiseNetwork(network, mode, channels=3, side=32)
        network.up[0].conv.weight = nn.Parameter(network.up[0].conv.weight / 2)
        output = run(layers, layers.plan(56, 64, mode, 2**40), image)
        torch.testing.assert_close(output, network(image), rtol=0, atol=1e-9)


class OwnConvolution(nn.Conv2d):
    """A convolution whose forward pass is another one."""

    def forward(self, input):
        return super().forward(input) * 2


class Statement(nn.Module):
    """What is written into a map, by a statement whose result nobody uses."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 1)

    def forward(self, x):
        x = self.first(x)
        x.relu_()
        return self.last(x)


class Clamp(Statement):
    def forward(self, x):
        x = self.first(x)
        torch.clamp(x, -0.1, 0.1, out=x)
        return self.last(x)


class BySize(nn.Module):
    def forward(self, x):
        return x if x.shape[2] > 32 else -x


class Everywhere(nn.Module):
    def forward(self, x):
        return x - x.mean((2, 3), keepdim=True)


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(OwnConvolution(3, 3, 1)),
        BySize(),
        Everywhere(),
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d(1)),
        nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular")),
        nn.Sequential(nn.GroupNorm(1, 3)),
        nn.Sequential(nn.AvgPool2d(2, ceil_mode=True)),
        nn.Sequential(nn.ConvTranspose2d(3, 3, 1, stride=2, output_padding=1)),
        nn.Sequential(nn.Conv2d(3, 3, 5)),
        nn.Sequential(nn.Upsample(scale_factor=2)),
        nn.Sequential(nn.InstanceNorm2d(3)),
        Statement(),
        Clamp(),
    ],
    ids=[
        "own",
        "size",
        "everywhere",
        "pooled",
        "circular",
        "group norm",
        "ceil",
        "gaps",
        "smaller",
        "larger",
        "norm first",
        "statement",
        "out",
    ],
)
@torch.no_grad()
def test_unknown_layers_are_refused(network):
    with pytest.raises(NotTraceableError):
        LayerwiseNetwork(network.eval(), Mode("running", dropout=False), channels=3, side=32)


@torch.no_grad()
def test_layers_with_hooks_are_refused_also_later():
    network = nn.Sequential(nn.Conv2d(3, 3, 1)).eval()
    mode = Mode("running", dropout=False)
    layers = LayerwiseNetwork(network, mode, channels=3, side=32)
    network[0].register_forward_hook(lambda module, inputs, output: None)
    with pytest.raises(NotTraceableError):
        layers.plan(56, 64, mode, 2**40)
    with pytest.raises(NotTraceableError):
        LayerwiseNetwork(network, mode, channels=3, side=32)


class Threaded(nn.Module):
    """A network during whose forward pass another thread works."""

    def __init__(self, work):
        super().__init__()
        self.work, self.layer = work, nn.Conv2d(3, 3, 1)

    def forward(self, x):
        thread = Thread(target=self.work)
        thread.start()
        thread.join()
        return self.layer(x)


@torch.no_grad()
def test_other_threads_do_not_notice():
    """While a network is traced, which changes how modules are called, another one runs."""
    other, image, found = build("resnet").eval(), make_image(64, 64), []

    def work():
        with torch.no_grad():
            found.append(other(image))

    expected = other(image)
    assert len(tracing.trace_layers(Threaded(work), Mode("running", dropout=False))) == 2
    assert len(found) == 1
    assert torch.equal(found[0], expected)
