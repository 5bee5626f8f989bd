from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from pix2pix_lightning.inference.tiles import (
    build_reader,
    build_writer,
    compute_default_tile,
    compute_fade_in,
    plan_tiling,
    run_in_tiles,
)
from pix2pix_lightning.networks import (
    EncoderDecoderGenerator,
    ResNetGenerator,
    TilingState,
    UNetGenerator,
    Window,
    measure_receptive_field,
    use_eval_mode,
)
from pix2pix_lightning.networks.padding import compute_padded_side, pad_to_multiple


class Own(nn.Module):
    """A user's generator, without norms and attributes."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, (3, 7), padding="same"), nn.LeakyReLU(0.2), nn.Conv2d(4, 3, 5, padding=2), nn.Tanh()
        )

    def forward(self, x):
        return self.layers(x)


GENERATORS = {
    "unet": lambda: UNetGenerator(num_downs=3, base_channels=4, dropout_at="paper"),
    "encoder_decoder": lambda: EncoderDecoderGenerator(num_downs=2, base_channels=4),
    "resnet": lambda: ResNetGenerator(num_blocks=2, base_channels=4, dropout=0.5),
    "resize": lambda: ResNetGenerator(num_blocks=1, base_channels=4, upsample="resize", norm="none"),
    "own": Own,
}


@pytest.fixture(scope="module", params=GENERATORS)
def network(request):
    """A generator whose outputs are as large as an image's, with running statistics of no image."""
    torch.manual_seed(0)
    network = GENERATORS[request.param]()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, 0, 1.5 * module.weight[0].numel() ** -0.5)
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 2)
    return network.eval()


def make_image(height, width):
    """Blots, with another brightness at each corner."""
    rng = np.random.default_rng(0)
    blots = rng.integers(0, 200, (-(-height // 16), -(-width // 16), 3)).repeat(16, 0).repeat(16, 1)[:height, :width]
    slope = np.linspace(0, 40, height)[:, None, None] + np.linspace(0, 15, width)[None, :, None]
    return (blots + slope).astype(np.uint8)


def encode(part):
    return part.float() / 127.5 - 1


def encode_part(part):
    return encode(torch.from_numpy(part.transpose(2, 0, 1)[None]))


def pad_sides(network, image):
    stride, least = getattr(network, "side_multiple", 1), getattr(network, "min_side", 1)
    return [compute_padded_side(side, stride, least) for side in image.shape[:2]]


@torch.no_grad()
def run_tiled(network, image, *, tile, overlap=None, context=None, **mode):
    """Return the output in tiles, (1, C, H, W) of the padded sides, the tiling and the seams."""
    height, width = pad_sides(network, image)
    context = measure_receptive_field(network, 3).margin if context is None else context
    stride = getattr(network, "side_multiple", 1)
    tiling = plan_tiling(height, width, context=context, stride=stride, tile=tile, overlap=overlap)
    whole = TilingState(height, width)
    output = torch.full((1, 3, height, width), torch.nan)
    sides = []

    def run(source, window):
        sides.append(max(source.shape[2:]))
        with use_eval_mode(network, norm="running", tiling=whole, window=window, **mode):
            return network(source)

    def keep(top, left, part):
        place = output[..., top : top + part.shape[2], left : left + part.shape[3]]
        assert place.isnan().all()  # each pixel is written once
        place.copy_(part)

    seams = run_in_tiles(run, build_reader(image, height, width, encode_part), keep, tiling)
    assert len(sides) == len(tiling)
    assert max(sides) <= tile
    return output, tiling, seams


@torch.no_grad()
def run_untiled(network, image, **mode):
    padded = pad_to_multiple(
        encode(torch.from_numpy(image).permute(2, 0, 1)[None]),
        getattr(network, "side_multiple", 1),
        getattr(network, "min_side", 1),
    )
    with use_eval_mode(network, norm="running", **mode):
        return network(padded)


@pytest.mark.parametrize("dropout", [False, True])
def test_tiles_are_the_untiled_output(network, dropout):
    image = make_image(150, 237)
    tile = 2 * measure_receptive_field(network, 3).margin + 32
    output, tiling, seams = run_tiled(network, image, tile=tile, dropout=dropout, seed=3, sample=1)
    assert len(tiling.rows) >= 3
    assert len(tiling.columns) >= 4
    assert seams is None
    expected = run_untiled(network, image, dropout=dropout, seed=3, sample=1)
    assert expected.std() > 0.05
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)


def test_a_smaller_context_changes_the_output(network):
    context = measure_receptive_field(network, 3).margin
    stride = getattr(network, "side_multiple", 1)
    image = make_image(150, 237)
    output, _, _ = run_tiled(network, image, tile=88, context=context - stride)
    assert (output - run_untiled(network, image)).abs().max() > 1e-5


def test_image_of_one_tile(network):
    image = make_image(40, 70)
    output, tiling, _ = run_tiled(network, image, tile=72)
    assert len(tiling) == 1
    torch.testing.assert_close(output, run_untiled(network, image), rtol=0, atol=1e-5)


def test_reader_and_writer_of_bytes():
    image = make_image(37, 50)
    source = build_reader(image, 48, 64, encode_part)
    padded = pad_to_multiple(torch.from_numpy(image).permute(2, 0, 1)[None], 16)
    window = Window(16, 32, 32, 32)
    torch.testing.assert_close(source(window), encode(padded[..., 16:48, 32:64]), rtol=0, atol=0)
    result = np.zeros_like(image)

    def decode(output, part):
        assert part.shape[:2] == output.shape[2:]
        decoded = ((output + 1) * 127.5).round().to(torch.uint8)[0].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(decoded, part)  # the source's pixels of the same place
        return decoded

    keep = build_writer(image, result, decode)
    done = []
    tiling = plan_tiling(48, 64, context=0, stride=16, tile=16)
    assert len(tiling) == 12
    run_in_tiles(lambda part, _: part, source, keep, tiling, lambda: done.append(1))
    np.testing.assert_array_equal(result, image)
    assert len(done) == 12


@pytest.mark.parametrize("stride", [1, 4, 16])
@pytest.mark.parametrize("context", [0, 3, 20])
@pytest.mark.parametrize("overlap", [None, 0, 5, 16, 33])
def test_windows_cover_the_image_with_context(stride, context, overlap):
    halo = compute_padded_side(context, stride)
    for length in (64, 112, 176, 304, 464):
        tiling = plan_tiling(length, 48, context=context, stride=stride, tile=130, overlap=overlap)
        rows = tiling.rows
        assert len(tiling.columns) == 1
        assert (rows[0].start, rows[0].first, rows[-1].stop, rows[-1].last) == (0, 0, length, length)
        assert len({row.stop - row.start for row in rows}) == 1
        for row in rows:
            assert row.start % stride == row.stop % stride == 0
            assert row.start <= row.first < row.last <= row.stop
        for one, other in pairwise(rows):
            assert one.stop - other.start >= tiling.overlap
            if overlap is None:
                assert one.last == other.first
                assert min(one.stop - one.last, other.first - other.start) >= halo
            elif tiling.blended:
                assert one.last - other.first == one.stop - other.start >= overlap
            else:
                assert one.last == other.first


def test_fade_in_is_a_raised_cosine():
    for length in (1, 2, 7, 256):
        rising = compute_fade_in(length)
        torch.testing.assert_close(rising + rising.flip(0), torch.ones(length, dtype=torch.float64), rtol=0, atol=1e-15)
        expected = np.sin(np.pi / 2 * (np.arange(length) + 0.5) / length) ** 2
        np.testing.assert_allclose(rising.numpy(), expected, atol=1e-15)


@pytest.mark.parametrize("overlap", [16, 25])
def test_blending_is_the_weighted_mean(overlap):
    """Each window has a value of its own; its weights are raised cosines along both axes."""
    tiling = plan_tiling(176, 208, context=48, stride=16, tile=80, overlap=overlap)
    assert tiling.blended
    assert len(tiling.rows) > 2
    assert len(tiling.columns) > 2
    values = {window: float(number + 1) for number, (window, _) in enumerate(tiling)}
    result = torch.full((1, 1, 176, 208), torch.nan)

    def keep(top, left, part):
        place = result[..., top : top + part.shape[2], left : left + part.shape[3]]
        assert place.isnan().all()
        place.copy_(part)

    def run(part, window):
        return torch.full_like(part, values[window])

    seams = run_in_tiles(run, lambda window: torch.zeros(1, 1, *window[2:]), keep, tiling)

    def compute_weights(spans, length):  # (windows, pixels)
        table = np.zeros((len(spans), length))
        for number, span in enumerate(spans):
            table[number, span.start : span.stop] = 1
        for number, (one, other) in enumerate(pairwise(spans)):
            angle = np.pi / 2 * (np.arange(one.stop - other.start) + 0.5) / (one.stop - other.start)
            table[number, other.start : one.stop] = np.cos(angle) ** 2
            table[number + 1, other.start : one.stop] = np.sin(angle) ** 2
        np.testing.assert_allclose(table.sum(0), 1, atol=1e-12)
        return table

    up, across = compute_weights(tiling.rows, 176), compute_weights(tiling.columns, 208)
    table = np.array(list(values.values())).reshape(len(tiling.rows), len(tiling.columns))
    np.testing.assert_allclose(result[0, 0].numpy(), up.T @ table @ across, rtol=1e-5)
    assert seams.greatest >= seams.mean > 0


def test_blending_equal_windows_changes_nothing():
    picture = torch.rand(1, 2, 96, 128)
    result = torch.empty_like(picture)

    def read(window):
        return picture[..., window.top : window.top + window.height, window.left : window.left + window.width]

    def keep(top, left, part):
        result[..., top : top + part.shape[2], left : left + part.shape[3]] = part

    tiling = plan_tiling(96, 128, context=32, stride=8, tile=48, overlap=24)
    seams = run_in_tiles(lambda part, _: part, read, keep, tiling)
    assert torch.equal(result, picture)
    assert (seams.mean, seams.greatest) == (0, 0)


def draw_smooth(count, height, width, generator):
    grid = torch.rand(count, 3, height // 16 + 2, width // 16 + 2, generator=generator) * 2 - 1
    return functional.interpolate(grid, (height, width), mode="bicubic", align_corners=True).clamp(-1, 1)


@pytest.fixture(scope="module")
def inverter():
    """A U-Net that was trained to invert smooth images: its outputs are smooth, so that a seam shows."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    network = UNetGenerator(num_downs=4, base_channels=8, dropout=0)
    optimizer = torch.optim.Adam(network.parameters(), 2e-3, betas=(0.5, 0.999))
    for _ in range(100):
        source = draw_smooth(4, 64, 64, generator)
        optimizer.zero_grad()
        (network(source) + source).abs().mean().backward()
        optimizer.step()
    return network.eval()


def measure_step(output, spans, dim):
    """Divide the mean step between neighbouring pixels where the windows meet by that everywhere else."""
    steps = output.diff(dim=dim).abs().mean([other for other in range(4) if other != dim])
    at = torch.zeros(len(steps), dtype=torch.bool)
    at[[span.first - 1 for span in spans[1:]] + [span.last - 1 for span in spans[:-1]]] = True
    return (steps[at].mean() / steps[~at].mean()).item()


def test_seams_are_invisible_unless_cut_hard(inverter):
    picture = draw_smooth(1, 192, 320, torch.Generator().manual_seed(1))
    image = ((picture[0].permute(1, 2, 0) + 1) * 127.5).round().to(torch.uint8).numpy()
    expected = run_untiled(inverter, image)
    assert (expected + picture).abs().mean() < 0.1  # it inverts
    for overlap in (0, 32, None):
        output, tiling, seams = run_tiled(inverter, image, tile=96, overlap=overlap)
        for dim, spans in ((2, tiling.rows), (3, tiling.columns)):
            step = measure_step(output, spans, dim)
            if overlap == 0:
                assert step > 1.7
            else:
                assert step < 1.2
                assert step == pytest.approx(measure_step(expected, spans, dim), rel=0.05)
        if overlap:
            difference = (output - expected).abs() / 2
            assert 0.2 * difference.mean() < seams.mean < 5 * difference.mean()
            assert 0.2 * difference.max() < seams.greatest < 5 * difference.max()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile": 64}, r"^tile=64 .*32 pixels.* tile=80"),
        ({"tile": 40, "overlap": 20}, r"^tile=40 .*overlap=20.* tile=48"),
        ({"tile": 0}, "^tile=0 "),
        ({"tile": 96, "overlap": -1}, "^overlap=-1"),
    ],
)
def test_too_small_tiles(options, message):
    with pytest.raises(ValueError, match=message):
        plan_tiling(256, 256, context=31, stride=16, **options)


def test_default_tile():
    assert compute_default_tile(512, 256) == 2048
    assert compute_default_tile(84, 4) == 1024 + 2 * 84
    assert len(plan_tiling(8192, 8192, context=512, stride=256, tile=2048)) == 49
