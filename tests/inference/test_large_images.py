"""Translator on large images, layer by layer and in tiles, compared with the output of the whole image at once."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

from pix2pix_lightning import PairSpec, Pix2PixModule, Translator
from pix2pix_lightning.data.sides import build_side
from pix2pix_lightning.inference import large_images
from pix2pix_lightning.inference.large_images import format_seams
from pix2pix_lightning.inference.layerwise import LayerwiseNetwork
from pix2pix_lightning.networks import UNetGenerator
from small_networks import GENERATORS, PALETTE, UNET, trained

RESNET = GENERATORS["resnet"]


def make_image(height, width):
    """Brighter on the right, so that no window has the statistics of the whole."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 120, (height, width, 3))
    return (noise + np.linspace(0, 135, width)[None, :, None]).astype(np.uint8)


MODES = pytest.mark.parametrize(
    ("generator", "options"),
    [
        (UNET, {"mode": "paper", "seed": 3, "sample": 1}),
        (UNET, {"norm": "running"}),
        ({**UNET, "norm": "instance"}, {}),
        (RESNET, {}),
    ],
    ids=["paper", "running", "instance", "resnet"],
)


@pytest.fixture
def from_100_on(monkeypatch):
    """Images of more than 100 x 100 pixels are large."""
    monkeypatch.setattr(large_images, "_LARGE", 100**2)
    monkeypatch.setattr(large_images, "_LARGE_IN_TILES", 200**2)


@MODES
@pytest.mark.usefixtures("from_100_on")
def test_layers_are_the_output_at_once(generator, options, monkeypatch):
    module = trained(generator)
    image = make_image(203, 150)
    whole = Translator(deepcopy(module), tile=None, **options)
    source = torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1
    monkeypatch.setattr(large_images, "run_in_tiles", None)
    for translator in (Translator(module, **options), Translator(deepcopy(module), memory="99GB", **options)):
        steps = []
        translator.progress = lambda done, total, to=steps: to.append((done, total))
        torch.testing.assert_close(translator(source), whole(source), rtol=0, atol=1e-4)
        assert [done for done, _ in steps] == list(range(1, steps[0][1] + 1))
        assert np.abs(translator(image).astype(int) - whole(image)).max() <= 1
    small = make_image(40, 90)
    assert (translator(small) == whole(small)).all()


@pytest.mark.usefixtures("from_100_on")
def test_bfloat16_by_layers():
    module = trained(UNET, pair_spec=PairSpec())
    image = make_image(203, 150)
    with_layers = Translator(module, precision="bf16")(image)
    at_once = Translator(module, precision="bf16", tile=None)(image)
    exact = Translator(module, tile=None)(image)
    error = np.abs(at_once.astype(int) - exact).mean()
    assert 0 < np.abs(with_layers.astype(int) - exact).mean() < 2 * error


class BySize(nn.Module):
    """A generator that cannot run layer by layer, since its forward pass looks at the size."""

    side_multiple = 8

    def __init__(self):
        super().__init__()
        self.unet = UNetGenerator(num_downs=3, base_channels=4, dropout=0)

    def forward(self, x):
        return self.unet(x if x.shape[2] > 0 else -x)


@pytest.mark.usefixtures("from_100_on")
def test_networks_of_unknown_layers_keep_tiles(monkeypatch):
    module = trained(BySize())
    tilings = []
    run_in_tiles = large_images.run_in_tiles
    monkeypatch.setattr(large_images, "compute_default_tile", lambda margin, stride: 96)
    monkeypatch.setattr(large_images, "run_in_tiles", lambda *run: tilings.append(run[3]) or run_in_tiles(*run))
    for height, count in ((150, 0), (280, 1)):
        image = make_image(height, 150)
        whole = Translator(deepcopy(module), tile=None)(image)
        assert np.abs(Translator(module)(image).astype(int) - whole).max() <= 1
        assert len(tilings) == count
    assert len(tilings[0]) > 1


@pytest.mark.usefixtures("from_100_on")
def test_files_are_announced_and_refused_where_they_do_not_fit(monkeypatch, tmp_path):
    module, image = trained(UNET), make_image(600, 512)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(large_images, "get_used_memory", lambda: 10**9)
    expected = Translator(deepcopy(module), tile=None)(image)
    lines = []
    # of a fifth less: the process's gigabyte, the result of 0.9 MB, and 3 MB for rows
    few = Translator(module, memory="1.255GB", report=lines.append)
    assert np.abs(few(image).astype(int) - expected).max() <= 1
    assert len(lines) == 1
    assert str(tmp_path) in lines[0]
    monkeypatch.setattr(large_images, "get_free_space", lambda folder: 10**5)
    with pytest.raises(ValueError, match=r"temporary files.*TMPDIR.*memory="):
        few(image)
    with pytest.raises(ValueError, match=r"memory than 1\.0 GB: set memory=1\.6GB"):
        Translator(module, memory="1GB")(image)
    assert np.abs(Translator(module, memory="1.6GB")(image).astype(int) - expected).max() <= 1


@pytest.mark.usefixtures("from_100_on")
def test_half_of_what_is_free_is_the_default(monkeypatch):
    given = []
    plan = LayerwiseNetwork.plan
    monkeypatch.setattr(LayerwiseNetwork, "plan", lambda *values: given.append(values[-1]) or plan(*values))
    monkeypatch.setattr(large_images, "get_free_memory", lambda: 8 * 10**9)
    monkeypatch.setattr(large_images, "get_used_memory", lambda: 10**9)
    Translator(trained(UNET))(make_image(120, 120))
    assert given[-1] == 4 * 10**9 - (5 * 10**9 + 120 * 120 * 3) // 5
    Translator(trained(UNET), memory="3GB")(make_image(120, 120))
    assert given[-1] == 2 * 10**9 - 120 * 120 * 3 - 6 * 10**8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")  # of processes that run next to each other
    Translator(trained(UNET))(make_image(120, 120))
    assert given[-1] == 10**9 - (2 * 10**9 + 120 * 120 * 3) // 5


@pytest.mark.usefixtures("from_100_on")
def test_memory_that_an_image_has_left_counts_once(monkeypatch):
    """Freed memory that the process keeps is used again by the next image, or frame of a video."""
    amounts = iter([10**9, 13 * 10**8])
    monkeypatch.setattr(large_images, "get_used_memory", lambda: next(amounts))
    translator, image = Translator(trained(UNET), memory="1.3GB"), make_image(120, 120)
    assert (translator(image) == translator(image)).all()


@MODES
def test_tiles_are_the_untiled_output(generator, options):
    module = trained(generator)
    image = make_image(203, 150)
    whole = Translator(deepcopy(module), tile=None, **options)
    steps = []
    tiled = Translator(module, tile=96, progress=lambda done, total: steps.append((done, total)), **options)
    source = torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1
    torch.testing.assert_close(tiled(source), whole(source), rtol=0, atol=1e-4)
    assert [done for done, _ in steps] == list(range(1, steps[0][1] + 1))
    assert np.abs(tiled(image).astype(int) - whole(image)).max() <= 1
    assert tiled.seams == []
    small = make_image(40, 90)
    assert (tiled(small) == whole(small)).all()


def test_less_overlap_is_blended():
    module = trained(UNET)
    image = make_image(200, 200)
    whole = Translator(deepcopy(module), norm="running")(image).astype(float)
    errors = {}
    for overlap in (0, 8, 16, None):
        translator = Translator(module, norm="running", tile=64, overlap=overlap)
        errors[overlap] = np.abs(translator(image) - whole).mean()
        assert len(translator.seams) == (overlap in (8, 16))
        if translator.seams:
            mean = translator.seams[0].mean
            assert f"{mean:.2%}" in format_seams(translator.seams)
    assert errors[None] < 0.01 < errors[16] < errors[8] < errors[0]


def test_label_and_grayscale_sides_in_tiles():
    spec = PairSpec(source=build_side(kind="label", palette=PALETTE), target=build_side(kind="grayscale"))
    module = trained(UNET, pair_spec=spec)
    classes = np.random.default_rng(0).integers(0, 3, (20, 25)).repeat(8, 0).repeat(8, 1)
    image = np.array(PALETTE, np.uint8)[classes]
    whole, tiled = Translator(deepcopy(module)), Translator(module, tile=96)
    assert tiled(image).shape == (160, 200, 1)
    assert np.abs(tiled(image).astype(int) - whole(image)).max() <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile": "big"}, "tile='big'"),
        ({"tile": 0}, "tile=0"),
        ({"memory": "3"}, "memory='3'"),
        ({"memory": "3GB", "tile": 96}, "memory=3GB"),
        ({"overlap": "abc"}, "overlap='abc'"),
        ({"resize": "half"}, "resize='half'"),
    ],
)
def test_unknown_values(options, message):
    with pytest.raises(ValueError, match=message):
        Translator(trained(UNET), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"tile": 8}, "tile=8 .*tile="), ({"tile": 96, "overlap": -1}, "overlap=-1")],
)
def test_impossible_tiles(options, message):
    with pytest.raises(ValueError, match=message):
        Translator(trained(UNET), norm="running", **options)(make_image(200, 200))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("options", [{}, {"norm": "running"}, {"mode": "paper"}], ids=str)
def test_tiles_on_a_gpu(options):
    module = Pix2PixModule({"_target_": UNET["_target_"]}, None)
    source = torch.from_numpy(make_image(1500, 1300)).permute(2, 0, 1)[None] / 127.5 - 1
    on_cpu = Translator(deepcopy(module), device="cpu", **options)(source)
    whole = Translator(module, device="cuda", **options)(source)
    tiled = Translator(module, device="cuda", tile=1280, **options)(source)
    assert torch.backends.cudnn.allow_tf32
    torch.testing.assert_close(whole, on_cpu, rtol=0, atol=1e-3)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-4)
