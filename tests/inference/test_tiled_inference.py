"""Translator in tiles, compared with the untiled output."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

from pix2pix_lightning import PairSpec, Pix2PixModule, Translator
from pix2pix_lightning.data.sides import build_side
from pix2pix_lightning.inference.tiled_inference import format_seams
from small_networks import GENERATORS, PALETTE, UNET, trained

RESNET = GENERATORS["resnet"]


def make_image(height, width):
    """Brighter on the right, so that no window has the statistics of the whole."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 120, (height, width, 3))
    return (noise + np.linspace(0, 135, width)[None, :, None]).astype(np.uint8)


@pytest.mark.parametrize(
    ("generator", "options"),
    [
        (UNET, {"mode": "paper", "seed": 3, "sample": 1}),
        (UNET, {"norm": "running"}),
        ({**UNET, "norm": "instance"}, {}),
        (RESNET, {}),
    ],
    ids=["paper", "running", "instance", "resnet"],
)
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


def test_estimated_statistics_are_close_and_take_one_pass():
    module = trained(UNET)
    image = make_image(30, 30).repeat(8, 0).repeat(8, 1)  # coarse, so that a reduced copy is like it
    whole = Translator(deepcopy(module))(image).astype(float)
    steps = {}
    errors = {}
    for statistics in ("exact", "estimated"):
        done = []
        translator = Translator(module, tile=96, statistics=statistics, progress=lambda *step, to=done: to.append(step))
        errors[statistics] = np.abs(translator(image) - whole).mean()
        steps[statistics] = len(done)
    assert errors["exact"] < 0.01 < errors["estimated"]
    norms = sum(isinstance(layer, nn.BatchNorm2d) for layer in module.generator.modules())
    assert steps["exact"] > norms
    assert steps["estimated"] < steps["exact"]
    running = np.abs(Translator(module, norm="running")(image) - whole).mean()
    assert errors["estimated"] < running


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
        ({"statistics": "guessed"}, "statistics='guessed'"),
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
